"""Distances: what they ignore, and cases by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inverse_rlhf.measures.distance import epic_distance, starc_distance

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
