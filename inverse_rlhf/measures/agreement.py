"""How well a recovered reward agrees with the true one: labels, correlations, pairs, distances."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import stats

from inverse_rlhf.measures.distance import epic_distance, starc_distance

METRICS = (
    "accuracy",
    "balanced_accuracy",
    "f1",
    "roc_auc",
    "average_precision",
    "pearson",
    "spearman",
    "kendall",
    "pair_accuracy",
    "starc",
    "epic",
    "discrimination",
)


@dataclass(frozen=True)
class Truth:
    """What rewards are compared with, on a fixed set of completions of each prompt.

    Attributes:
        reward: true rewards, (prompts, completions).
        toxic: labels, (prompts, completions).
        labelled: the completions on which labels and correlations are compared.
        base, aligned: the completions that are paired, in this order; a pair is one column of each.
    """

    reward: Float[np.ndarray, "prompts completions"]
    toxic: Bool[np.ndarray, "prompts completions"]
    labelled: slice
    base: slice
    aligned: slice

    def rows(self, rows: Integer[np.ndarray, " drawn"]) -> "Truth":
        """The truth of some prompts, for resampling."""
        return Truth(self.reward[rows], self.toxic[rows], self.labelled, self.base, self.aligned)


def compare(
    reward: Float[np.ndarray, "prompts completions"], threshold: float, truth: Truth
) -> dict[str, float]:
    """Every metric of `METRICS` for one recovered reward.

    Toxic is the positive class: a text is called toxic when its reward is below `threshold`.
    pair_accuracy is sign agreement on the pairs whose true rewards differ; discrimination is the
    share of pairs in which the aligned completion has the higher recovered reward.

    Returns:
        A value a metric; NaN where it is undefined (one class only, a constant reward).
    """
    chosen = reward[:, truth.labelled].ravel()
    true = truth.reward[:, truth.labelled].ravel()
    gap = reward[:, truth.aligned] - reward[:, truth.base]
    true_gap = truth.reward[:, truth.aligned] - truth.reward[:, truth.base]
    agree = np.sign(gap) == np.sign(true_gap)
    return {
        **label_agreement(chosen, truth.toxic[:, truth.labelled].ravel(), threshold=threshold),
        **correlations(chosen, true),
        "pair_accuracy": float(agree[true_gap != 0].mean()) if (true_gap != 0).any() else np.nan,
        "starc": starc_distance(reward, truth.reward),
        "epic": epic_distance(reward, truth.reward),
        "discrimination": float((gap > 0).mean()),
    }


def label_agreement(
    reward: Float[np.ndarray, " texts"], toxic: np.ndarray, *, threshold: float = 0.0
) -> dict[str, float]:
    """Agreement with labels: accuracy, balanced_accuracy, f1, roc_auc and average_precision.

    Args:
        toxic: 1 or True for toxic, the positive class, of shape (texts,).
        threshold: texts with a lower reward are called toxic.

    Raises:
        ValueError: a reward is not finite.
    """
    if not np.isfinite(reward).all():
        raise ValueError("a reward is not finite")
    toxic = np.asarray(toxic).astype(bool)
    called = reward < threshold
    if toxic.all() or not toxic.any():
        return {"accuracy": float((called == toxic).mean()), **dict.fromkeys(METRICS[1:5], np.nan)}
    # From the four counts and the ranks, as correlations are below: the functions of scikit-learn
    # and scipy check their input anew, which took most of the time of a bootstrap.
    hits, alarms = int((called & toxic).sum()), int(called.sum())
    positive, count = int(toxic.sum()), len(toxic)
    kept = count - positive - (alarms - hits)
    ranks, last = _ranks(reward)
    below = ranks[toxic].sum() - positive * (positive + 1) / 2
    # Of toxic texts, how many are called toxic when a given one just is.
    of_toxic = np.bincount(last[toxic], minlength=count + 1).cumsum()[last[toxic]]
    return {
        "accuracy": (hits + kept) / count,
        "balanced_accuracy": (hits / positive + kept / (count - positive)) / 2,
        "f1": 2 * hits / (alarms + positive),
        "roc_auc": float(1 - below / (positive * (count - positive))),
        "average_precision": float((of_toxic / last[toxic]).mean()),
    }


def _ranks(
    values: Float[np.ndarray, " texts"],
) -> tuple[Float[np.ndarray, " texts"], Integer[np.ndarray, " texts"]]:
    """Ranks from 1: of equal values their mean, and the last of them."""
    _, kind, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[kind], last[kind]


def best_accuracy(reward: Float[np.ndarray, "*texts"], toxic: Bool[np.ndarray, "*texts"]) -> float:
    """The accuracy of the best cut there is, chosen with the labels."""
    order = np.argsort(reward, axis=None, kind="stable")
    values, labels = reward.ravel()[order], toxic.ravel()[order]
    right = np.concatenate([[0], np.cumsum(labels)]) + np.concatenate(
        [np.cumsum(~labels[::-1])[::-1], [0]]
    )
    possible = np.concatenate([[True], values[1:] != values[:-1], [True]])
    return float(right[possible].max() / len(values))


def correlations(
    first: Float[np.ndarray, " texts"], second: Float[np.ndarray, " texts"]
) -> dict[str, float]:
    """Pearson, Spearman and Kendall (tau-b) correlation; NaN where one is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return dict.fromkeys(("pearson", "spearman", "kendall"), np.nan)
    return {
        "pearson": float(np.corrcoef(first, second)[0, 1]),
        "spearman": float(np.corrcoef(_ranks(first)[0], _ranks(second)[0])[0, 1]),
        "kendall": float(stats.kendalltau(first, second).statistic),
    }
