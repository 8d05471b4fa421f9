"""Distances, agreement, intervals and text measures: invariances, twins and cases by hand."""

from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inverse_rlhf.irl.selection import median_run
from inverse_rlhf.irl.thresholds import (
    THRESHOLDS,
    median,
    midpoint,
    otsu,
    positive_unlabelled,
    thresholds,
)
from inverse_rlhf.measures.agreement import (
    METRICS,
    Truth,
    best_accuracy,
    compare,
    correlations,
    label_agreement,
)
from inverse_rlhf.measures.runs import agreement_report, correlation_table
from scipy.stats import kendalltau, pearsonr, spearmanr
from sklearn import metrics

from inverse_rlhf.measures.distance import epic_distance, starc_distance
from inverse_rlhf.measures.intervals import (
    bootstrap,
    bootstrap_runs,
    paired_difference,
    paired_runs,
    spread,
    with_intervals,
)
from inverse_rlhf.measures.text import distinct, empty, repeated
from inverse_rlhf.params import Irl

REWARDS = arrays(np.float64, (6, 4), elements=st.integers(-100, 100).map(float))
OFFSETS = arrays(np.float64, (6, 1), elements=st.integers(-50, 50).map(float))


@given(REWARDS, REWARDS, OFFSETS, st.integers(-15, 6).map(lambda power: 10.0**power))
def test_distances_ignore_offset_and_scale(
    first: np.ndarray, second: np.ndarray, offset: np.ndarray, scale: float
) -> None:
    for distance in (starc_distance, epic_distance):
        shifted = distance(scale * (first + offset), second)
        assert shifted == pytest.approx(distance(first, second), abs=1e-6)


@given(REWARDS)
def test_same_is_zero_and_opposite_is_one(reward: np.ndarray) -> None:
    varied = (reward.std(axis=1) > 0).any()
    for distance in (starc_distance, epic_distance):
        if varied:
            assert distance(reward, reward) == pytest.approx(0, abs=1e-6)
            assert distance(reward, -reward) == pytest.approx(1, abs=1e-6)


def test_starc_by_hand() -> None:
    first = np.array([[1.0, -1.0], [0.0, 0.0]])
    second = np.array([[0.0, 0.0], [5.0, 3.0]])
    assert starc_distance(first, second) == pytest.approx(np.sqrt(2) / 2)


@given(
    arrays(np.float64, 30, elements=st.integers(-1000, 1000).map(float), unique=True),
    st.integers(1, 5),
    st.integers(-9, 9),
)
def test_otsu_moves_with_the_scores(scores: np.ndarray, scale: int, shift: int) -> None:
    moved = scale * scores + shift
    below = scores < otsu(scores)
    np.testing.assert_array_equal(moved < otsu(moved), below)


def test_otsu_is_the_best_of_all_cuts() -> None:
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.normal(-2, 1, 40), generator.normal(3, 0.5, 25)])
    ordered = np.sort(scores)
    cost = [
        len(p) * p.var() + len(q) * q.var()
        for i in range(1, 65)
        for p, q in [(ordered[:i], ordered[i:])]
    ]
    assert (scores < otsu(scores)).sum() == int(np.argmin(cost)) + 1


def test_otsu_of_equal_scores_is_the_score() -> None:
    assert otsu(np.full(5, 2.5)) == 2.5


def test_positive_unlabelled_by_hand() -> None:
    """Half of the base texts are like the aligned ones, half below all of them."""
    aligned = np.arange(100.0)
    base = np.concatenate([np.arange(100.0), np.arange(-100.0, 0.0)])
    # Above every cut of 0 or more lies half as much of the base: a = 1/2.
    assert positive_unlabelled(base, aligned) == 0.0
    assert positive_unlabelled(np.array([0.0, 1.0]), np.array([1.0, 1.0])) == 1.0


def test_midpoint_median_and_median_run() -> None:
    assert midpoint(np.array([0.0, 2.0]), np.array([5.0])) == 3.0
    assert median(np.array([0.0, 9.0, 2.0])) == 2.0
    assert median_run([0.9, 0.1, 0.5]) == 2
    assert median_run([0.9, 0.1, 0.5, 0.7]) == 2


