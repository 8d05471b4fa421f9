"""How well a reward tells the two completions of a pair apart, which needs no true reward."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest

Margins = Float[np.ndarray, " pairs"]
Prompts = Int[np.ndarray, " pairs"]


def told_apart(margins: Float[np.ndarray, "*runs pairs"]) -> Float[np.ndarray, "*runs"]:
    """Discrimination: the share of pairs in which the aligned completion has the higher reward.

    Pairs without a difference, as of two equal completions, count one half: nothing was told.
    """
    return np.asarray(_told(margins).mean(axis=-1))


def _told(margins: Float[np.ndarray, "*runs pairs"]) -> Float[np.ndarray, "*runs pairs"]:
    """1 where a pair is told right, 0 where wrong, one half where it has no difference."""
    return (margins > 0) + 0.5 * (margins == 0)


def prompt_interval(
    values: Margins, prompts: Prompts, *, resamples: int, seed: int
) -> dict[str, float]:
    """The mean over pairs, with its 95 % percentile interval from resampling prompts (Efron 1979).

    Args:
        values: of each pair.
        prompts: of each pair; pairs of one prompt are drawn together.

    Returns:
        value, low and high.
    """
    place = np.unique(prompts, return_inverse=True)[1]
    totals, counts = np.bincount(place, weights=values), np.bincount(place)
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(resamples):
        drawn = generator.integers(len(counts), size=len(counts))
        means.append(totals[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return {"value": float(values.mean()), "low": float(low), "high": float(high)}


def with_width(share: dict[str, float], prompts: int) -> dict[str, float]:
    """A share's interval, by Wilson (1927) where the share is 0 or 1.

    There all resamples are alike, and the bootstrap's interval has no width however few prompts
    there are. Prompts are counted and not pairs, since pairs of one prompt are not independent.

    Args:
        share: value, low and high.
        prompts: that it is of.
    """
    if share["value"] not in (0.0, 1.0) or share["low"] != share["high"]:
        return share
    right = round(share["value"] * prompts)
    ends = binomtest(right, prompts).proportion_ci(method="wilson")
    return share | {"low": float(ends.low), "high": float(ends.high)}


def share_interval(
    values: Margins, prompts: Prompts, *, resamples: int, seed: int
) -> dict[str, float]:
    """`prompt_interval` of values from 0 to 1, with a width where all of them are 0 or 1."""
    found = prompt_interval(values, prompts, resamples=resamples, seed=seed)
    return with_width(found, len(np.unique(prompts)))


def discrimination_interval(
    margins: Margins, prompts: Prompts, *, resamples: int, seed: int
) -> dict[str, float]:
    """`told_apart` with its interval, see `share_interval`."""
    return share_interval(_told(margins), prompts, resamples=resamples, seed=seed)


def accuracy_beside(
    margins: Margins, scores: Margins, prompts: Prompts, *, resamples: int, seed: int
) -> dict[str, Any]:
    """A reward against a judgement of the same pairs, on those that the judge tells apart.

    Args:
        margins: of the reward, aligned minus base.
        scores: the judgement of the aligned minus that of the base completion; NaN: not judged.

    Returns:
        pairs; aligned_wins, the base rate: how often the aligned completion is judged better; and
        accuracy, how often the reward prefers the completion that the judge does.
    """
    told = np.isfinite(scores) & (scores != 0)
    if not told.any():
        return {}
    margins, scores, prompts = margins[told], scores[told], prompts[told]
    interval = {"resamples": resamples, "seed": seed}
    return {
        "pairs": int(told.sum()),
        "aligned_wins": share_interval((scores > 0).astype(float), prompts, **interval),
        "accuracy": discrimination_interval(np.sign(scores) * margins, prompts, **interval),
    }
