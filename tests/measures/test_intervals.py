"""Spread over runs and intervals over prompts: by hand, covering, and paired."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.measures.intervals import (
    bootstrap,
    bootstrap_runs,
    paired_difference,
    paired_runs,
    spread,
    with_intervals,
)


def test_spread_by_hand() -> None:
    table = spread([{"x": value} for value in (1.0, 2.0, 3.0, 4.0, 10.0)])["x"]
    assert table == {
        "median": 3,
        "q25": 2,
        "q75": 4,
        "min": 1,
        "max": 10,
        "std": pytest.approx(np.std([1, 2, 3, 4, 10])),
    }


def test_interval_by_hand() -> None:
    draws = pd.DataFrame({"x": [*np.arange(1001.0), np.nan]})
    assert with_intervals({"x": 7.0, "y": np.nan}, draws.assign(y=0.0)) == {
        "x": {"value": 7.0, "low": 25.0, "high": 975.0}
    }


def test_shares_of_all_or_none_have_a_width() -> None:
    draws = pd.DataFrame({"told": np.ones(100), "mean": np.ones(100), "some": np.ones(100)})
    values = {"told": 1.0, "mean": 1.0, "some": 0.5}
    table = with_intervals(values, draws, {"told": 40, "some": 40})
    assert 0.9 < table["told"]["low"] < table["told"]["high"] == 1
    assert table["mean"]["low"] == table["mean"]["high"] == 1
    assert table["some"]["low"] == table["some"]["high"] == 1
    few = bootstrap(lambda rows: {"x": 0.0}, 10, resamples=20, seed=0, shares=["x"])["x"]
    assert few["low"] == 0
    assert 0.2 < few["high"] < 0.3


def test_bootstrap_covers_a_known_mean() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(60):
        sample = generator.normal(size=50)
        interval = bootstrap(
            lambda rows, sample=sample: {"mean": float(sample[rows].mean())},
            50,
            resamples=200,
            seed=trial,
        )["mean"]
        covered += interval["low"] < 0 < interval["high"]
    assert 50 <= covered <= 60


def test_paired_differences() -> None:
    generator = np.random.default_rng(3)
    noise = generator.normal(size=500)
    first, second = pd.DataFrame({"x": noise + 0.5}), pd.DataFrame({"x": noise})
    row = paired_difference(first, second)["x"]
    assert row["low"] == pytest.approx(0.5)
    assert row["p_value"] == pytest.approx(2 / 501)
    assert paired_difference(first, first)["x"]["p_value"] == 1
    runs = [{"x": value} for value in noise[:30]]
    better = [{"x": value + 0.2} for value in noise[:30]]
    assert paired_runs(better, runs, seed=0)["x"]["low"] == pytest.approx(0.2)
    assert paired_runs(better, runs, seed=0)["x"]["p_value"] < 1e-6
    assert paired_runs(runs, runs, seed=0)["x"]["p_value"] == 1


def test_candidates_are_compared_on_the_same_resamples() -> None:
    values = np.random.default_rng(1).normal(size=50)

    def mean(rows: np.ndarray) -> dict[str, float]:
        return {"mean": float(values[rows].mean())}

    whole = {name: [mean(np.arange(50))] for name in ("first", "second")}
    runs: Any = {name: [mean] for name in whole}
    draws = bootstrap_runs(runs, whole, 50, resamples=200, seed=0)
    assert draws["first"]["mean"].std() > 0
    pd.testing.assert_frame_equal(draws["first"], draws["second"])


def test_interval_of_the_median_run_holds_both_spreads() -> None:
    """Runs that differ widen it; with one run it is the plain bootstrap."""
    sample = np.random.default_rng(5).normal(size=(9, 40))
    same = [lambda rows: {"x": float(sample[0][rows].mean())}] * 9
    apart = [lambda rows, run=run: {"x": float(sample[run][rows].mean()) + run} for run in range(9)]
    candidates = {"same": same, "apart": apart}
    values = {name: [run(np.arange(40)) for run in runs] for name, runs in candidates.items()}
    draws = bootstrap_runs(candidates, values, 40, resamples=400, seed=0)
    assert draws["apart"]["x"].std() > 2 * draws["same"]["x"].std()
    steady = [lambda rows: {"x": 0.0}, *same[:2]]  # a run that the prompts do not change
    known = [run(np.arange(40)) for run in steady]
    mixed = bootstrap_runs({"mixed": steady}, {"mixed": known}, 40, resamples=400, seed=0)
    values = {row["x"] for row in known}
    unchanged = mixed["mixed"]["x"].isin(values).mean()
    assert unchanged == pytest.approx(1 / 3, abs=0.1)
    assert draws["same"]["x"].std() == pytest.approx(sample[0].std() / 40**0.5, rel=0.15)
