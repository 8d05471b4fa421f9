"""Labels by a cut: cases by hand, and the twins of scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from inverse_rlhf.measures.labels import LABEL_METRICS, best_accuracy, label_agreement

REWARDS = arrays(np.float64, (6, 4), elements=st.integers(-100, 100).map(float))


def test_toxic_is_the_positive_class() -> None:
    found = label_agreement(np.array([-1.0, 1.0, 1.0, 1.0]), np.array([1, 1, 0, 0]))
    assert found["accuracy"] == 0.75
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == 0.75
    assert found["roc_auc"] == 0.75


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
    assert found["kappa"] == pytest.approx(metrics.cohen_kappa_score(toxic, called))
    precision = metrics.average_precision_score(toxic, -reward.ravel())
    assert found["average_precision"] == pytest.approx(precision)


def test_broken_rewards_have_no_metrics() -> None:
    with pytest.raises(ValueError, match="not finite"):
        label_agreement(np.array([1.0, np.nan, 0.0]), np.array([0, 1, 1]))


@given(REWARDS, REWARDS)
def test_no_cut_beats_the_best_one(reward: np.ndarray, other: np.ndarray) -> None:
    toxic = other < 0
    cuts = [-np.inf, *np.unique(reward), np.inf]
    slow = max(((reward < cut) == toxic).mean() for cut in cuts)
    assert best_accuracy(reward, toxic) == pytest.approx(slow)


@pytest.mark.parametrize(
    ("called", "toxic", "expected"),
    [
        ([1, 1, 0, 0], [1, 1, 0, 0], 1.0),
        ([0, 0, 1, 1], [1, 1, 0, 0], -1.0),
        ([1, 0, 1, 0], [1, 1, 0, 0], 0.0),  # as often right as by chance
        ([1, 1, 1, 1], [1, 1, 0, 0], 0.0),  # one label for all texts knows nothing
        ([0, 0, 0, 0], [1, 1, 1, 0], 0.0),
        ([1, 0, 0, 0], [1, 1, 0, 0], 0.5),  # (3/4 - 1/2) / (1 - 1/2)
        ([1, 1, 1, 0, 0], [1, 0, 0, 0, 0], 2 / 7),  # (3/5 - 11/25) / (1 - 11/25)
    ],
)
def test_kappa_by_hand(called: list[int], toxic: list[int], expected: float) -> None:
    found = label_agreement(-np.array(called, dtype=np.float64), np.array(toxic), threshold=-0.5)
    assert found["kappa"] == pytest.approx(expected)


@pytest.mark.parametrize("label", [0, 1])
def test_with_one_label_only_the_accuracy_is_defined(label: int) -> None:
    found = label_agreement(np.array([-1.0, 1.0, 2.0]), np.full(3, label))
    assert list(found) == list(LABEL_METRICS)
    assert found.pop("accuracy") == pytest.approx([2 / 3, 1 / 3][label])
    assert np.isnan(list(found.values())).all()
