"""Metrics against the true reward: itself, its opposite, and the twins of scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau, pearsonr, spearmanr

from inverse_rlhf.measures.against_truth import METRICS, Metric, Truth, compare
from inverse_rlhf.measures.intervals import spread

REWARDS = arrays(np.float64, (6, 4), elements=st.integers(-100, 100).map(float))


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


def test_shares_know_how_many_prompts_they_are_of() -> None:
    # Prompts: both labels and a pair that differs; high ones only, that differ; all the same.
    known = truth(np.array([[-1.0, 2.0], [1.0, 2.0], [3.0, 3.0]]))
    prompts = {name: metric.prompts(known) for name, metric in METRICS.items() if metric.prompts}
    assert prompts == {"accuracy": 3, "roc_auc": 1, "pair_accuracy": 2, "discrimination": 3}


def test_undefined_metrics_are_left_out() -> None:
    one_class = compare(np.ones((3, 2)), 0.0, truth(np.ones((3, 2))))
    table = spread([one_class, one_class])
    assert "roc_auc" not in table
    assert table["accuracy"]["median"] == 1


@given(REWARDS, REWARDS)
def test_correlations_are_those_of_scipy(reward: np.ndarray, other: np.ndarray) -> None:
    functions = {"pearson": pearsonr, "spearman": spearmanr, "kendall": kendalltau}
    found = compare(reward, 0.0, truth(other))
    found = {name: found[name] for name in functions}
    if np.ptp(reward) == 0 or np.ptp(other) == 0:
        assert np.isnan(list(found.values())).all()
        return
    for name, function in functions.items():
        expected = function(reward.ravel(), other.ravel()).statistic
        assert found[name] == pytest.approx(expected, abs=1e-9)


@given(REWARDS, REWARDS)
def test_correlation_within_a_class_is_that_of_scipy(reward: np.ndarray, other: np.ndarray) -> None:
    found = compare(reward, 0.0, truth(other))
    for name, rows in {"spearman_toxic": other < 0, "spearman_non_toxic": other >= 0}.items():
        first, second = reward[rows], other[rows]
        if len(first) < 2 or np.ptp(second) == 0:
            assert np.isnan(found[name])
        elif np.ptp(first) == 0:
            assert found[name] == 0
        else:
            expected = spearmanr(first, second).statistic
            assert found[name] == pytest.approx(expected, abs=1e-9), name


def test_two_kinds_told_apart_need_not_be_ranked_within() -> None:
    """The labels agree, and so do rewards of toxic texts; those of the others are the opposite."""
    true = np.array([[-4.0, 1.0], [-3.0, 2.0], [-2.0, 3.0], [-1.0, 4.0]])
    reward = np.where(true < 0, true, 5 - true)
    found = compare(reward, 0.0, truth(true))
    assert found["kappa"] == found["roc_auc"] == 1
    assert found["spearman_toxic"] == pytest.approx(1)
    assert found["spearman_non_toxic"] == pytest.approx(-1)
    assert 0 < found["spearman"] < 1


def test_equal_rewards_of_a_pair_are_half_right() -> None:
    """So that a reward of few values is judged like any other: of ten pairs here four tie."""
    reward = np.array([[0.0, 1.0]] * 5 + [[1.0, 1.0]] * 2 + [[0.0, 0.0]] * 2 + [[1.0, 0.0]])
    found = compare(reward, 0.5, truth(reward))
    assert found["discrimination"] == pytest.approx(0.7)
    assert found["pair_accuracy"] == 1  # of those whose true rewards differ
    flat = compare(np.zeros_like(reward), 0.5, truth(reward))
    assert flat["discrimination"] == flat["pair_accuracy"] == 0.5


def test_labels_alone_are_no_order_within_them() -> None:
    true = np.array([[-2.0, 1.0], [-1.0, 2.0], [-3.0, 3.0]])
    found = compare(np.sign(true), 0.0, truth(true))
    assert found["roc_auc"] == 1
    assert found["spearman_toxic"] == found["spearman_non_toxic"] == 0


def test_every_metric_stays_in_its_range() -> None:
    generator = np.random.default_rng(6)
    for _ in range(50):
        reward, true = generator.normal(size=(2, 8, 4))
        for name, value in compare(reward, 0.0, truth(true)).items():
            metric = METRICS[name]
            assert metric.low - 1e-9 <= value <= metric.high + 1e-9, name
    signed = {name for name, metric in METRICS.items() if metric.low == -1}
    correlations = {"pearson", "spearman", "spearman_toxic", "spearman_non_toxic", "kendall"}
    assert signed == correlations | {"kappa"}


def test_a_registered_metric_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "texts", Metric(lambda found: found.labels.count, 0.0, np.inf))
    assert compare(np.ones((3, 2)), 0.0, truth(np.ones((3, 2))))["texts"] == 6
