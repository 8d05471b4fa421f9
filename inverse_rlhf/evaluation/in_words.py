"""What goes with a reward, in words: its rank correlation with each named objective."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from inverse_rlhf.data.tables import both_policies
from inverse_rlhf.features.objectives import OBJECTIVES, Objectives

WORTH = 0.1
"""Rank correlations of a smaller size are not worth a word, however sure they are."""


def in_words(scores: pd.DataFrame, *, resamples: int, seed: int) -> list[dict[str, Any]]:
    """Rank correlations of objectives of completions with their recovered and their true reward.

    A correlation is no weight: objectives that go together, as insults and a negative tone do, all
    correlate where one of them is rewarded.

    Args:
        scores: the scores table; both policies' completions are read.
        resamples: of prompts, for 95 % percentile intervals; ranks are those among all texts.

    Returns:
        A row an objective whose value is not the same in all texts, those that the recovered reward
        goes with most first: name, more (what a higher value means), recovered and true (value, low
        and high), said (whether the recovered one is worth a word: its interval is without 0, and
        its size is `WORTH` or more). No rows where the recovered reward is constant; true is None
        where the true one is.
    """
    test = both_policies(scores)
    objectives = Objectives()
    values = objectives.transform(test["completion"].tolist(), test["prompt"].tolist()).toarray()
    varied = np.flatnonzero(np.ptp(values, axis=0) > 0) if len(values) else np.array([], int)
    ranks = rankdata(values[:, varied], axis=0)
    prompts, place = np.unique(test["prompt_id"], return_inverse=True)
    generator = np.random.default_rng([seed, 4])
    drawn = generator.multinomial(len(prompts), np.full(len(prompts), 1 / len(prompts)), resamples)
    counts = np.concatenate([np.ones((1, len(test))), drawn[:, place].astype(np.float64)])
    found = {
        name: _beside(ranks, rankdata(test[f"{column}_reward"]), counts)
        for name, column in (("recovered", "irl"), ("true", "true"))
        if test[f"{column}_reward"].nunique() > 1
    }
    if "recovered" not in found:
        return []
    rows = []
    for at, column in enumerate(varied):
        name = objectives.names[column]
        own = found["recovered"][at]
        sure = own["low"] > 0 or own["high"] < 0
        rows.append(
            {
                "name": name,
                "more": OBJECTIVES[name].more,
                "recovered": own,
                "true": found["true"][at] if "true" in found else None,
                "said": sure and abs(own["value"]) >= WORTH,
            }
        )
    return sorted(rows, key=lambda row: -abs(row["recovered"]["value"]))


def _beside(
    ranks: Float[np.ndarray, "texts objectives"],
    reward: Float[np.ndarray, " texts"],
    counts: Float[np.ndarray, "draws texts"],
) -> list[dict[str, float]]:
    """Correlation of each column with `reward`, of all texts (the first draw), and its interval."""
    x, y = ranks - ranks.mean(axis=0), reward - reward.mean()
    total = counts.sum(axis=1, keepdims=True)
    mean_x, mean_y = counts @ x / total, counts @ y[:, None] / total
    covariance = counts @ (x * y[:, None]) / total - mean_x * mean_y
    spread = (counts @ x**2 / total - mean_x**2) * (counts @ y[:, None] ** 2 / total - mean_y**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = covariance / np.sqrt(spread)
    # An objective that few texts have is constant in some draws, which say nothing of it.
    low, high = np.nanquantile(draws[1:], [0.025, 0.975], axis=0)
    return [
        {"value": float(value), "low": float(down), "high": float(up)}
        for value, down, up in zip(draws[0], low, high, strict=True)
    ]
