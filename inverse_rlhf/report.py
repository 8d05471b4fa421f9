"""What `evaluate` measures: recovered rewards against the true one, and the three policies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import starmap
from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.irl.thresholds import THRESHOLDS, otsu
from inverse_rlhf.likelihood import KEYS
from inverse_rlhf.measures.agreement import (
    METRICS,
    Truth,
    best_accuracy,
    compare,
    label_agreement,
)
from inverse_rlhf.measures.intervals import (
    bootstrap,
    bootstrap_runs,
    paired_difference,
    paired_runs,
    spread,
    with_intervals,
)
from inverse_rlhf.measures.runs import agreement_report
from inverse_rlhf.measures.text import distinct, empty, repeated, words
from inverse_rlhf.params import Weights
from inverse_rlhf.rewards import IrlReward
from inverse_rlhf.tables import completions_of

POLICIES = {"base": "base", "rlhf": "aligned", "rerl": "rerl"}
_SIGNED = ("pearson", "spearman", "kendall")  # from -1 to 1; the other metrics from 0 to 1
_CONTROLS = ("shuffled", "random_head", "length", "base_loglik")


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
    columns = ["prompt_id", "prompt", "completion", "sample", "source", "toxic"]
    table = pd.concat([completions_of(pairs), rerl, human], ignore_index=True)[columns]
    return table.astype({"toxic": "Int8", "sample": "int32"})


class Rewards:
    """Recovered rewards of all runs of one kind on texts not fitted on, and their ensemble.

    Args:
        scores: the irl_scores table.
        runs: the irl_runs table.
        kind: of the runs.
    """

    def __init__(self, scores: pd.DataFrame, runs: pd.DataFrame, kind: str) -> None:
        chosen = runs[runs["selected"] & (runs["kind"] == kind)].set_index("run")
        scores = scores[scores["kind"] == kind].astype({"source": str, "split": str})
        self._raw = scores.pivot(index=KEYS, columns="run", values="irl_reward").sort_index()
        self.thresholds: dict[int, float] = dict(
            zip(chosen.index.tolist(), chosen["threshold"].tolist(), strict=True)
        )
        self.all_thresholds = chosen[
            [name for name in chosen if str(name).startswith("threshold_")]
        ]
        standardised = (self._raw - chosen["mean"]) / chosen["std"]
        self.ensemble: pd.Series = standardised.mean(axis=1)
        self.spread: pd.Series = standardised.std(axis=1, ddof=0)

    @property
    def numbers(self) -> list[int]:
        """Of the runs."""
        return list(self.thresholds)

    def of_run(self, run: int, sources: list[str]) -> np.ndarray:
        """One run's rewards on `test`, (prompts, completions): see `completion_matrix`."""
        return completion_matrix(self._raw[run].loc["test"], sources)

    def on_test(self) -> np.ndarray:
        """All runs' rewards of both policies' test completions, (runs, texts)."""
        values: np.ndarray = self._raw.loc["test"].loc[["base", "aligned"]].to_numpy().T
        return values

    def spread_on_test(self) -> np.ndarray:
        """Standard deviation over runs of the standardised rewards, (texts,), as `on_test`."""
        values: np.ndarray = self.spread.loc["test"].loc[["base", "aligned"]].to_numpy()
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
        sources: Sequence[str] = ("base", "aligned"),
        *,
        to: int | None = None,
    ) -> "Candidate":
        """All runs of a kind, on the first `to` completions a prompt of the sources."""
        matrices = [rewards.of_run(run, list(sources))[:, :to] for run in rewards.numbers]
        return cls(matrices, list(rewards.thresholds.values()))

    @classmethod
    def of_series(cls, values: pd.Series, threshold: str) -> "Candidate":
        """One reward by split, source, prompt_id and sample, with the threshold of that name.

        Where human comments have no such reward, the base policy's texts stand for them.
        """
        known = {
            str(source): part.to_numpy(dtype=np.float64)
            for source, part in values.drop("test", level="split").groupby(level="source")
        }
        base, aligned = known["base"], known["aligned"]
        cut = THRESHOLDS[threshold](base, aligned, known.get("human", base))
        matrix = completion_matrix(values.loc["test"], ["base", "aligned"])
        return cls([matrix], [cut])

    def compare(self, truth: Truth) -> list[dict[str, float]]:
        """The metrics of every run."""
        return [compare(r, t, truth) for r, t in zip(self.rewards, self.thresholds, strict=True)]


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


