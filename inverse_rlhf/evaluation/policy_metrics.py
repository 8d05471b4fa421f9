"""The policies beside each other: base, aligned (rlhf in the metrics) and rerl."""

from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.evaluation.scoring import PolicyReadings, Scored
from inverse_rlhf.measures.intervals import bootstrap
from inverse_rlhf.measures.text import distinct, empty, repeated

POLICIES = {"base": "base", "rlhf": "aligned", "rerl": "rerl"}
"""Published keys of metrics/policies.json, and the source of each policy's completions."""
_SHARES = ("toxicity_rate", "empty_share", "repeated_share")


def policy_report(
    scored: Scored, read: PolicyReadings, *, resamples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """The content of metrics/policies.json (design, section 5), from test prompts; toxicity on
    prompts of another domain is under `transfer`.
    """
    scores, likelihoods = scored.scores, read.likelihoods
    settings = {"resamples": resamples, "seed": seed}
    base = likelihoods["aligned"].assign(kl=0.0)  # of the base policy to itself
    tables = likelihoods | {"base": base}
    report: dict[str, dict[str, Any]] = {}
    for name, source in POLICIES.items():
        rows = scores[scores["source"] == source].sort_values(["prompt_id", "sample"])
        table = tables[source].query("split == 'test' and source == @source")
        report[name] = _policy(rows, table, resamples, seed)
        if source in scored.transfer:
            prompt_ids, toxicity = read.transfer[source]["prompt_id"], scored.transfer[source]
            report[name]["transfer"] = toxicity_report(prompt_ids, toxicity, **settings)
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
        shares=_SHARES,
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
