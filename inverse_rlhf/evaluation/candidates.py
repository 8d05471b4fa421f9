"""Rewards side by side: of all runs, of controls, of references that need no fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import starmap

import numpy as np
import pandas as pd
from scipy.special import expit

from inverse_rlhf.data.tables import KEYS, completions_of
from inverse_rlhf.features.words import words
from inverse_rlhf.measures.against_truth import METRICS, Truth, compare
from inverse_rlhf.measures.intervals import bootstrap_runs
from inverse_rlhf.rewards.thresholds import THRESHOLDS

BOTH = ["base", "aligned"]
"""The policies whose completions a reward is judged on."""


class Rewards:
    """Recovered rewards of all runs of one kind on texts not fitted on, and their ensemble.

    Args:
        scores: the irl_scores table.
        runs: the irl_runs table.
        kind: of the runs.
        threshold: name of the one that the runs are cut by.
    """

    def __init__(self, scores: pd.DataFrame, runs: pd.DataFrame, kind: str, threshold: str) -> None:
        chosen = runs[runs["selected"] & (runs["kind"] == kind)].set_index("run")
        scores = scores[scores["kind"] == kind].astype({"source": str, "split": str})
        self._raw = scores.pivot(index=KEYS, columns="run", values="irl_reward").sort_index()
        self.thresholds: dict[int, float] = dict(
            zip(chosen.index.tolist(), chosen[f"threshold_{threshold}"].tolist(), strict=True)
        )
        self.all_thresholds = chosen[
            [name for name in chosen if str(name).startswith("threshold_")]
        ]
        self._standardised = (self._raw - chosen["mean"]) / chosen["std"]
        self.ensemble: pd.Series = self._standardised.mean(axis=1)
        self.spread: pd.Series = self._standardised.std(axis=1, ddof=0)

    @property
    def numbers(self) -> list[int]:
        """Of the runs."""
        return list(self.thresholds)

    def of_run(self, run: int, sources: list[str]) -> np.ndarray:
        """One run's rewards on `test`, (prompts, completions): see `completion_matrix`."""
        return completion_matrix(self._raw[run].loc["test"], sources)

    def on_test(self) -> np.ndarray:
        """All runs' rewards of both policies' test completions, (runs, texts)."""
        values: np.ndarray = self._raw.loc["test"].loc[BOTH].to_numpy().T
        return values

    def test_margins(self) -> pd.DataFrame:
        """Standardised rewards of the aligned minus those of the base test completions.

        Returns:
            A row a pair, by prompt_id and sample; a column a run.
        """
        test = self._standardised.loc["test"]
        base, aligned = (pd.DataFrame(test.loc[source]) for source in BOTH)
        return aligned - base

    def test_preferences(self) -> np.ndarray:
        """Probabilities by Bradley-Terry that the aligned texts of test pairs are preferred.

        Returns:
            (pairs,), averaged over runs; of draws from a posterior, what it predicts.
        """
        test = self._raw.loc["test"]
        base, aligned = (pd.DataFrame(test.loc[source]) for source in BOTH)
        chances: np.ndarray = expit((aligned - base).to_numpy(np.float64)).mean(axis=1)
        return chances

    def spread_on_test(self) -> np.ndarray:
        """Standard deviation over runs of the standardised rewards, (texts,), as `on_test`."""
        values: np.ndarray = self.spread.loc["test"].loc[BOTH].to_numpy()
        return values


