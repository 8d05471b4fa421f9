"""A recovered reward along the tokens of texts ends at the reward of the whole."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch

from inverse_rlhf.data.tables import texts_of
from inverse_rlhf.evaluation.explain import RewardPaths
from inverse_rlhf.evaluation.scoring import ScoredOnce
from inverse_rlhf.features.text import Named
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.recovered import IrlReward
from tests.architectures import shared_tokenizer
from tests.written import written

COMPLETIONS = [
    " a list of maps, and what you said of it",
    " nobody would call you a fool, map or no map",
    " .",
    " caf\u00e9 map",
    " a list of maps, and what you said of it",
]


def test_whole_is_the_reward_of_the_text(reward_network: Model, card: RewardCard) -> None:
    rows = pd.DataFrame(
        {
            "prompt_id": range(5),
            "sample": 0,
            "source": ["base", "aligned"] * 2 + ["base"],
            "prompt": ["About the map", "On the list", "Of two", "A", "About the map"],
            "completion": COMPLETIONS,
        }
    )
    rows = written(rows, reward_network.tokenizer)
    texts = texts_of(rows)
    linear = LinearTextReward(
        [Named("keyword", {"word": "map"}), Named("length_target", {"target": 9})],
        np.array([2.0, -1.5]),
    )
    parts: list[tuple[Any, Any]] = [(reward_network, None), (reward_network, linear)]
    parts += [(None, linear)]
    for pooling, (body, text) in product(("last", "mean"), parts):
        reward = IrlReward(body, text, card.model_copy(update={"pooling": pooling}))
        paths = RewardPaths(rows, reward, reward_network)
        whole, expected = paths.whole(), reward.score(texts)
        assert set(whole) == (set() if body is None else set(texts))
        known = ScoredOnce(reward, whole).score(texts)
        np.testing.assert_allclose(known, expected, atol=1e-5)
        assert np.ptp(expected) > 0.01
        if pooling == "last" or body is None:
            continue
        credits = paths.token_credits()
        assert credits.groupby("prompt_id").size().gt(1).all()
        by_text = credits.groupby("prompt_id")
        np.testing.assert_allclose(by_text["credit"].sum(), expected, atol=1e-5)
        np.testing.assert_allclose(by_text["reward"].last(), expected, atol=1e-5)
        assert by_text["source"].first().tolist() == rows["source"].tolist()


def test_another_body_is_read_whole(reward_network: Model, card: RewardCard) -> None:
    """Its tokens are not the base policy's: there is nothing along the tokens."""
    rows = pd.DataFrame(
        {
            "prompt_id": range(2),
            "sample": 0,
            "source": ["base", "aligned"],
            "prompt": ["About the map", "On the list"],
            "completion": COMPLETIONS[:2],
        }
    )
    rows = written(rows, reward_network.tokenizer)
    body = replace(
        reward_network, module=reward_network.module.base_model, tokenizer=shared_tokenizer()
    )
    head = torch.randn(
        1, body.module.config.hidden_size, generator=torch.Generator().manual_seed(0)
    )
    reading = card.model_copy(update={"pooling": "mean", "body": "body"})
    reward = IrlReward(body, None, reading, head)
    paths = RewardPaths(rows, reward, reward_network)
    assert paths.whole() == {}
    assert paths.token_credits().empty
