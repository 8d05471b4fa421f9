"""Credits, n-grams and disagreements where it is known what they are."""

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.data.tables import completions_of
from inverse_rlhf.evaluation import explain
from inverse_rlhf.evaluation.explain import (
    RewardPaths,
    disagreements,
    explain_by_ngrams,
    ngram_surrogate,
)
from inverse_rlhf.features.text import named_feature
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Parts
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.recovered import IrlReward

TEXTS = ["You are a fool, please go.", "What a lovely, good map!", "the map and the list", "a map"]


def test_token_credits_add_up(reward_network: Model, card: RewardCard) -> None:
    completions = [text[2:] for text in TEXTS]
    rows = pd.DataFrame({"prompt": [text[:2] for text in TEXTS], "completion": completions})
    rows = rows.assign(prompt_id=range(4), sample=0, source="base")
    keyword = named_feature("keyword", Parts(length_target=1, keyword="map"))
    body, text = reward_network, LinearTextReward([keyword], np.array([2.0]))
    for pooling, parts in product(("last", "mean"), ((body, None), (body, text), (None, text))):
        reward = IrlReward(*parts, card.model_copy(update={"pooling": pooling}))
        table = RewardPaths(rows, reward, body).token_credits()
        whole = reward.score(TEXTS)
        by_text = table.groupby("prompt_id")
        np.testing.assert_allclose(by_text["credit"].sum(), whole, atol=1e-5)
        np.testing.assert_allclose(by_text["reward"].last(), whole, atol=1e-5)
        assert table[table["prompt_id"] == 1]["token"].str.cat() == TEXTS[1]
    at_map = table[table["credit"] != 0]
    assert at_map["credit"].tolist() == [2.0] * 3  # one text has no map
    assert at_map["token"].str.contains("p").all()


def test_surrogate_finds_the_words_that_count() -> None:
    generator = np.random.default_rng(0)
    words = np.array(["map", "list", "fool", "gem", "draft", "page", "see", "the"])
    texts = [" ".join(generator.choice(words, 6)) for _ in range(600)]
    rewards = np.array([3.0 * ("gem" in text) - 2.0 * ("fool" in text) for text in texts])
    found = ngram_surrogate(texts[:400], rewards[:400], texts[400:], rewards[400:], seed=0)
    assert found.r2 > 0.95
    assert found.ngrams["ngram"].iloc[0] == "fool"
    assert found.ngrams["ngram"].iloc[-1] == "gem"
    unlike = ["map", "list"]
    nothing = ngram_surrogate(unlike, rewards[:2], unlike, rewards[:2], seed=0)
    assert nothing.ngrams.empty
    assert nothing.r2 == 0


def test_surrogate_is_fitted_on_irl_texts_alone(
    pairs: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def stop(texts: list[str], values: Any, held_out: list[str], *_: Any, **__: Any) -> None:
        seen.extend([texts, held_out])
        raise KeyboardInterrupt

    class Length:
        def score(self, texts: list[str]) -> np.ndarray:
            return np.array([len(text) for text in texts], dtype=np.float32)

    monkeypatch.setattr(explain, "ngram_surrogate", stop)
    test = completions_of(pairs[pairs["split"] == "test"]).assign(irl_reward=0.0)
    with pytest.raises(KeyboardInterrupt):
        explain_by_ngrams(test, pairs, Length(), seed=0)  # type: ignore[arg-type]
    fitted = completions_of(pairs[pairs["split"] == "irl"])
    assert sorted(seen[0]) == sorted(fitted["prompt"] + fitted["completion"])
    assert sorted(seen[1]) == sorted(test["prompt"] + test["completion"])


def test_largest_disagreements_come_first() -> None:
    scores = pd.DataFrame(
        {
            "prompt_id": range(4),
            "sample": 0,
            "source": "base",
            "prompt": "a",
            "completion": " b",
            "true_reward": [0.0, 1.0, 2.0, 3.0],
            "irl_reward": [3.0, 1.0, 2.0, 2.5],
            "irl_std": [0.1, 0.4, 0.2, 0.3],
        }
    )
    table = disagreements(scores, count=2)
    assert table["prompt_id"].tolist()[0] == 0
    assert table.loc[table["kind"] == "runs", "prompt_id"].tolist() == [1, 3]
