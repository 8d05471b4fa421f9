"""Spread over runs and bootstrap intervals over prompts."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd
from jaxtyping import Integer
from scipy import stats

from inverse_rlhf.measures.pairs import with_width

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
    shares: Collection[str] = (),
) -> dict[str, Statistics]:
    """Values with 95 % percentile intervals (Efron 1979) from resampling prompts.

    Completions of one prompt are not independent, so prompts are resampled with all they have.

    Args:
        statistic: row numbers of prompts -> metrics.
        shares: metrics that are shares of completions, see `with_intervals`.

    Returns:
        {metric: {value, low, high}}, without the metrics that are undefined (NaN).
    """
    generator = np.random.default_rng(seed)
    value = statistic(np.arange(prompts))
    draws = [statistic(generator.integers(prompts, size=prompts)) for _ in range(resamples)]
    return with_intervals(value, pd.DataFrame(draws), dict.fromkeys(shares, prompts))


def bootstrap_runs(
    candidates: dict[str, list[Callable[[Integer[np.ndarray, " drawn"]], Statistics]]],
    values: dict[str, list[Statistics]],
    prompts: int,
    *,
    resamples: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Resampled medians over runs of several candidates, on the same resamples of prompts.

    A resample's value is the median over resampled runs, plus what the resampled prompts change in
    one run drawn at random: with one run it is the plain bootstrap over prompts, with several it
    also holds the runs' spread, at the price of one evaluation a resample.

    Args:
        candidates: for each its runs, as functions of row numbers of prompts.
        values: their metrics on all prompts.

    Returns:
        For each candidate a row a resample and a column a metric; rows of candidates are paired.
    """
    generator = np.random.default_rng(seed)
    known = {name: pd.DataFrame(rows).to_numpy() for name, rows in values.items()}
    draws: dict[str, list[np.ndarray]] = {name: [] for name in candidates}
    for _ in range(resamples):
        rows = generator.integers(prompts, size=prompts)
        for name, runs in candidates.items():
            table = known[name]
            run = int(generator.integers(len(runs)))
            change = np.array(list(runs[run](rows).values())) - table[run]
            drawn = table[generator.integers(len(runs), size=len(runs))]
            draws[name].append(np.median(drawn, axis=0) + change)
    return {name: pd.DataFrame(rows, columns=list(values[name][0])) for name, rows in draws.items()}


def with_intervals(
    value: Statistics, draws: pd.DataFrame, shares: Mapping[str, int] = MappingProxyType({})
) -> dict[str, Statistics]:
    """{metric: {value, low, high}}: 95 % percentile intervals from resamples, NaN left out.

    Args:
        shares: of each metric that is a share the number of prompts that it is of; where it is 0
            or 1 its interval is Wilson's, see `with_width`.
    """
    table: dict[str, Statistics] = {}
    for name, point in value.items():
        samples = draws[name].dropna()
        if np.isfinite(point) and len(samples):
            low, high = np.quantile(samples, [0.025, 0.975])
            table[name] = {"value": point, "low": float(low), "high": float(high)}
            if name in shares:
                table[name] = with_width(table[name], shares[name])
    return table


def paired_difference(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Statistics]:
    """How much two candidates differ on the same resamples, first minus second.

    Returns:
        {metric: {difference, low, high, p_value}}: median, 95 % percentile interval, and the
        two-sided bootstrap p-value (Efron & Tibshirani 1993, chapter 15), with one more resample
        counted on either side, so that it is never 0.
    """
    table: dict[str, Statistics] = {}
    for name in first:
        gap = (first[name] - second[name]).dropna()
        if len(gap):
            low, median, high = np.quantile(gap, [0.025, 0.5, 0.975])
            beyond = min((gap <= 0).sum(), (gap >= 0).sum())
            table[str(name)] = {
                "difference": float(median),
                "low": float(low),
                "high": float(high),
                "p_value": float(min(1.0, 2 * (beyond + 1) / (len(gap) + 1))),
            }
    return table


def paired_runs(
    first: list[Statistics], second: list[Statistics], *, seed: int
) -> dict[str, Statistics]:
    """How much two methods differ over the same runs, first minus second.

    Returns:
        {metric: {difference, low, high, p_value}}: the median difference, its 95 % percentile
        bootstrap interval, and Wilcoxon's signed-rank p-value (1 where no run differs).
    """
    table: dict[str, Statistics] = {}
    for name in first[0]:
        gap = np.array([a[name] - b[name] for a, b in zip(first, second, strict=True)])
        gap = gap[np.isfinite(gap)]
        if len(gap) < 2:
            continue
        interval = stats.bootstrap(
            (gap,), np.median, method="percentile", rng=np.random.default_rng(seed)
        ).confidence_interval
        table[name] = {
            "difference": float(np.median(gap)),
            "low": float(interval.low),
            "high": float(interval.high),
            "p_value": float(stats.wilcoxon(gap).pvalue) if gap.any() else 1.0,
        }
    return table
