"""The figures of the closed loop, of all that `evaluate` found."""

import pandas as pd
from matplotlib.figure import Figure

from inverse_rlhf.evaluation.candidates import Rewards
from inverse_rlhf.evaluation.margins import beside_control
from inverse_rlhf.show.drawing import KEYS
from inverse_rlhf.show.figures import (
    Measured,
    confusion_points,
    draw_figures,
    rewards_since_start,
    roc_points,
)
from inverse_rlhf.show.report import Results


def figures_of(
    found: Results,
    fits: dict[str, Rewards],
    runs: pd.DataFrame,
    correlations: pd.DataFrame,
    curves: dict[str, pd.DataFrame],
) -> dict[str, Figure]:
    """Every figure by its name, see `draw_figures`.

    Args:
        fits: recovered rewards by their kind; fit is among them.
        runs: the irl_runs table.
        correlations: the run_correlations table.
        curves: of policy training, by policy (rlhf, rerl).
    """
    bayes = found.card.method == "bayes"
    return draw_figures(
        Measured(
            scores=found.scores,
            runs=runs,
            rewards=found.rewards,
            policies=found.policies,
            planted=list(found.planted),
            curves=curves,
            correlations=correlations,
            margins=beside_control(found.margins, fits),
            ngrams=found.ngrams.assign(weight=found.ngrams["weight"] / found.card.std),
            ngrams_r2=found.explanation["surrogate_r2"],
            exported=found.card.run,
            threshold=found.threshold,
            cut=found.cut,
            labels=found.labels,
            preferences=fits["fit"].test_preferences() if bayes else None,
        )
    )


def curves_of(found: Results, curves: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The tables behind DVC's charts that no training writes, by their names.

    Args:
        curves: of policy training, by policy (rlhf, rerl).
    """
    return {
        "rewards": rewards_since_start(curves).rename(columns=KEYS),  # as the others are called
        "roc": roc_points(found.scores, found.cut),
        "confusion": confusion_points(found.scores, found.threshold, found.cut, found.labels),
    }