def true_cut(scores: pd.DataFrame, weights: Weights) -> float:
    """The true reward below which a text is labelled toxic (with other parts: of low reward).

    0, where p(toxic) is a half, when toxicity alone is rewarded; Otsu's cut of the base policy's
    completions when other parts count, which have no natural zero.
    """
    if not any(value for name, value in weights.model_dump().items() if name != "toxicity"):
        return 0.0
    base = scores.loc[scores["source"] == "base", "true_reward"].to_numpy(dtype=np.float64)
    return otsu(base)


def test_truth(scores: pd.DataFrame, cut: float) -> Truth:
    """True rewards and the labels they imply on both policies' test completions."""
    matrix = completion_matrix(_indexed(scores, "true_reward"), ["base", "aligned"])
    half = matrix.shape[1] // 2
    return Truth(matrix, matrix < cut, slice(None), slice(half), slice(half, None))


def human_truth(scores: pd.DataFrame, cut: float) -> Truth:
    """Human labels on the human comments; pairs are a human and an aligned completion."""
    matrix = completion_matrix(_indexed(scores, "true_reward"), ["human", "aligned"])[:, :2]
    labels = completion_matrix(_indexed(scores, "toxic"), ["human"]).astype(bool)
    toxic = np.concatenate([labels, matrix[:, 1:] < cut], axis=1)
    return Truth(matrix, toxic, slice(1), slice(1), slice(1, 2))


def _indexed(scores: pd.DataFrame, column: str) -> pd.Series:
    return scores.set_index(["source", "prompt_id", "sample"])[column].sort_index()


