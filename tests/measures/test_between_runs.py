"""Runs against each other: agreement and kappa by hand."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import cohen_kappa_score

from inverse_rlhf.measures.between_runs import (
    agreement_report,
    correlation_table,
    label_agreement_of_runs,
    label_kappa_of_runs,
)


def test_agreement_of_runs_by_hand() -> None:
    rewards = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 4.0], [2.0, 1.0, 0.0]])
    report = agreement_report(rewards, rewards < 1.5, rewards.std(axis=0))
    assert report["spearman"]["negative_share"] == pytest.approx(2 / 3)
    assert report["spearman"]["max"] == pytest.approx(1)
    assert report["label_agreement"] == pytest.approx((1 / 3 + 1 / 3 + 1 / 3) / 3)
    assert len(correlation_table(rewards, [4, 5, 6])) == 9


def slow_kappa(labels: np.ndarray) -> float:
    """(p_o - p_c) / (1 - p_c): observed and chance agreement are means over pairs of runs."""
    observed, chance = [], []
    for first, second in combinations(labels, 2):
        observed.append((first == second).mean())
        p, q = first.mean(), second.mean()
        chance.append(p * q + (1 - p) * (1 - q))
    p_o, p_c = np.mean(observed), np.mean(chance)
    return float((p_o - p_c) / (1 - p_c)) if p_c < 1 else np.nan


@given(arrays(np.bool_, st.tuples(st.integers(2, 5), st.integers(1, 9))))
def test_kappa_of_runs_is_the_published_formula(labels: np.ndarray) -> None:
    expected = slow_kappa(labels)
    assert label_kappa_of_runs(labels) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_kappa_of_runs_by_hand() -> None:
    labels = np.array([True, True, False, False, True])
    assert label_kappa_of_runs(np.stack([labels, labels])) == pytest.approx(1)
    assert label_kappa_of_runs(np.stack([labels] * 7)) == pytest.approx(1)
    half = np.array([True, True, False, False])
    assert label_kappa_of_runs(np.stack([half, ~half])) == pytest.approx(-1)
    # Agreement .854 where 0.599 of the labels are toxic in all runs, as once published: 0.70.
    first = np.arange(1000) < 599
    second = first ^ np.isin(np.arange(1000), [*range(73), *range(599, 672)])
    both = np.stack([first, second])
    assert label_agreement_of_runs(both) == pytest.approx(0.854)
    chance = 0.599**2 + 0.401**2
    assert label_kappa_of_runs(both) == pytest.approx((0.854 - chance) / (1 - chance))


def test_kappa_of_two_runs_is_that_of_scikit_learn() -> None:
    first, second = np.random.default_rng(0).random((2, 60)) < [[0.3], [0.6]]
    expected = cohen_kappa_score(first, second)
    assert label_kappa_of_runs(np.stack([first, second])) == pytest.approx(expected)


def test_independent_runs_have_no_kappa() -> None:
    """They agree on most labels, as they call most texts toxic, and on nothing beyond that."""
    labels = np.random.default_rng(1).random((20, 3000)) < np.linspace(0.8, 0.95, 20)[:, None]
    assert label_agreement_of_runs(labels) > 0.7
    assert label_kappa_of_runs(labels) == pytest.approx(0, abs=0.01)


def test_kappa_of_runs_is_left_out_where_it_is_undefined() -> None:
    one_label = np.ones((3, 4), dtype=bool)
    one_run = np.array([[True, False, True, False]])
    for labels in (one_label, one_run):
        assert np.isnan(label_kappa_of_runs(labels))
        rewards = np.random.default_rng(2).normal(size=labels.shape)
        report = agreement_report(rewards, labels, rewards.std(axis=0))
        assert "label_kappa" not in report
        assert report["label_agreement"] == 1
    rewards = np.random.default_rng(3).normal(size=(4, 30))
    report = agreement_report(rewards, rewards < 0, rewards.std(axis=0))
    assert report["label_kappa"] == label_kappa_of_runs(rewards < 0)
