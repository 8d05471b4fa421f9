"""A recovered reward keeps its digits, and a damaged one is one line."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.text import named_feature
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Params, Parts
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.reading import Reading, read_card
from inverse_rlhf.rewards.recovered import IrlReward, load_irl_reward

SENTIMENT = LinearTextReward(
    [named_feature("sentiment", Parts(length_target=1, keyword="a"))], np.ones(1)
)


def test_rewards_keep_their_digits_in_bfloat16(reward_network: Model, card: RewardCard) -> None:
    texts = [f"About the map, number {number}" for number in range(40)]
    half = replace(reward_network, compute=reward_network.compute.model_copy(update={"bf16": True}))
    whole, found = (IrlReward(body, None, card).score(texts) for body in (reward_network, half))
    np.testing.assert_allclose(found, whole, atol=0.1 * whole.std())
    rounded = torch.from_numpy(found).bfloat16().float().numpy()
    assert (found != rounded).mean() > 0.9


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"features": 1, "weight": []}', '{"features": [], "weight": [1.0]}']
)
def test_broken_reward_is_one_line(
    tmp_path: Path, card: RewardCard, params: Params, content: str
) -> None:
    own = card.model_copy(update={"features": ["sentiment"]})
    IrlReward(None, SENTIMENT, own).save(tmp_path / "reward")
    (tmp_path / "reward/linear.json").write_text(content)
    with pytest.raises(UserError, match=r"is no recovered reward: linear\.json"):
        load_irl_reward(tmp_path / "reward", params.compute)


def test_a_kind_that_is_not_known_is_one_line_that_names_it(
    tmp_path: Path, card: RewardCard, params: Params
) -> None:
    own = card.model_copy(update={"features": ["joy"]})
    IrlReward(None, SENTIMENT, own).save(tmp_path / "reward")
    (tmp_path / "reward/linear.json").write_text('{"features": [{"kind": "joy"}], "weight": [1]}')
    with pytest.raises(UserError, match=r"linear\.json: .*joy"):
        load_irl_reward(tmp_path / "reward", params.compute)


def test_card_is_read_whole_or_as_far_as_scoring_needs_it(
    tmp_path: Path, card: RewardCard, params: Params
) -> None:
    own = card.model_copy(update={"features": ["sentiment"], "mean": 0.5, "std": 2.0})
    IrlReward(None, SENTIMENT, own).save(tmp_path / "reward")
    assert read_card(tmp_path / "reward", RewardCard) == own
    loaded = load_irl_reward(tmp_path / "reward", params.compute)
    assert type(loaded.reading) is Reading
    assert loaded.reading.model_dump() == own.model_dump(include=set(Reading.model_fields))
    texts = ["a fool", "a lovely map"]
    np.testing.assert_allclose(loaded.standardised(texts), (loaded.score(texts) - 0.5) / 2)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"features": ["sentiment"]}'])
def test_broken_card_is_one_line(
    tmp_path: Path, card: RewardCard, params: Params, content: str | None
) -> None:
    own = card.model_copy(update={"features": ["sentiment"]})
    IrlReward(None, SENTIMENT, own).save(tmp_path / "reward")
    path = tmp_path / "reward/reward.json"
    path.unlink() if content is None else path.write_text(content)
    for kind in (Reading, RewardCard):
        with pytest.raises(UserError, match=r"is no recovered reward: reward\.json: ") as caught:
            read_card(tmp_path / "reward", kind)
        assert "\n" not in str(caught.value)