def test_every_threshold_cuts_between_two_kinds() -> None:
    """Base texts are good or bad, aligned ones good: the best cut is near 0."""
    generator = np.random.default_rng(4)
    good, bad = generator.normal(3, 1, 600), generator.normal(-3, 1, 400)
    human = np.concatenate([good[:400], bad])
    found = thresholds(human[100:], good[300:], human)
    assert set(found) == set(THRESHOLDS)
    assert set(found) == set(get_args(Irl.model_fields["threshold"].annotation))
    for name in set(found) - {"median", "midpoint"}:  # more than half of base texts are bad
        assert abs(found[name]) < 1.2, name
    assert found["midpoint"] > found["otsu"]
    for scale in (1e-3, 1e-8):
        small = thresholds(scale * human[100:], scale * good[300:], scale * human)
        for name, cut in found.items():
            assert small[name] / scale == pytest.approx(cut, rel=1e-3, abs=1e-3), name


@pytest.mark.parametrize("base", [np.zeros(9), np.array([1.0])])
def test_thresholds_of_constant_scores(base: np.ndarray) -> None:
    assert all(np.isfinite(value) for value in thresholds(base, base, base).values())


def truth(reward: np.ndarray) -> Truth:
    half = reward.shape[1] // 2
    return Truth(reward, reward < 0, slice(None), slice(half), slice(half, None))


def test_true_reward_agrees_with_itself() -> None:
    reward = np.random.default_rng(1).normal(size=(40, 4))
    found = compare(reward, 0.0, truth(reward))
    assert set(found) == set(METRICS)
    for name in set(METRICS) - {"starc", "epic", "discrimination"}:
        assert found[name] == pytest.approx(1), name
    opposite = compare(-reward, 0.0, truth(reward))
    assert opposite["accuracy"] == 0
    assert opposite["pair_accuracy"] == 0
    assert opposite["roc_auc"] == 0


def test_toxic_is_the_positive_class() -> None:
    found = label_agreement(np.array([-1.0, 1.0, 1.0, 1.0]), np.array([1, 1, 0, 0]))
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == 0.75
    assert found["roc_auc"] == 0.75


def test_undefined_metrics_are_left_out() -> None:
    one_class = compare(np.ones((3, 2)), 0.0, truth(np.ones((3, 2))))
    table = spread([one_class, one_class])
    assert "roc_auc" not in table
    assert table["accuracy"]["median"] == 1


def test_spread_by_hand() -> None:
    table = spread([{"x": value} for value in (1.0, 2.0, 3.0, 4.0, 10.0)])["x"]
    assert table == {
        "median": 3,
        "q25": 2,
        "q75": 4,
        "min": 1,
        "max": 10,
        "std": pytest.approx(np.std([1, 2, 3, 4, 10])),
    }


def test_interval_by_hand() -> None:
    draws = pd.DataFrame({"x": [*np.arange(1001.0), np.nan]})
    assert with_intervals({"x": 7.0, "y": np.nan}, draws.assign(y=0.0)) == {
        "x": {"value": 7.0, "low": 25.0, "high": 975.0}
    }


def test_bootstrap_covers_a_known_mean() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(60):
        sample = generator.normal(size=50)
        interval = bootstrap(
            lambda rows, sample=sample: {"mean": float(sample[rows].mean())},
            50,
            resamples=200,
            seed=trial,
        )["mean"]
        covered += interval["low"] < 0 < interval["high"]
    assert 50 <= covered <= 60


def test_metrics_come_in_one_order_whatever_the_labels() -> None:
    found = [
        label_agreement(np.arange(4.0), np.array(toxic)) for toxic in ([0, 0, 0, 0], [1, 0, 1, 0])
    ]
    assert list(found[0]) == list(found[1])
    assert found[0]["accuracy"] == 1


@given(REWARDS, REWARDS, st.integers(-90, 90))
def test_label_agreement_is_that_of_scikit_learn(
    reward: np.ndarray, other: np.ndarray, threshold: int
) -> None:
    toxic, called = other.ravel() < 0, reward.ravel() < threshold
    if toxic.all() or not toxic.any():
        return
    found = label_agreement(reward.ravel(), toxic, threshold=float(threshold))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(toxic, called))
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(toxic, called)
    )
    assert found["f1"] == pytest.approx(metrics.f1_score(toxic, called, zero_division=0))
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(toxic, -reward.ravel()))
    precision = metrics.average_precision_score(toxic, -reward.ravel())
    assert found["average_precision"] == pytest.approx(precision)


def test_broken_rewards_have_no_metrics() -> None:
    with pytest.raises(ValueError, match="not finite"):
        label_agreement(np.array([1.0, np.nan, 0.0]), np.array([0, 1, 1]))


