"""How far the runs agree with each other, which needs no true reward."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import rankdata

Rewards = Float[np.ndarray, "runs texts"]


def rank_correlations(rewards: Rewards) -> Float[np.ndarray, "runs runs"]:
    """Spearman correlation of every two runs; NaN where a run is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix: np.ndarray = np.atleast_2d(np.corrcoef(rankdata(rewards, axis=1)))
    return matrix


def label_agreement_of_runs(labels: Bool[np.ndarray, "runs texts"]) -> float:
    """The share of texts to which two runs give the same label, over all pairs of runs."""
    runs, yes = len(labels), labels.sum(axis=0)
    same = yes * (yes - 1) + (runs - yes) * (runs - yes - 1)
    return float((same / (runs * (runs - 1))).mean()) if runs > 1 else 1.0


def label_kappa_of_runs(labels: Bool[np.ndarray, "runs texts"]) -> float:
    """The agreement of runs beyond chance: 1 all labels, 0 what their shares of toxic labels give.

    Cohen's kappa from the means over pairs of runs of agreement and of agreement by chance; NaN
    with one run, or where all runs give one and the same label.
    """
    runs = len(labels)
    toxic = labels.mean(axis=1)
    first, second = np.triu_indices(runs, 1)
    chance = (toxic[first] * toxic[second] + (1 - toxic[first]) * (1 - toxic[second])).sum()
    chance /= max(len(first), 1)
    if runs < 2 or chance == 1:
        return float("nan")
    return float((label_agreement_of_runs(labels) - chance) / (1 - chance))


def agreement_report(
    rewards: Rewards, labels: Bool[np.ndarray, "runs texts"], spread: Float[np.ndarray, " texts"]
) -> dict[str, Any]:
    """Summary of the run-by-run matrix, of the labels, and of the spread on each text.

    Args:
        rewards, labels: of each run.
        spread: standard deviation over runs of each text's standardised reward.
    """
    matrix = rank_correlations(rewards)
    between = matrix[np.triu_indices(len(matrix), 1)]
    report: dict[str, Any] = {"label_agreement": label_agreement_of_runs(labels)}
    kappa = label_kappa_of_runs(labels)
    if np.isfinite(kappa):
        report["label_kappa"] = kappa
    report["text_spread"] = {
        "median": float(np.median(spread)),
        "q95": float(np.quantile(spread, 0.95)),
    }
    if len(between) and np.isfinite(between).any():
        known = between[np.isfinite(between)]
        report["spearman"] = {
            "median": float(np.median(known)),
            "min": float(known.min()),
            "max": float(known.max()),
            "negative_share": float((known < 0).mean()),
        }
    return report


def correlation_table(rewards: Rewards, runs: list[int]) -> pd.DataFrame:
    """Rank correlations in long form: run, other_run, spearman."""
    matrix = rank_correlations(rewards)
    index = pd.MultiIndex.from_product([runs, runs], names=["run", "other_run"])
    return pd.DataFrame({"spearman": matrix.ravel()}, index=index).reset_index()
