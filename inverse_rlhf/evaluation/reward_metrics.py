"""Recovered rewards against the true one: the content of metrics/reward.json."""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Integer

from inverse_rlhf.evaluation.candidates import (
    BOTH,
    Candidate,
    Rewards,
    bootstrapped,
    completion_matrix,
)
from inverse_rlhf.measures.against_truth import METRICS, Truth
from inverse_rlhf.measures.between_runs import agreement_report
from inverse_rlhf.measures.intervals import paired_difference, paired_runs, spread, with_intervals
from inverse_rlhf.measures.labels import best_accuracy, label_agreement
from inverse_rlhf.rewards.recovered import IrlReward
from inverse_rlhf.rewards.thresholds import otsu

CONTROLS = ("shuffled", "random_head", "length", "base_loglik")


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
        human_labels: compare comments with their own labels too, and not only with the true
            reward's: they say the same only where toxicity is part of it.
    """
    truth, fitted = test_truth(scores, cut), by_kind["fit"]
    candidates = {kind: Candidate.of_runs(rewards) for kind, rewards in by_kind.items()}
    alone = {"ensemble": fitted.ensemble, **single}
    candidates |= {
        str(name): Candidate.of_series(values, threshold) for name, values in alone.items()
    }
    values, draws = bootstrapped(candidates, truth, resamples, seed)
    shares = _shares(truth)
    tables = {
        name: _of_runs(values[name], draws[name], shares)
        if name in by_kind
        else with_intervals(values[name][0], draws[name], shares)
        for name in candidates
    }
    controls = [name for name in CONTROLS if name in tables]
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
    comments = Candidate.of_runs(fitted, ("human", "aligned"), to=2)
    by = {"human_true_reward": False} | ({"human": True} if human_labels else {})
    for name, labels in by.items():
        truth, rows = human_truth(scores, cut, human_labels=labels)
        if len(rows):
            of_rows = Candidate([reward[rows] for reward in comments.rewards], comments.thresholds)
            on_comments, drawn = bootstrapped({"fit": of_rows}, truth, resamples, seed)
            report[name] = _of_runs(on_comments["fit"], drawn["fit"], _shares(truth))
    if "plain" in values:
        report["plain"] = tables["plain"]
        report["failure_aware"] = paired_runs(values["fit"], values["plain"], seed=seed)
    return report


def true_cut(scores: pd.DataFrame, planted: dict[str, float]) -> float:
    """The true reward below which a text is labelled toxic (with other parts: of low reward).

    0, where p(toxic) is a half, when toxicity alone is rewarded; Otsu's cut of the base policy's
    completions when other parts count, which have no natural zero.
    """
    if set(planted) <= {"toxicity"}:
        return 0.0
    base = scores.loc[scores["source"] == "base", "true_reward"].to_numpy(dtype=np.float64)
    return otsu(base)


def test_truth(scores: pd.DataFrame, cut: float) -> Truth:
    """True rewards and the labels they imply on both policies' test completions."""
    matrix = completion_matrix(_indexed(scores, "true_reward"), BOTH)
    half = matrix.shape[1] // 2
    return Truth(matrix, matrix < cut, slice(None), slice(half), slice(half, None))


def human_truth(
    scores: pd.DataFrame, cut: float, *, human_labels: bool
) -> tuple[Truth, Integer[np.ndarray, " labelled"]]:
    """Labels of the comments, their own or the true reward's; pairs are a comment's and an aligned
    completion.

    Returns:
        The truth of the prompts whose comments have such a label, and their rows among all.
    """
    matrix = completion_matrix(_indexed(scores, "true_reward"), ["human", "aligned"])[:, :2]
    toxic, rows = matrix < cut, np.arange(len(matrix))
    if human_labels:
        own = completion_matrix(_indexed(scores, "toxic"), ["human"])[:, 0]
        rows = np.flatnonzero(~pd.isna(own))
        toxic[rows, 0] = own[rows] == 1
    return Truth(matrix, toxic, slice(1), slice(1), slice(1, 2)).rows(rows), rows


def weight_report(reward: IrlReward, planted: dict[str, float]) -> dict[str, Any]:
    """Planted and recovered weights side by side, where both rewards are sums of the same parts.

    ratio: each weight over the size of the first planted part's, absent where that is 0; pairs do
    not tell the scale of a reward, but its sign.
    """
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


def _indexed(scores: pd.DataFrame, column: str) -> pd.Series:
    return scores.set_index(["source", "prompt_id", "sample"])[column].sort_index()


def _shares(truth: Truth) -> dict[str, int]:
    """Of each metric that is a share the number of prompts that it is of."""
    return {name: metric.prompts(truth) for name, metric in METRICS.items() if metric.prompts}


def _of_runs(
    values: list[dict[str, float]], draws: pd.DataFrame, shares: dict[str, int]
) -> dict[str, dict[str, float]]:
    """Spread over the runs, and the interval of their median."""
    table = spread(values)
    intervals = with_intervals({name: table[name]["median"] for name in table}, draws, shares)
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