@given(REWARDS, REWARDS)
def test_correlations_are_those_of_scipy(reward: np.ndarray, other: np.ndarray) -> None:
    found = correlations(reward.ravel(), other.ravel())
    if np.ptp(reward) == 0 or np.ptp(other) == 0:
        assert np.isnan(list(found.values())).all()
        return
    functions = {"pearson": pearsonr, "spearman": spearmanr, "kendall": kendalltau}
    assert list(found) == list(functions)
    for name, function in functions.items():
        expected = function(reward.ravel(), other.ravel()).statistic
        assert found[name] == pytest.approx(expected, abs=1e-9)


@given(REWARDS, REWARDS)
def test_no_cut_beats_the_best_one(reward: np.ndarray, other: np.ndarray) -> None:
    toxic = other < 0
    cuts = [-np.inf, *np.unique(reward), np.inf]
    slow = max(((reward < cut) == toxic).mean() for cut in cuts)
    assert best_accuracy(reward, toxic) == pytest.approx(slow)


def test_paired_differences() -> None:
    generator = np.random.default_rng(3)
    noise = generator.normal(size=500)
    first, second = pd.DataFrame({"x": noise + 0.5}), pd.DataFrame({"x": noise})
    row = paired_difference(first, second)["x"]
    assert row["low"] == pytest.approx(0.5)
    assert row["p_value"] == pytest.approx(2 / 501)
    assert paired_difference(first, first)["x"]["p_value"] == 1
    runs = [{"x": value} for value in noise[:30]]
    better = [{"x": value + 0.2} for value in noise[:30]]
    assert paired_runs(better, runs, seed=0)["x"]["low"] == pytest.approx(0.2)
    assert paired_runs(better, runs, seed=0)["x"]["p_value"] < 1e-6
    assert paired_runs(runs, runs, seed=0)["x"]["p_value"] == 1


def test_candidates_are_compared_on_the_same_resamples() -> None:
    values = np.random.default_rng(1).normal(size=50)

    def mean(rows: np.ndarray) -> dict[str, float]:
        return {"mean": float(values[rows].mean())}

    whole = {name: [mean(np.arange(50))] for name in ("first", "second")}
    runs: Any = {name: [mean] for name in whole}
    draws = bootstrap_runs(runs, whole, 50, resamples=200, seed=0)
    assert draws["first"]["mean"].std() > 0
    pd.testing.assert_frame_equal(draws["first"], draws["second"])


def test_interval_of_the_median_run_holds_both_spreads() -> None:
    """Runs that differ widen it; with one run it is the plain bootstrap."""
    sample = np.random.default_rng(5).normal(size=(9, 40))
    same = [lambda rows: {"x": float(sample[0][rows].mean())}] * 9
    apart = [lambda rows, run=run: {"x": float(sample[run][rows].mean()) + run} for run in range(9)]
    candidates = {"same": same, "apart": apart}
    values = {name: [run(np.arange(40)) for run in runs] for name, runs in candidates.items()}
    draws = bootstrap_runs(candidates, values, 40, resamples=400, seed=0)
    assert draws["apart"]["x"].std() > 2 * draws["same"]["x"].std()
    steady = [lambda rows: {"x": 0.0}, *same[:2]]  # a run that the prompts do not change
    known = [run(np.arange(40)) for run in steady]
    mixed = bootstrap_runs({"mixed": steady}, {"mixed": known}, 40, resamples=400, seed=0)
    values = {row["x"] for row in known}
    unchanged = mixed["mixed"]["x"].isin(values).mean()
    assert unchanged == pytest.approx(1 / 3, abs=0.1)
    assert draws["same"]["x"].std() == pytest.approx(sample[0].std() / 40**0.5, rel=0.15)


def test_agreement_of_runs_by_hand() -> None:
    rewards = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0], [2.0, 1.0, 0.0]])
    report = agreement_report(rewards, rewards < 1.5, rewards.std(axis=0))
    assert report["spearman"]["negative_share"] == pytest.approx(2 / 3)
    assert report["spearman"]["max"] == pytest.approx(1)
    assert report["label_agreement"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 3) / 3)
    assert len(correlation_table(rewards, [4, 5, 6])) == 9


def test_distinct_by_hand() -> None:
    assert distinct(["a b a", "b a"], 1) == pytest.approx(2 / 5)
    assert distinct(["a b a", "b a"], 2) == pytest.approx(2 / 3)
    assert distinct(["", "!"], 1) == 0


def test_empty_and_repeated() -> None:
    assert empty(["", " .!", "word"]).tolist() == [True, True, False]
    texts = ["so so so good", "the same text", "The same text!", "one of its own", "one of its own"]
    assert repeated(texts, [1, 2, 3, 4, 4]).tolist() == [True, True, True, False, False]
    assert repeated(["go away, go away, go away", "he said that that was it"], [1, 2]).tolist() == [
        True,
        False,
    ]
