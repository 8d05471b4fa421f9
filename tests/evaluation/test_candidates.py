"""Rewards side by side: references without a fit, the ensemble, and metrics kept in range."""

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.evaluation import candidates
from inverse_rlhf.evaluation.candidates import Candidate, Rewards, bootstrapped, single_rewards
from inverse_rlhf.measures.against_truth import METRICS, Comparison, Metric, Truth


def test_single_rewards_and_their_threshold() -> None:
    pairs = pd.DataFrame(
        {
            "prompt_id": [0, 1, 2, 3],
            "sample": 0,
            "split": ["valid", "valid", "test", "test"],
            "base_completion": [" a", " a b c d", " a b", " a b c"],
            "aligned_completion": [" a b c d", " a b c", " a", " a b c d e"],
        }
    )
    keys = pd.concat([pairs.assign(source=source) for source in ("base", "aligned")])
    index = pd.MultiIndex.from_frame(keys[["split", "source", "prompt_id", "sample"]])
    table = pd.DataFrame({"nll": 4.0, "own_nll": 3.0}, index=index).sort_index()
    found = single_rewards(pairs, table)
    assert (found["log_ratio"] == 1).all()
    assert (found["base_loglik"] == -4).all()
    length = Candidate.of_series(found["length"], "otsu")
    np.testing.assert_array_equal(length.rewards[0], [[2, 1], [3, 5]])
    assert 1 < length.thresholds[0] < 4
    assert Candidate.of_series(found["length"], "median").thresholds == [2.5]
    assert Candidate.of_series(found["length"], "midpoint").thresholds == [3.0]
    assert Candidate.of_series(found["length"], "human_median").thresholds == [2.5]
    human = pd.Series(9.0, pd.MultiIndex.from_tuples([("valid", "human", 0, 0)], names=index.names))
    both = pd.concat([found["length"], human]).sort_index()
    assert Candidate.of_series(both, "human_median").thresholds == [9.0]


def test_ensemble_and_spread_by_hand() -> None:
    """The first run counts in other units than the second: each is standardised before the mean."""
    keys = {"split": "test", "source": "base", "prompt_id": [0, 1], "sample": 0}
    first = pd.DataFrame(keys | {"kind": "fit", "run": 0, "irl_reward": [100.0, 300.0]})
    second = pd.DataFrame(keys | {"kind": "fit", "run": 1, "irl_reward": [1.0, -1.0]})
    runs = pd.DataFrame({"kind": "fit", "run": [0, 1], "selected": True})
    runs = runs.assign(mean=[100.0, 0.0], std=[100.0, 1.0], threshold_otsu=[200.0, 0.0])
    runs = runs.assign(threshold_median=[150.0, 0.5])
    rewards = Rewards(pd.concat([first, second]), runs, "fit", "otsu")
    assert rewards.ensemble.tolist() == [0.5, 0.5]
    assert rewards.spread.tolist() == [0.5, 1.5]
    assert rewards.thresholds == {0: 200.0, 1: 0.0}
    by_median = Rewards(pd.concat([first, second]), runs, "fit", "median")
    assert by_median.thresholds == {0: 150.0, 1: 0.5}
    assert by_median.all_thresholds.columns.tolist() == ["threshold_otsu", "threshold_median"]


def noisy(prompts: int = 30) -> tuple[dict[str, Candidate], Truth]:
    """Three runs that know something of the truth, and it."""
    generator = np.random.default_rng(0)
    reward = generator.normal(size=(prompts, 4))
    truth = Truth(reward, reward < 0, slice(None), slice(2), slice(2, None))
    runs = [reward + generator.normal(size=reward.shape) for _ in range(3)]
    return {"fit": Candidate(runs, [0.0] * 3)}, truth


def test_every_metric_is_clipped_to_its_own_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resamples of a median over runs may leave any range; one without an end has no clip there."""

    def mean_size(found: Comparison) -> float:
        return float(100 + np.abs(found.labels.reward).mean())

    monkeypatch.setitem(METRICS, "above", Metric(mean_size, low=0.0, high=np.inf))
    monkeypatch.setitem(METRICS, "any", Metric(mean_size, low=-np.inf, high=np.inf))
    far = pd.DataFrame({name: [-1000.0, 0.5, 1000.0, np.nan] for name in METRICS})
    monkeypatch.setattr(candidates, "bootstrap_runs", lambda *_, **__: {"fit": far})
    several, truth = noisy()
    values, draws = bootstrapped(several, truth, 3, 0)
    assert list(values["fit"][0]) == list(METRICS)
    for name, metric in METRICS.items():
        low, high = max(metric.low, -1000.0), min(metric.high, 1000.0)
        assert draws["fit"][name].tolist()[:3] == [low, 0.5, high], name
    assert draws["fit"].iloc[3].isna().all()
    assert draws["fit"]["above"].tolist()[:3] == [0, 0.5, 1000]
    assert draws["fit"]["any"].tolist()[:3] == [-1000, 0.5, 1000]
    assert draws["fit"]["kappa"].tolist()[:3] == [-1, 0.5, 1]


def test_resamples_of_a_metric_without_an_end_are_as_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    several, truth = noisy()
    scale = Metric(lambda found: float(100 * np.abs(found.labels.reward).mean()), 0.0, np.inf)
    monkeypatch.setitem(METRICS, "scale", scale)
    values, draws = bootstrapped(several, truth, 100, 0)
    sizes = [row["scale"] for row in values["fit"]]
    assert min(sizes) > 100
    assert draws["fit"]["scale"].median() == pytest.approx(np.median(sizes), rel=0.2)
    assert draws["fit"]["scale"].std() > 1
    assert draws["fit"]["accuracy"].between(0, 1).all()
