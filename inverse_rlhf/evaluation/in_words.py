"""What goes with a reward, in words: its rank correlation with each named objective."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from scipy.stats import rankdata

from inverse_rlhf.data.tables import both_policies
from inverse_rlhf.features.objectives import OBJECTIVES, Objectives

WORTH = 0.1
"""Rank correlations of a smaller size are not worth a word, however sure they are."""
_CONSTANT = 1e-9
"""A variance that is rounding, over that of all texts."""


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
        its size is `WORTH` or more). No rows where the recovered reward or all texts are the same;
        true is None where the true reward is.
    """
    test = both_policies(scores)
    objectives = Objectives()
    values = objectives.transform(test["completion"].tolist(), test["prompt"].tolist()).toarray()
    varied = np.flatnonzero(np.ptp(values, axis=0) > 0) if len(values) else np.array([], int)
    if not len(varied):
        return []
    ranks = rankdata(values[:, varied], axis=0)
    prompts, place = np.unique(test["prompt_id"], return_inverse=True)
    generator, even = np.random.default_rng([seed, 4]), np.full(len(prompts), 1 / len(prompts))
    drawn = generator.multinomial(len(prompts), even, resamples)
    counts = np.concatenate([np.ones((1, len(prompts))), drawn])
    found = {
        name: _beside(ranks, rankdata(test[f"{column}_reward"]), place, counts)
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
    place: Integer[np.ndarray, " texts"],
    counts: Float[np.ndarray, "draws prompts"],
) -> list[dict[str, float]]:
    """Correlation of each column with `reward` of all texts, which is the first draw's, and its
    interval.

    Args:
        place: each text's prompt.
        counts: how often each prompt is drawn.
    """

    def summed(values: np.ndarray) -> np.ndarray:
        """Of each draw."""
        by_prompt = np.zeros((counts.shape[1], values.shape[1]))
        np.add.at(by_prompt, place, values)
        sums: np.ndarray = counts @ by_prompt
        return sums

    x, y = ranks - ranks.mean(axis=0), (reward - reward.mean())[:, None]
    total = summed(np.ones_like(y))
    mean_x, mean_y = summed(x) / total, summed(y) / total
    covariance = summed(x * y) / total - mean_x * mean_y
    spread = (summed(x**2) / total - mean_x**2) * (summed(y**2) / total - mean_y**2)
    # An objective that few texts have is constant in some draws, but for rounding: these say
    # nothing of it.
    spread[spread <= _CONSTANT * spread[0]] = np.nan
    draws = covariance / np.sqrt(spread)
    low, high = np.nanquantile(draws[1:], [0.025, 0.975], axis=0)
    return [
        {"value": float(value), "low": float(down), "high": float(up)}
        for value, down, up in zip(draws[0], low, high, strict=True)
    ]
