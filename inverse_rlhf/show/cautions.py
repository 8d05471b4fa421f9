"""What to be careful about in the results of the closed loop, in plain words."""

from typing import Any

import pandas as pd

from inverse_rlhf.data.tables import both_policies
from inverse_rlhf.evaluation.answer import AGREED, STRONG, figure_of

FEW_PAIRS, FEW_PROMPTS = 500, 100
"""Fewer fitted pairs leave most rewards open; fewer test prompts make intervals wide."""
SAME = 0.2
"""Share of test pairs in which both policies wrote the same."""
GAP = 0.02
"""Accuracy that a cut loses against the best one."""


def cautions(
    asked: dict[str, Any],
    rewards: dict[str, Any],
    policies: dict[str, dict[str, Any]],
    explanation: dict[str, Any],
    scores: pd.DataFrame,
    margins: pd.DataFrame,
    pairs: int | None,
) -> list[str]:
    """A sentence for each thing that makes the results say less than they seem to.

    Args:
        asked: all params, as plain values.
        rewards, policies, explanation: the content of metrics/reward.json, metrics/policies.json
            and metrics/explanation.json.
        scores, margins: their tables.
        pairs: how many the reward was fitted on; None: not known.
    """
    return [
        *_data(asked),
        *_sizes(pairs, margins),
        *_pairs(margins),
        *_labels(asked, rewards, scores),
        *_runs(rewards),
        *_within(rewards),
        *_controls(rewards),
        *_policies(policies),
        *_words(explanation),
    ]


def _data(asked: dict[str, Any]) -> list[str]:
    if asked["data"]["source"] != "embedded":
        return []
    return [
        "The comments are made by a grammar, not written by people: figures say how the method "
        "does where the truth is known, and little of natural text."
    ]


def _sizes(pairs: int | None, margins: pd.DataFrame) -> list[str]:
    found = []
    if pairs is not None and pairs < FEW_PAIRS:
        found.append(
            f"The reward is fitted on {pairs} pairs only: many different rewards explain so few."
        )
    if (prompts := margins["prompt_id"].nunique()) < FEW_PROMPTS:
        found.append(f"There are {prompts} test prompts only: intervals are wide.")
    return found


def _pairs(margins: pd.DataFrame) -> list[str]:
    same = float((margins["base_completion"] == margins["aligned_completion"]).mean())
    if same < SAME:
        return []
    return [
        f"In {same:.0%} of test pairs both policies wrote the same: these pairs say nothing, and "
        "no reward tells them apart."
    ]


def _labels(asked: dict[str, Any], rewards: dict[str, Any], scores: pd.DataFrame) -> list[str]:
    found = []
    test = both_policies(scores)
    low = float((test["true_reward"] < rewards["true_threshold"]).mean())
    if low in (0.0, 1.0):
        found.append(
            "By the true reward all test completions have one label: there is no ROC-AUC, and the "
            "accuracy says little."
        )
    elif not 0.2 <= low <= 0.8:
        found.append(
            f"By the true reward {low:.0%} of test completions have the low label: a guess would "
            f"be right in {max(low, 1 - low):.0%}, so look at balanced accuracy too."
        )
    name, human = asked["evaluate"]["threshold"], scores[scores["source"] == "human"]
    share = float((human["true_reward"] < rewards["true_threshold"]).mean())
    if name == "human_median" and abs(share - 0.5) > 0.1:
        found.append(
            "The threshold human_median takes half of the comments for low; by the true reward "
            f"{share:.0%} are: labels are off by as much."
        )
    gap = rewards["thresholds"].get(name, {}).get("gap", 0.0)
    if gap > GAP:
        found.append(
            f"The threshold {name}, which is found without the true reward, loses {gap:.1%} of "
            "accuracy against the best cut; the ROC-AUC does not depend on it."
        )
    if human["toxic"].isna().all():
        found.append("The comments have no labels: nothing is compared with people's judgement.")
    return found


def _runs(rewards: dict[str, Any]) -> list[str]:
    agreement = rewards["agreement"]
    if rewards["runs"] == 1:
        return ["There is one run: whether another one would find the same is not known."]
    found = []
    kappa = agreement.get("label_kappa")
    if kappa is not None and kappa <= AGREED:
        found.append(
            f"Runs agree on labels with kappa {kappa:.2f} only: the pairs leave the reward open."
        )
    lowest = agreement.get("spearman", {}).get("min")
    if lowest is not None and lowest < 0.5:
        found.append(
            f"Two runs rank test completions with a correlation of {lowest:.2f} only: runs may "
            "have diverged, or found different rewards."
        )
    return found


def _within(rewards: dict[str, Any]) -> list[str]:
    rows = {
        kind: figure_of(rewards["test"], f"spearman_{key}")
        for key, kind in (("toxic", "low"), ("non_toxic", "high"))
    }
    weak = [f"{row['value']:.2f} of {kind} ones" for kind, row in rows.items() if row]
    if not _tells(rewards) or not any(row and row["value"] < 0.3 for row in rows.values()):
        return []
    return [
        "It tells texts of low from texts of high true reward better than texts of one kind from "
        f"each other: within the kinds, rank correlations are {' and '.join(weak)}."
    ]


def _controls(rewards: dict[str, Any]) -> list[str]:
    figure = figure_of(rewards["test"], "roc_auc")
    best = rewards["controls"].get("random_head", {}).get("roc_auc", {}).get("max")
    if figure is None or best is None or best < max(STRONG["roc_auc"], figure["value"] - 0.05):
        return []
    pairs = "the pairs say which way it goes" if _tells(rewards) else "the pairs did not lead to it"
    return [
        f"The luckiest random weights on the same features reach a ROC-AUC of {best:.3f}: the "
        f"features hold the answer nearly ready, and {pairs}."
    ]


def _tells(rewards: dict[str, Any]) -> bool:
    """Whether the recovered reward tells low from high true rewards, surely better than a guess."""
    figure = figure_of(rewards["test"], "roc_auc")
    return figure is not None and figure["low"] > 0.5


def _policies(policies: dict[str, dict[str, Any]]) -> list[str]:
    found = []
    base, aligned, rerl = (policies[name] for name in ("base", "rlhf", "rerl"))
    if aligned["true_reward_low"] <= base["true_reward_high"]:
        found.append(
            "The aligned policy's true reward is not clearly above the base policy's: alignment "
            "did little, and little can be recovered."
        )
    if rerl["true_reward_high"] < aligned["true_reward_low"]:
        found.append(
            "The policy trained on the recovered reward has a lower true reward than the aligned "
            "one: what it was trained on is not all of the true reward."
        )
    for name, policy in (("aligned", aligned), ("retrained", rerl)):
        if policy["empty_share"] > 0.05:
            found.append(f"{policy['empty_share']:.0%} of the {name} policy's texts are empty.")
        if policy["repeated_share"] > 0.2:
            found.append(
                f"{policy['repeated_share']:.0%} of the {name} policy's texts loop, or are another "
                "prompt's."
            )
    return found


def _words(explanation: dict[str, Any]) -> list[str]:
    share = explanation["surrogate_r2"]
    if share >= 0.5:
        return []
    return [
        f"A sum of words and pairs of words explains {max(share, 0):.0%} of the recovered reward: "
        "read the n-grams as hints."
    ]