@dataclass(frozen=True)
class Candidate:
    """A reward of one run or more on both policies' test completions, beside others.

    Attributes:
        rewards: of each run, (prompts, completions).
        thresholds: of each run.
    """

    rewards: list[np.ndarray]
    thresholds: list[float]

    @classmethod
    def of_runs(
        cls,
        rewards: Rewards,
        sources: Sequence[str] = BOTH,
        *,
        to: int | None = None,
    ) -> "Candidate":
        """All runs of a kind, on the first `to` completions a prompt of the sources."""
        matrices = [rewards.of_run(run, list(sources))[:, :to] for run in rewards.numbers]
        return cls(matrices, list(rewards.thresholds.values()))

    @classmethod
    def of_series(cls, values: pd.Series, threshold: str) -> "Candidate":
        """One reward by split, source, prompt_id and sample, with the threshold of that name.

        Where the comments have no such reward, the base policy's texts stand for them.
        """
        known = {
            str(source): part.to_numpy(dtype=np.float64)
            for source, part in values.drop("test", level="split").groupby(level="source")
        }
        base, aligned = known["base"], known["aligned"]
        cut = THRESHOLDS[threshold](base, aligned, known.get("human", base))
        matrix = completion_matrix(values.loc["test"], BOTH)
        return cls([matrix], [cut])

    def compare(self, truth: Truth) -> list[dict[str, float]]:
        """The metrics of every run."""
        return [compare(r, t, truth) for r, t in zip(self.rewards, self.thresholds, strict=True)]

    def on_rows(self, truth: Truth) -> list[Callable[[np.ndarray], dict[str, float]]]:
        """The metrics of every run as functions of row numbers of prompts."""

        def of_run(reward: np.ndarray, threshold: float) -> Callable[..., dict[str, float]]:
            return lambda rows: compare(reward[rows], threshold, truth.rows(rows))

        return list(starmap(of_run, zip(self.rewards, self.thresholds, strict=True)))


def bootstrapped(
    candidates: dict[str, Candidate], truth: Truth, resamples: int, seed: int
) -> tuple[dict[str, list[dict[str, float]]], dict[str, pd.DataFrame]]:
    """Every candidate's metrics, of each run on all prompts and on resamples of the prompts."""
    values = {name: candidate.compare(truth) for name, candidate in candidates.items()}
    on_rows = {name: candidate.on_rows(truth) for name, candidate in candidates.items()}
    draws = bootstrap_runs(on_rows, values, len(truth.reward), resamples=resamples, seed=seed)
    # A median of drawn runs plus a change in another one may leave a metric's range.
    low, high = (
        pd.Series({name: getattr(metric, end) for name, metric in METRICS.items()})
        for end in ("low", "high")
    )
    return values, {name: rows.clip(low, high, axis=1) for name, rows in draws.items()}


def add_ensemble(scores: pd.DataFrame, rewards: Rewards) -> pd.DataFrame:
    """The scores with the ensemble's reward and its spread over runs (absent for rerl's texts)."""
    added = pd.DataFrame({"irl_ensemble": rewards.ensemble, "irl_std": rewards.spread})
    return scores.merge(
        added.loc["test"].astype("float32").reset_index(),
        on=["source", "prompt_id", "sample"],
        how="left",
        validate="one_to_one",
    )


def completion_matrix(values: pd.Series, sources: list[str]) -> np.ndarray:
    """Values by (source, prompt_id, sample) as (prompts, completions), source by source."""
    parts = [values.loc[source].unstack("sample").sort_index().to_numpy() for source in sources]
    return np.concatenate(parts, axis=1)


def single_rewards(pairs: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Rewards that need no fit, on the pairs' valid and test completions.

    Args:
        pairs: the pairs table.
        found: their `likelihood_table` under the aligned policy.

    Returns:
        By split, source, prompt_id and sample: length (words), base_loglik (nats, under the base
        policy), log_ratio (nats): log pi_aligned / pi_base, which is the reward of KL-regularised
        RL over its coefficient, up to an offset of the prompt (Rafailov et al. 2023, equation 5).
    """
    table = completions_of(pairs).astype({"split": str})
    completions = table.set_index(KEYS)["completion"].loc[found.index]
    return pd.DataFrame(
        {
            "length": [len(words(text)) for text in completions],
            "base_loglik": -found["nll"],
            "log_ratio": found["nll"] - found["own_nll"],
        },
        index=found.index,
        dtype=np.float64,
    )
