"""Spread over runs and bootstrap intervals over prompts."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Integer

Statistics = dict[str, float]


def spread(runs: list[Statistics]) -> dict[str, Statistics]:
    """Median, quartiles, extremes and standard deviation over runs, of every metric.

    Metrics that are undefined (NaN) in a run leave that run out; undefined in all, they are absent.
    """
    table: dict[str, Statistics] = {}
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        values = values[np.isfinite(values)]
        if len(values):
            q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75])
            table[name] = {
                "median": float(median),
                "q25": float(q25),
                "q75": float(q75),
                "min": float(values.min()),
                "max": float(values.max()),
                "std": float(values.std()),
            }
    return table


def bootstrap(
    statistic: Callable[[Integer[np.ndarray, " drawn"]], Statistics],
    prompts: int,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Statistics]:
    """Values with 95 % percentile intervals (Efron 1979) from resampling prompts.

    Completions of one prompt are not independent, so prompts are resampled with all they have.

    Args:
        statistic: row numbers of prompts -> metrics.

    Returns:
        {metric: {value, low, high}}, without the metrics that are undefined (NaN).
    """
    generator = np.random.default_rng(seed)
    value = statistic(np.arange(prompts))
    draws = [statistic(generator.integers(prompts, size=prompts)) for _ in range(resamples)]
    table: dict[str, Statistics] = {}
    for name, point in value.items():
        samples = np.array([draw[name] for draw in draws])
        samples = samples[np.isfinite(samples)]
        if np.isfinite(point) and len(samples):
            low, high = np.quantile(samples, [0.025, 0.975])
            table[name] = {"value": point, "low": float(low), "high": float(high)}
    return table
