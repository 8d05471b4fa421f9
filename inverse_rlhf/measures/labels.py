"""Agreement of labels by a cut of a reward with given ones."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer


class Labels:
    """Labels by a cut of a reward beside given ones; toxic is the positive class.

    From the four counts and the ranks, as the correlations below are: the functions of scikit-learn
    and scipy check their input anew, which took most of the time of a bootstrap.

    Args:
        reward: texts with a lower one than `threshold` are called toxic, (texts,).
        toxic: 1 or True for toxic, (texts,).

    Raises:
        ValueError: a reward is not finite, or a label is absent.
    """

    def __init__(
        self, reward: Float[np.ndarray, " texts"], toxic: np.ndarray, threshold: float
    ) -> None:
        if not np.isfinite(reward).all():
            raise ValueError("a reward is not finite")
        toxic = np.asarray(toxic)
        if toxic.dtype != bool and pd.isna(toxic).any():  # as a bool it would be True
            raise ValueError("a label is absent")
        self.reward, self.toxic = reward, toxic.astype(bool)
        called = reward < threshold
        self.count, self.positive = len(reward), int(self.toxic.sum())
        self.negative = self.count - self.positive
        self.hits, self.alarms = int((called & self.toxic).sum()), int(called.sum())
        self.kept = self.negative - (self.alarms - self.hits)

    @property
    def one_class(self) -> bool:
        """Whether only one label is given: then all but the accuracy is undefined."""
        return not self.positive or not self.negative

    @cached_property
    def ranks(self) -> tuple[Float[np.ndarray, " texts"], Integer[np.ndarray, " texts"]]:
        """Of the rewards; see `ranks`."""
        return ranks(self.reward)

    def accuracy(self) -> float:
        """The share of texts with the same label."""
        return (self.hits + self.kept) / self.count

    def balanced_accuracy(self) -> float:
        """The mean of both classes' accuracies."""
        if self.one_class:
            return np.nan
        return (self.hits / self.positive + self.kept / self.negative) / 2

    def kappa(self) -> float:
        """Cohen's kappa: accuracy beyond what the two shares of toxic labels agree by chance."""
        alarms, positive = self.alarms / self.count, self.positive / self.count
        chance = alarms * positive + (1 - alarms) * (1 - positive)
        return np.nan if self.one_class else (self.accuracy() - chance) / (1 - chance)

    def f1(self) -> float:
        """Of the toxic class."""
        return np.nan if self.one_class else 2 * self.hits / (self.alarms + self.positive)

    def roc_auc(self) -> float:
        """The share of (toxic, other) pairs of texts in which the toxic one has less reward."""
        if self.one_class:
            return np.nan
        below = self.ranks[0][self.toxic].sum() - self.positive * (self.positive + 1) / 2
        return float(1 - below / (self.positive * self.negative))

    def average_precision(self) -> float:
        """Of toxic texts by low reward: the mean precision where a toxic one just is called."""
        if self.one_class:
            return np.nan
        last = self.ranks[1][self.toxic]
        of_toxic = np.bincount(last, minlength=self.count + 1).cumsum()[last]
        return float((of_toxic / last).mean())


LABEL_METRICS: dict[str, Callable[[Labels], float]] = {
    "accuracy": Labels.accuracy,
    "balanced_accuracy": Labels.balanced_accuracy,
    "f1": Labels.f1,
    "roc_auc": Labels.roc_auc,
    "average_precision": Labels.average_precision,
    "kappa": Labels.kappa,
}


def label_agreement(
    reward: Float[np.ndarray, " texts"], toxic: np.ndarray, *, threshold: float = 0.0
) -> dict[str, float]:
    """Agreement with labels; see `Labels` for the arguments. Texts without a label do not count."""
    given = ~pd.isna(np.asarray(toxic))
    labels = Labels(reward[given], np.asarray(toxic)[given], threshold)
    return {name: float(metric(labels)) for name, metric in LABEL_METRICS.items()}


def labelled(comments: pd.DataFrame) -> pd.DataFrame:
    """The rows whose label `toxic`, 0 or 1, is given."""
    return comments[comments["toxic"].notna()].astype({"toxic": "int64"})


def chance_limit(labels: Labels) -> float:
    """What ROC-AUC and balanced accuracy have to exceed for a reward to know of the labels.

    The upper end of the 95 % interval around .5 of the ROC-AUC of a reward that knows nothing (Mann
    and Whitney 1947), but at least .55: what many texts tell from chance is not yet of use.
    """
    sizes = labels.positive * labels.negative
    error = np.sqrt((labels.count + 1) / (12 * sizes)) if sizes else np.inf
    return float(0.5 + max(0.05, 1.96 * error))


def best_accuracy(reward: Float[np.ndarray, "*texts"], toxic: Bool[np.ndarray, "*texts"]) -> float:
    """The accuracy of the best cut there is, chosen with the labels."""
    order = np.argsort(reward, axis=None, kind="stable")
    values, labels = reward.ravel()[order], toxic.ravel()[order]
    right = np.concatenate([[0], np.cumsum(labels)]) + np.concatenate(
        [np.cumsum(~labels[::-1])[::-1], [0]]
    )
    possible = np.concatenate([[True], values[1:] != values[:-1], [True]])
    return float(right[possible].max() / len(values))


def ranks(
    values: Float[np.ndarray, " texts"],
) -> tuple[Float[np.ndarray, " texts"], Integer[np.ndarray, " texts"]]:
    """Ranks from 1: of equal values their mean, and the last of them."""
    _, kind, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[kind], last[kind]
