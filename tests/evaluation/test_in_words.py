"""Objectives beside rewards: right signs, plain correlations, intervals, degenerate tables."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from inverse_rlhf.evaluation.in_words import in_words
from inverse_rlhf.features.objectives import Objectives


def table(completions: list[str], recovered: list[float], true: list[float]) -> pd.DataFrame:
    count = len(completions)
    return pd.DataFrame(
        {
            "prompt_id": np.arange(count) // 2,
            "prompt": "About",
            "completion": completions,
            "source": ["base", "aligned"] * (count // 2),
            "irl_reward": recovered,
            "true_reward": true,
        }
    )


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """A reward of questions, and a true one of shouts."""
    generator = np.random.default_rng(0)
    asks, shouts = generator.integers(0, 3, (2, 120))
    texts = [f" it is so{'?' * a}{'!' * s} ok" for a, s in zip(asks, shouts, strict=True)]
    noise = generator.normal(0, 0.2, 120)
    return table(texts, (asks + noise).tolist(), (-shouts + noise).tolist())


def test_what_is_rewarded_comes_first(scores: pd.DataFrame) -> None:
    rows = in_words(scores, resamples=200, seed=0)
    by_name = {row["name"]: row for row in rows}
    assert rows[0]["name"] == "questions"
    assert rows[0]["said"]
    assert rows[0]["more"] == "more questions"
    assert rows[0]["recovered"]["low"] > 0.5
    assert by_name["exclamations"]["true"]["high"] < -0.5
    assert not by_name["exclamations"]["said"]
    assert "bullets" not in by_name  # no text has one


def test_the_value_is_spearmans(scores: pd.DataFrame) -> None:
    row = next(r for r in in_words(scores, resamples=100, seed=0) if r["name"] == "exclamations")
    values = Objectives(["exclamations"]).transform(scores["completion"].tolist()).toarray()[:, 0]
    for side, column in (("recovered", "irl_reward"), ("true", "true_reward")):
        expected = spearmanr(values, scores[column]).statistic
        assert row[side]["value"] == pytest.approx(expected)
        assert row[side]["low"] < expected < row[side]["high"]


def test_same_seed_same_rows(scores: pd.DataFrame) -> None:
    assert in_words(scores, resamples=50, seed=3) == in_words(scores, resamples=50, seed=3)


def test_constant_rewards_and_texts() -> None:
    texts = [" one two", " three?"] * 4
    rising = [float(n) for n in range(8)]
    assert in_words(table(texts, [1.0] * 8, rising), resamples=50, seed=0) == []
    assert all(
        r["true"] is None for r in in_words(table(texts, rising, [0.0] * 8), resamples=50, seed=0)
    )
    assert in_words(table([""] * 8, rising, rising), resamples=50, seed=0) == []


@pytest.mark.parametrize("prompts", [1, 2, 3])
def test_an_objective_of_few_prompts_has_an_interval(scores: pd.DataFrame, prompts: int) -> None:
    """Draws without them say nothing of it; what is left of its variance there is rounding."""
    rare = scores.copy()
    rare.loc[: 2 * prompts - 1, "completion"] += " 7"
    for seed in range(5):
        (row,) = (r for r in in_words(rare, resamples=100, seed=seed) if r["name"] == "numbers")
        for side in ("recovered", "true"):
            assert -1 <= row[side]["low"] <= row[side]["high"] <= 1
