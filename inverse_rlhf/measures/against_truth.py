"""How well a recovered reward agrees with the true one: a registry of metrics and their ranges."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import stats

from inverse_rlhf.measures.distance import epic_distance, starc_distance
from inverse_rlhf.measures.labels import LABEL_METRICS, Labels, ranks
from inverse_rlhf.measures.pairs import told_apart


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

    def prompts(self) -> int:
        """How many prompts there are."""
        return len(self.reward)

    def prompts_of_each_label(self) -> int:
        """Of how many prompts there is a text of the rarer label."""
        toxic = self.toxic[:, self.labelled]
        return int(min(toxic.any(axis=1).sum(), (~toxic).any(axis=1).sum()))

    def prompts_of_pairs(self) -> int:
        """How many prompts have a pair whose true rewards differ."""
        differ = self.reward[:, self.aligned] != self.reward[:, self.base]
        return int(differ.any(axis=1).sum())

    def rows(self, rows: Integer[np.ndarray, " drawn"]) -> "Truth":
        """The truth of some prompts, for resampling."""
        return Truth(self.reward[rows], self.toxic[rows], self.labelled, self.base, self.aligned)


class Comparison:
    """One recovered reward beside the true one; what several metrics need is computed once."""

    def __init__(
        self, reward: Float[np.ndarray, "prompts completions"], threshold: float, truth: Truth
    ) -> None:
        self.reward, self.truth = reward, truth
        toxic = truth.toxic[:, truth.labelled].ravel()
        self.labels = Labels(reward[:, truth.labelled].ravel(), toxic, threshold)
        self.true = truth.reward[:, truth.labelled].ravel()
        self.gap = reward[:, truth.aligned] - reward[:, truth.base]

    @property
    def constant(self) -> bool:
        """Whether one of the rewards is: then correlations are undefined."""
        return bool(np.ptp(self.labels.reward) == 0 or np.ptp(self.true) == 0)

    def pearson(self) -> float:
        """Linear correlation."""
        return np.nan if self.constant else _pearson(self.labels.reward, self.true)

    def spearman(self) -> float:
        """Rank correlation."""
        return np.nan if self.constant else _pearson(self.labels.ranks[0], ranks(self.true)[0])

    def spearman_within(self, toxic: bool) -> float:
        """Rank correlation among texts of one label: what two well-told kinds do not explain."""
        rows = self.labels.toxic == toxic
        first, second = self.labels.reward[rows], self.true[rows]
        if len(first) < 2 or np.ptp(second) == 0:
            return np.nan
        if np.ptp(first) == 0:
            return 0.0  # there is an order to find, and none was given
        return _pearson(ranks(first)[0], ranks(second)[0])

    def kendall(self) -> float:
        """Kendall's tau-b."""
        if self.constant:
            return np.nan
        return float(stats.kendalltau(self.labels.reward, self.true).statistic)

    def pair_accuracy(self) -> float:
        """Sign agreement on the pairs whose true rewards differ; half of one where the recovered
        ones are equal.
        """
        true_gap = self.truth.reward[:, self.truth.aligned] - self.truth.reward[:, self.truth.base]
        differ = true_gap != 0
        if not differ.any():
            return np.nan
        return float(told_apart((np.sign(true_gap) * self.gap)[differ]))

    def discrimination(self) -> float:
        """`told_apart` of all pairs."""
        return float(told_apart(self.gap.ravel()))


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        of: how it is computed.
        low, high: the range that its values cannot leave.
        prompts: of a share of texts or pairs, how many prompts it is of; None: it is no share.
    """

    of: Callable[[Comparison], float]
    low: float
    high: float
    prompts: Callable[[Truth], int] | None = None


def _of_labels(name: str) -> Callable[[Comparison], float]:
    return lambda found: LABEL_METRICS[name](found.labels)


_OF_LABELS = {"accuracy": Truth.prompts, "roc_auc": Truth.prompts_of_each_label}
METRICS: dict[str, Metric] = {
    **{
        name: Metric(_of_labels(name), -1.0 if name == "kappa" else 0.0, 1.0, _OF_LABELS.get(name))
        for name in LABEL_METRICS
    },
    "pearson": Metric(Comparison.pearson, -1.0, 1.0),
    "spearman": Metric(Comparison.spearman, -1.0, 1.0),
    "spearman_toxic": Metric(lambda found: found.spearman_within(True), -1.0, 1.0),
    "spearman_non_toxic": Metric(lambda found: found.spearman_within(False), -1.0, 1.0),
    "kendall": Metric(Comparison.kendall, -1.0, 1.0),
    "pair_accuracy": Metric(Comparison.pair_accuracy, 0.0, 1.0, Truth.prompts_of_pairs),
    "starc": Metric(lambda found: starc_distance(found.reward, found.truth.reward), 0.0, 1.0),
    "epic": Metric(lambda found: epic_distance(found.reward, found.truth.reward), 0.0, 1.0),
    "discrimination": Metric(Comparison.discrimination, 0.0, 1.0, Truth.prompts),
}
"""Every metric by its key in metrics/reward.json."""


def compare(
    reward: Float[np.ndarray, "prompts completions"], threshold: float, truth: Truth
) -> dict[str, float]:
    """Every metric of `METRICS` for one recovered reward.

    Returns:
        A value a metric; NaN where it is undefined (one class only, a constant reward).
    """
    found = Comparison(reward, threshold, truth)
    return {name: float(metric.of(found)) for name, metric in METRICS.items()}


def _pearson(first: Float[np.ndarray, " texts"], second: Float[np.ndarray, " texts"]) -> float:
    return float(np.corrcoef(first, second)[0, 1])
