"""Decision thresholds: invariances, all cuts tried, cases by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inverse_rlhf.rewards.thresholds import (
    THRESHOLDS,
    median,
    midpoint,
    otsu,
    positive_unlabelled,
    thresholds,
)


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


def test_midpoint_and_median() -> None:
    assert midpoint(np.array([0.0, 2.0]), np.array([5.0])) == 3.0
    assert median(np.array([0.0, 9.0, 2.0])) == 2.0


def test_every_threshold_cuts_between_two_kinds() -> None:
    """Base texts are good or bad, aligned ones good: the best cut is near 0."""
    generator = np.random.default_rng(4)
    good, bad = generator.normal(3, 1, 600), generator.normal(-3, 1, 400)
    human = np.concatenate([good[:400], bad])
    found = thresholds(human[100:], good[300:], human)
    assert set(found) == set(THRESHOLDS)
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
