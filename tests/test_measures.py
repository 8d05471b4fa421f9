"""Distances, agreement, intervals and text measures: invariances, twins and cases by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inverse_rlhf.irl.selection import median_run, midpoint_threshold, otsu_threshold
from inverse_rlhf.measures.agreement import METRICS, Truth, compare, label_agreement
from inverse_rlhf.measures.distance import epic_distance, starc_distance
from inverse_rlhf.measures.intervals import bootstrap, spread
from inverse_rlhf.measures.text import distinct, empty, repeated

REWARDS = arrays(np.float64, (6, 4), elements=st.integers(-100, 100).map(float))
OFFSETS = arrays(np.float64, (6, 1), elements=st.integers(-50, 50).map(float))


@given(REWARDS, REWARDS, OFFSETS, st.floats(0.1, 10))
def test_distances_ignore_offset_and_scale(
    first: np.ndarray, second: np.ndarray, offset: np.ndarray, scale: float
) -> None:
    for distance in (starc_distance, epic_distance):
        shifted = distance(scale * first + offset, second)
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
    below = scores < otsu_threshold(scores)
    np.testing.assert_array_equal(moved < otsu_threshold(moved), below)


def test_otsu_is_the_best_of_all_cuts() -> None:
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.normal(-2, 1, 40), generator.normal(3, 0.5, 25)])
    ordered = np.sort(scores)
    cost = [
        len(p) * p.var() + len(q) * q.var()
        for i in range(1, 65)
        for p, q in [(ordered[:i], ordered[i:])]
    ]
    assert (scores < otsu_threshold(scores)).sum() == int(np.argmin(cost)) + 1


def test_otsu_of_equal_scores_is_the_score() -> None:
    assert otsu_threshold(np.full(5, 2.5)) == 2.5


def test_midpoint_and_median_run() -> None:
    assert midpoint_threshold(np.array([0.0, 2.0]), np.array([5.0])) == 3.0
    assert median_run([0.9, 0.1, 0.5]) == 2
    assert median_run([0.9, 0.1, 0.5, 0.7]) == 2


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
