import numpy as np
import pytest
from scipy.stats import binomtest

from inverse_rlhf.measures.pairs import (
    accuracy_beside,
    discrimination_interval,
    prompt_interval,
    share_interval,
    told_apart,
    with_width,
)

SETTINGS = {"resamples": 400, "seed": 0}


def test_a_pair_without_difference_counts_one_half() -> None:
    assert told_apart(np.array([1.0, -1.0, 0.0, 2.0])) == pytest.approx(2.5 / 4)
    np.testing.assert_allclose(told_apart(np.array([[0.0, 0.0], [1.0, -1.0]])), [0.5, 0.5])


def test_interval_holds_the_value_and_narrows() -> None:
    draw = np.random.default_rng(0)
    few, many = draw.normal(0.5, 1, size=50), draw.normal(0.5, 1, size=5000)
    narrow = discrimination_interval(many, np.arange(5000), **SETTINGS)
    wide = discrimination_interval(few, np.arange(50), **SETTINGS)
    for row in (narrow, wide):
        assert row["low"] <= row["value"] <= row["high"]
    assert narrow["high"] - narrow["low"] < (wide["high"] - wide["low"]) / 4


def test_copies_of_a_prompts_pairs_do_not_narrow_the_interval() -> None:
    values, prompts = np.random.default_rng(1).normal(size=40), np.arange(40)
    once = prompt_interval(values, prompts, **SETTINGS)
    copied = prompt_interval(np.tile(values, 10), np.tile(prompts, 10), **SETTINGS)
    assert copied == pytest.approx(once)


def test_accuracy_is_of_the_pairs_that_the_judge_tells_apart() -> None:
    margins = np.array([1.0, -1.0, 2.0, 0.0, 5.0, 5.0])
    scores = np.array([0.5, 1.0, -0.1, 1.0, 0.0, np.nan])
    report = accuracy_beside(margins, scores, np.arange(6), **SETTINGS)
    assert report["pairs"] == 4
    assert report["aligned_wins"]["value"] == pytest.approx(3 / 4)
    assert report["accuracy"]["value"] == pytest.approx(1.5 / 4)


def test_no_judgement_no_report() -> None:
    assert accuracy_beside(np.ones(3), np.full(3, np.nan), np.arange(3), **SETTINGS) == {}


def test_ties_are_one_half_in_intervals_too() -> None:
    row = discrimination_interval(np.array([1.0, 0.0, 0.0, -1.0]), np.arange(4), **SETTINGS)
    assert row["value"] == 0.5
    none = discrimination_interval(np.zeros(4), np.arange(4), **SETTINGS)
    assert none == {"value": 0.5, "low": 0.5, "high": 0.5}


def test_prompts_of_more_pairs_count_for_more() -> None:
    prompts = np.array([0, 0, 0, 0, 1, 2])
    assert prompt_interval(np.ones(6), prompts, **SETTINGS) == {"value": 1, "low": 1, "high": 1}
    values = np.array([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    assert prompt_interval(values, prompts, **SETTINGS)["value"] == pytest.approx(4 / 6)


def test_an_interval_is_that_of_95_percent() -> None:
    values = np.random.default_rng(2).normal(size=2000)
    row = prompt_interval(values, np.arange(2000), resamples=4000, seed=0)
    width = 2 * 1.96 * values.std() / 2000**0.5
    assert row["high"] - row["low"] == pytest.approx(width, rel=0.06)
    other = prompt_interval(values, np.arange(2000), resamples=4000, seed=1)
    assert other != row


def test_judged_pairs_of_a_prompt_stay_together() -> None:
    draw = np.random.default_rng(3)
    margins, scores, prompts = draw.normal(size=40), draw.normal(size=40), np.arange(40)
    once = accuracy_beside(margins, scores, prompts, **SETTINGS)
    copied = accuracy_beside(*(np.tile(row, 10) for row in (margins, scores, prompts)), **SETTINGS)
    for name in ("aligned_wins", "accuracy"):
        assert copied[name] == pytest.approx(once[name])


def test_a_share_of_all_or_none_has_wilsons_interval_of_its_prompts() -> None:
    prompts = np.repeat(np.arange(12), 5)  # 60 pairs, of which 12 are independent
    wilson = binomtest(12, 12).proportion_ci(method="wilson")
    every = discrimination_interval(np.ones(60), prompts, **SETTINGS)
    assert every == {"value": 1.0, "low": pytest.approx(wilson.low), "high": 1.0}
    assert every["low"] == pytest.approx(12 / (12 + 1.96**2), abs=1e-3)  # n / (n + z^2)
    none = discrimination_interval(-np.ones(60), prompts, **SETTINGS)
    assert none == {"value": 0.0, "low": 0.0, "high": pytest.approx(1 - every["low"])}
    judged = accuracy_beside(np.ones(60), np.ones(60), prompts, **SETTINGS)
    assert judged["aligned_wins"] == judged["accuracy"] == every


def test_an_interval_with_width_stays_as_it_is() -> None:
    for row in ({"value": 0.9, "low": 0.8, "high": 1.0}, {"value": 1.0, "low": 0.7, "high": 1.0}):
        assert with_width(row, 10) == row


def test_intervals_of_shares_near_one_cover_them() -> None:
    generator = np.random.default_rng(4)
    settings, prompts = {"resamples": 100, "seed": 0}, np.arange(20)
    trials = [(generator.random(20) < 0.97).astype(float) for _ in range(200)]
    covered = {
        interval: np.mean(
            [
                row["low"] <= 0.97 <= row["high"]
                for row in (interval(trial, prompts, **settings) for trial in trials)
            ]
        )
        for interval in (share_interval, prompt_interval)
    }
    assert covered[share_interval] >= 0.95
    assert covered[prompt_interval] < 0.6  # where all are right, its interval is [1, 1]