def reward_report(
    scores: pd.DataFrame,
    by_kind: dict[str, Rewards],
    single: pd.DataFrame,
    cut: float,
    *,
    threshold: str,
    human_labels: bool,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The content of metrics/reward.json (design, section 5).

    Args:
        scores: the scores table.
        by_kind: the runs of every kind.
        single: rewards without runs, indexed by split, source, prompt_id and sample: columns
            length, base_loglik and log_ratio.
        cut: of the true reward, see `true_cut`.
        threshold: name of the one that the runs are cut by.
        human_labels: compare with the labels of human comments too: they say what the true reward
            says only where toxicity is part of it.
    """
    truth, fitted = test_truth(scores, cut), by_kind["fit"]
    candidates = {kind: Candidate.of_runs(rewards) for kind, rewards in by_kind.items()}
    alone = {"ensemble": fitted.ensemble, **single}
    candidates |= {
        str(name): Candidate.of_series(values, threshold) for name, values in alone.items()
    }
    values, draws = _bootstrapped(candidates, truth, resamples, seed)
    tables = {
        name: _of_runs(values[name], draws[name])
        if name in by_kind
        else with_intervals(values[name][0], draws[name])
        for name in candidates
    }
    controls = [name for name in _CONTROLS if name in tables]
    report = {
        "runs": len(fitted.numbers),
        "true_threshold": cut,
        "test": tables["fit"],
        "ensemble": tables["ensemble"],
        "controls": {name: tables[name] for name in controls},
        "reference": {"log_ratio": tables["log_ratio"]},
        "paired": {
            name: paired_difference(draws["fit"], draws[name]) for name in [*controls, "log_ratio"]
        },
        "agreement": _agreement(fitted),
        "thresholds": _thresholds(fitted, candidates["fit"], truth),
    }
    if human_labels:
        comments = {"fit": Candidate.of_runs(fitted, ("human", "aligned"), to=2)}
        on_comments, drawn = _bootstrapped(comments, human_truth(scores, cut), resamples, seed)
        report["human"] = _of_runs(on_comments["fit"], drawn["fit"])
    if "plain" in values:
        report["plain"] = tables["plain"]
        report["failure_aware"] = paired_runs(values["fit"], values["plain"], seed=seed)
    return report


def _bootstrapped(
    candidates: dict[str, Candidate], truth: Truth, resamples: int, seed: int
) -> tuple[dict[str, list[dict[str, float]]], dict[str, pd.DataFrame]]:
    """Every candidate's metrics, of each run on all prompts and on resamples of the prompts."""
    values = {name: candidate.compare(truth) for name, candidate in candidates.items()}
    on_rows = {name: _on_rows(candidate, truth) for name, candidate in candidates.items()}
    draws = bootstrap_runs(on_rows, values, len(truth.reward), resamples=resamples, seed=seed)
    # A median of drawn runs plus a change in another one may leave a metric's range.
    lowest = pd.Series({name: -1.0 if name in _SIGNED else 0.0 for name in METRICS})
    return values, {name: rows.clip(lowest, 1.0, axis=1) for name, rows in draws.items()}


def _on_rows(candidate: Candidate, truth: Truth) -> list[Callable[[np.ndarray], dict[str, float]]]:
    def on_rows(reward: np.ndarray, threshold: float) -> Callable[..., dict[str, float]]:
        return lambda rows: compare(reward[rows], threshold, truth.rows(rows))

    return list(starmap(on_rows, zip(candidate.rewards, candidate.thresholds, strict=True)))


def _of_runs(values: list[dict[str, float]], draws: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Spread over the runs, and the interval of their median."""
    table = spread(values)
    intervals = with_intervals({name: table[name]["median"] for name in table}, draws)
    for name, row in table.items():
        row |= {key: intervals[name][key] for key in ("low", "high") if name in intervals}
    return table


def _agreement(fitted: Rewards) -> dict[str, Any]:
    rewards = fitted.on_test()
    cuts = np.array(list(fitted.thresholds.values()))
    return agreement_report(rewards, rewards < cuts[:, None], fitted.spread_on_test())


def _thresholds(fitted: Rewards, candidate: Candidate, truth: Truth) -> dict[str, dict[str, float]]:
    """Medians over runs of what each threshold gives, and of the best cut that there is.

    gap: how much accuracy the threshold loses against the best cut, which needs the true reward.
    """
    best = [best_accuracy(reward, truth.toxic) for reward in candidate.rewards]
    report = {"best": {"accuracy": float(np.median(best))}}
    for name, cuts in fitted.all_thresholds.items():
        found = pd.DataFrame(
            [
                label_agreement(reward.ravel(), truth.toxic.ravel(), threshold=cut)
                for reward, cut in zip(candidate.rewards, cuts, strict=True)
            ]
        )
        medians = found[["accuracy", "balanced_accuracy", "f1"]].median().dropna()
        gap = float(np.median(np.array(best) - found["accuracy"]))
        report[str(name).removeprefix("threshold_")] = {
            "gap": gap,
            **{str(key): float(value) for key, value in medians.items()},
        }
    return report


def single_rewards(pairs: pd.DataFrame, likelihoods: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Rewards that need no fit, on the pairs' valid and test completions.

    Returns:
        By split, source, prompt_id and sample: length (words), base_loglik (nats, under the base
        policy), log_ratio (nats): log pi_aligned / pi_base, which is the reward of KL-regularised
        RL over its coefficient, up to an offset of the prompt (Rafailov et al. 2023, equation 5).
    """
    found = likelihoods["rlhf"]
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


def weight_report(reward: IrlReward, weights: Weights) -> dict[str, Any]:
    """Planted and recovered weights side by side, where both rewards are sums of the same parts.

    ratio: each weight over the size of the first planted part's, absent where that is 0; pairs do
    not tell the scale of a reward, but its sign.
    """
    planted = {name: value for name, value in weights.model_dump().items() if value}
    named = reward.text.part_weights() if reward.text is not None else {}
    if not planted or not set(planted) <= set(named):
        return {}
    recovered = {name: named[name] for name in planted}
    first = next(iter(planted))

    def beside_first(values: dict[str, float]) -> dict[str, dict[str, float]]:
        if not values[first]:
            return {"weight": values}
        ratio = {name: value / abs(values[first]) for name, value in values.items()}
        return {"weight": values, "ratio": ratio}

    return {"weights": {"planted": beside_first(planted), "recovered": beside_first(recovered)}}


def policy_report(
    scores: pd.DataFrame, likelihoods: dict[str, pd.DataFrame], *, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """The content of metrics/policies.json (design, section 5), from test prompts.

    Args:
        scores: the scores table.
        likelihoods: `likelihood_table` of the pairs' completions under rlhf and of rerl's.
    """
    base = likelihoods["rlhf"].assign(kl=0.0)  # of the base policy to itself
    tables = {"base": base, "rlhf": likelihoods["rlhf"], "rerl": likelihoods["rerl"]}
    report = {}
    for name, source in POLICIES.items():
        rows = scores[scores["source"] == source].sort_values(["prompt_id", "sample"])
        table = tables[name].query("split == 'test' and source == @source")
        report[name] = _policy(rows, table, resamples, seed)
    return report


def toxicity_report(
    prompt_ids: pd.Series, toxicity: np.ndarray, *, resamples: int, seed: int
) -> dict[str, float]:
    """Toxicity rate, mean and expected maximum over samples, each with _low and _high.

    Args:
        prompt_ids: of each completion.
        toxicity: p(toxic) of each completion.
    """
    values = toxicity.astype(np.float64)
    table = pd.DataFrame({"toxicity_rate": values > 0.5, "mean_toxicity": values}, dtype=np.float64)
    by_prompt = table.groupby(prompt_ids.to_numpy()).mean()
    maximum = table["mean_toxicity"].groupby(prompt_ids.to_numpy()).max()
    return _prompt_means(by_prompt.assign(expected_max_toxicity=maximum), resamples, seed)


def _prompt_means(by_prompt: pd.DataFrame, resamples: int, seed: int) -> dict[str, float]:
    """Means over prompts, each with the ends of its interval."""
    values = by_prompt.to_numpy()
    intervals = bootstrap(
        lambda rows: dict(zip(by_prompt.columns, values[rows].mean(0).tolist(), strict=True)),
        len(by_prompt),
        resamples=resamples,
        seed=seed,
    )
    report = {}
    for name, interval in intervals.items():
        report[name] = interval["value"]
        report |= {f"{name}_low": interval["low"], f"{name}_high": interval["high"]}
    return report


def _policy(
    scores: pd.DataFrame, likelihood: pd.DataFrame, resamples: int, seed: int
) -> dict[str, float]:
    completions = scores["completion"].tolist()
    columns = {
        "true_reward": scores["true_reward"].to_numpy(dtype=np.float64),
        "irl_reward": scores["irl_reward"].to_numpy(dtype=np.float64),
        "kl_to_base": likelihood["kl"].to_numpy(),
        "mean_length": likelihood["tokens"].to_numpy(),
        "empty_share": empty(completions),
        "repeated_share": repeated(completions, scores["prompt_id"].tolist()),
    }
    table = pd.DataFrame(columns, index=scores["prompt_id"], dtype=np.float64)
    report = {
        "perplexity": float(np.exp(likelihood["nll"].sum() / likelihood["positions"].sum())),
        "distinct_1": distinct(completions, 1),
        "distinct_2": distinct(completions, 2),
    }
    settings = {"resamples": resamples, "seed": seed}
    toxicity = toxicity_report(scores["prompt_id"], scores["toxicity"].to_numpy(), **settings)
    return report | toxicity | _prompt_means(table.groupby(level=0).mean(), resamples, seed)
