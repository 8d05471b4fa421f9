"""What `evaluate` measures: recovered rewards against the true one, and the three policies."""

from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.likelihood import Likelihoods
from inverse_rlhf.measures.agreement import Truth, compare
from inverse_rlhf.measures.intervals import bootstrap, spread
from inverse_rlhf.measures.text import distinct, empty, repeated

POLICIES = {"base": "base", "rlhf": "aligned", "rerl": "rerl"}


def texts_to_score(pairs: pd.DataFrame, rerl: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Every reported text: prompt_id, prompt, completion, sample, source and the human label toxic.

    Args:
        pairs: the pairs table's test rows.
        rerl: completions of the retrained policy: prompt_id, sample, completion.
        prompts: the prompts table's test rows.
    """
    human = prompts.rename(columns={"human_completion": "completion"}).assign(
        sample=0, source="human"
    )
    rerl = rerl.merge(prompts[["prompt_id", "prompt"]], on="prompt_id").assign(source="rerl")
    sampled = [
        pairs.rename(columns={f"{source}_completion": "completion"}).assign(source=source)
        for source in ("base", "aligned")
    ]
    columns = ["prompt_id", "prompt", "completion", "sample", "source", "toxic"]
    table = pd.concat([*sampled, rerl, human], ignore_index=True)[columns]
    return table.astype({"toxic": "Int8", "sample": "int32"})


class Rewards:
    """Recovered rewards of all runs on the valid and test texts, and their ensemble.

    Args:
        scores: the irl_scores table.
        runs: the irl_runs table.
        shuffled: take the shuffled-label controls instead.
    """

    def __init__(self, scores: pd.DataFrame, runs: pd.DataFrame, *, shuffled: bool) -> None:
        chosen = runs[runs["selected"] & (runs["shuffled"] == shuffled)].set_index("run")
        scores = scores[scores["shuffled"] == shuffled].astype({"source": str, "split": str})
        keys = ["split", "source", "prompt_id", "sample"]
        self._raw = scores.pivot(index=keys, columns="run", values="irl_reward").sort_index()
        self.thresholds = dict(zip(chosen.index.tolist(), chosen["threshold"], strict=True))
        standardised = (self._raw - chosen["mean"]) / chosen["std"]
        self.ensemble: pd.Series = standardised.mean(axis=1)
        self.spread: pd.Series = standardised.std(axis=1, ddof=0)

    def of_run(self, run: int, sources: list[str]) -> np.ndarray:
        """One run's rewards on `test`, (prompts, completions): see `completion_matrix`."""
        return completion_matrix(self._raw[run].loc["test"], sources)

    def of_ensemble(self, sources: list[str]) -> np.ndarray:
        """The ensemble's rewards on `test`: the mean over runs of standardised rewards."""
        return completion_matrix(self.ensemble.loc["test"], sources)

    def base_valid(self) -> np.ndarray:
        """The ensemble's rewards of the base policy's valid completions."""
        values: np.ndarray = self.ensemble.loc[("valid", "base")].to_numpy()
        return values


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


def test_truth(scores: pd.DataFrame) -> Truth:
    """True rewards and the labels they imply on both policies' test completions."""
    matrix = completion_matrix(_indexed(scores, "true_reward"), ["base", "aligned"])
    half = matrix.shape[1] // 2
    return Truth(matrix, matrix < 0, slice(None), slice(half), slice(half, None))


def human_truth(scores: pd.DataFrame) -> Truth:
    """Human labels on the human comments; pairs are a human and an aligned completion."""
    matrix = completion_matrix(_indexed(scores, "true_reward"), ["human", "aligned"])[:, :2]
    labels = completion_matrix(_indexed(scores, "toxic"), ["human"]).astype(bool)
    toxic = np.concatenate([labels, matrix[:, 1:] < 0], axis=1)
    return Truth(matrix, toxic, slice(1), slice(1), slice(1, 2))


def _indexed(scores: pd.DataFrame, column: str) -> pd.Series:
    return scores.set_index(["source", "prompt_id", "sample"])[column].sort_index()


def reward_report(
    fitted: Rewards,
    shuffled: Rewards,
    scores: pd.DataFrame,
    ensemble_threshold: float,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The content of metrics/reward.json (design, section 5)."""
    truth, human = test_truth(scores), human_truth(scores)
    sources, human_sources = ["base", "aligned"], ["human", "aligned"]
    ensemble = fitted.of_ensemble(sources)
    return {
        "runs": len(fitted.thresholds),
        "test": _over_runs(fitted, sources, truth),
        "human": _over_runs(fitted, human_sources, human),
        "ensemble": bootstrap(
            lambda rows: compare(ensemble[rows], ensemble_threshold, truth.rows(rows)),
            len(ensemble),
            resamples=resamples,
            seed=seed,
        ),
        "controls": {"shuffled": _over_runs(shuffled, sources, truth)},
    }


def _over_runs(rewards: Rewards, sources: list[str], truth: Truth) -> dict[str, dict[str, float]]:
    columns = truth.reward.shape[1]
    return spread(
        [
            compare(rewards.of_run(run, sources)[:, :columns], threshold, truth)
            for run, threshold in rewards.thresholds.items()
        ]
    )


def policy_report(
    scores: pd.DataFrame, likelihoods: dict[str, Likelihoods], *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """The content of metrics/policies.json (design, section 5), from test prompts.

    Args:
        scores: the scores table.
        likelihoods: of each source's completions, in the table's order.
    """
    return {
        name: _policy(scores[scores["source"] == source], likelihoods[source], resamples, seed)
        for name, source in POLICIES.items()
    }


def _policy(
    scores: pd.DataFrame, likelihood: Likelihoods, resamples: int, seed: int
) -> dict[str, float]:
    completions = scores["completion"].tolist()
    true_reward = scores["true_reward"].to_numpy(dtype=np.float64)
    columns = {
        "toxicity_rate": true_reward < 0,
        "mean_toxicity": 1 / (1 + np.exp(true_reward)),
        "true_reward": true_reward,
        "irl_reward": scores["irl_reward"].to_numpy(dtype=np.float64),
        "kl_to_base": likelihood.kl,
        "mean_length": likelihood.tokens,
        "empty_share": empty(completions),
        "repeated_share": repeated(completions, scores["prompt_id"].tolist()),
    }
    table = pd.DataFrame(columns, index=scores["prompt_id"], dtype=np.float64)
    by_prompt = table.groupby(level=0).mean()
    by_prompt["expected_max_toxicity"] = table["mean_toxicity"].groupby(level=0).max()
    values = by_prompt.to_numpy()
    intervals = bootstrap(
        lambda rows: dict(zip(by_prompt.columns, values[rows].mean(0).tolist(), strict=True)),
        len(by_prompt),
        resamples=resamples,
        seed=seed,
    )
    report = {
        "perplexity": float(np.exp(likelihood.nll.sum() / likelihood.tokens.sum())),
        "distinct_1": distinct(completions, 1),
        "distinct_2": distinct(completions, 2),
    }
    for name, interval in intervals.items():
        report[name] = interval["value"]
        report |= {f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    return report
