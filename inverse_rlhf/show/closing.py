"""The lines that a stage ends with: its figures, whether they are good and why, where to look next.

No stage depends on this module: nothing that is written follows from it.
"""

from typing import Any

import pandas as pd

from inverse_rlhf.evaluation.answer import answer

_LEFT_OUT = {
    "left_out_contradictory": "rows of texts with both labels",
    "left_out_repeated": "repeated texts",
    "left_out_damaged": "texts with NUL or half characters",
    "left_out_invisible": "texts in which nothing can be seen",
    "left_out_long": "prompts beyond the context",
    "left_out_transfer_invisible": "transfer prompts in which nothing can be seen",
    "left_out_transfer_repeated": "repeated transfer prompts",
    "left_out_transfer_long": "transfer prompts beyond the context",
}


def prepare_data(facts: dict[str, Any], prompts: pd.DataFrame) -> list[str]:
    """Of `prepare_data`."""
    sizes = prompts.groupby("split", observed=True).size().to_dict()
    if "toxic_share" in facts:
        held_out = prompts[prompts["split"] == "test"]["toxic"].mean()
        verdict = (
            "balanced" if 0.3 <= held_out <= 0.7 else "unbalanced: look at balanced_accuracy too"
        )
        labels = f"{facts['toxic_share']:.0%} of them toxic"
        behind = [f"comments behind test prompts: {held_out:.0%} toxic, {verdict}"]
    else:
        labels, behind = "without labels: what needs them is absent later", []
    left_out = [f"{facts[kind]} {what}" for kind, what in _LEFT_OUT.items() if facts.get(kind)]
    return [
        f"{facts['comments']} comments, {labels}",
        *([f"left out: {', '.join(left_out)}"] if left_out else []),
        "prompts by split: " + ", ".join(f"{name} {sizes[name]}" for name in sizes),
        *behind,
        "next: data/comments.parquet and data/prompts.parquet hold them",
    ]


def base_policy(facts: dict[str, Any]) -> list[str]:
    """Of `base_policy`."""
    lines = [f"{facts['parameters']:,} parameters"]
    if "valid_loss" in facts:
        lines += [
            f"held-out loss {facts['valid_loss']:.3f} nats a token after {facts['steps']} steps "
            f"({facts['seconds']:.0f} s); compare it with other base_policy.scratch settings only",
        ]
    else:
        lines += ["taken as it is: nothing was trained"]
    return [*lines, "next: models/base; what it writes stands in data/pairs.parquet later"]


def true_reward(facts: dict[str, Any]) -> list[str]:
    """Of `true_reward`."""
    lines = [f"{facts['parameters']:,} parameters"]
    if "head" in facts:
        lines.append(f"it reads {facts['head']}")
    if "roc_auc" in facts:
        lines.append(
            f"held-out comments: accuracy {facts['accuracy']:.3f}, ROC-AUC {facts['roc_auc']:.3f}"
        )
    else:
        lines.append("unchecked: the held-out comments have not both labels")
    if "tfidf_accuracy" in facts:
        gain = facts["accuracy"] - facts["tfidf_accuracy"]
        verdict = "good: it reads more than words"
        if gain <= 0.01:
            verdict = f"weak: words alone tell {'more' if gain < -0.01 else 'about as much'}"
        words = f"a tf-idf logistic regression has accuracy {facts['tfidf_accuracy']:.3f}"
        lines.append(f"{words}; {verdict}")
    return [*lines, "next: metrics/true_reward.json"]


def policy_training(name: str, facts: dict[str, Any], curve: pd.DataFrame) -> list[str]:
    """Of `rlhf_train` and `rerl_with_irl_rm`.

    Args:
        name: of the policy, as its files have it.
        curve: the training curve.
    """
    tenth = max(1, len(curve) // 10)
    start, end = curve["reward"][:tenth].mean(), curve["reward"][-tenth:].mean()
    kl = f"{facts['final_kl']:.2f} nats" if "final_kl" in facts else "not measured (kl_coef 0)"
    verdict = (
        "good: it rose"
        if end - start > 0.25
        else "weak: it hardly rose; raise rlhf.steps or rlhf.lr, or lower rlhf.kl_coef"
    )
    if len(curve) < 10:
        verdict = "too few steps to judge by"
    return [
        f"reward {start:+.2f} -> {end:+.2f} standard deviations in {facts['steps']} steps "
        f"({facts['seconds']:.0f} s); {verdict}",
        f"KL to the base policy at the end: {kl}, of sampled tokens; evaluate measures it anew",
        f"completions of {facts['final_length']:.1f} tokens at the end",
        f"next: metrics/curves/{name}.csv, or dvc plots show",
    ]


def generate_pairs(pairs: pd.DataFrame, seconds: float) -> list[str]:
    """Of `generate_pairs`."""
    base, aligned = pairs["base_completion"], pairs["aligned_completion"]
    same = float((base == aligned).mean())
    words = [side.map(lambda text: len(text.split())).mean() for side in (base, aligned)]
    verdict = (
        "what tells them apart, maxmargin_irl says"
        if same < 0.5
        else "weak: there is little to recover a reward from"
    )
    return [
        f"{len(pairs)} pairs of {pairs['prompt_id'].nunique()} prompts in {seconds:.0f} s",
        f"both policies wrote the same in {same:.1%} of them; {verdict}",
        f"words of a completion: base {words[0]:.1f}, aligned {words[1]:.1f}",
        "next: data/pairs.parquet",
    ]


def maxmargin_irl(facts: dict[str, Any]) -> list[str]:
    """Of `maxmargin_irl`."""
    found = facts["valid_discrimination"]
    fit, shuffled = found["fit"], found.get("shuffled")
    lines = [
        f"{facts['runs']} runs in {facts['seconds']:.0f} s; exported: "
        + (facts["reward"] if facts["reward"] == "ensemble" else f"run {facts['reward']}"),
        f"tells {fit['median']:.1%} of valid pairs apart ({fit['min']:.1%} to {fit['max']:.1%})",
    ]
    if shuffled is not None:
        above = fit["median"] > shuffled["max"]
        verdict = (
            "good: above them"
            if above
            else "weak: not above them; get more pairs (data.splits.irl)"
        )
        lines += [f"shuffled sides reach {shuffled['max']:.1%} at most; {verdict}"]
    return [*lines, "next: metrics/maxmargin_irl.json, data/irl_runs.parquet"]


def evaluate(summary: dict[str, float], rewards: dict[str, Any]) -> list[str]:
    """Of `evaluate`."""
    auc = rewards["test"].get("roc_auc")
    if auc is None:
        lines = ["recovered reward: no ROC-AUC, test completions all have the same label by R*"]
    else:
        # All but the shuffled fits have no sign of their own: they may rank the other way round.
        reached = {
            name: row["high"] if name == "shuffled" else max(row["high"], 1 - row["low"])
            for name, table in rewards["controls"].items()
            if (row := table.get("roc_auc"))
        }
        best = max(reached, key=lambda name: reached[name])
        verdict = (
            "good: above every control's interval"
            if auc["low"] > reached[best]
            else f"weak: within what the control {best} reaches; see paired in metrics/reward.json"
        )
        lines = [
            f"recovered reward: ROC-AUC {auc['median']:.3f} (95 % {auc['low']:.3f} to "
            f"{auc['high']:.3f}), accuracy {summary['accuracy']:.3f}; {verdict}"
        ]
    within = [
        rewards["test"].get(f"spearman_{kind}", {}).get("median") for kind in ("toxic", "non_toxic")
    ]
    if None not in within and "spearman" in summary:
        lines += [
            f"rank correlation with the true reward {summary['spearman']:.2f}, within texts it "
            f"calls toxic {within[0]:.2f}, within the others {within[1]:.2f}"
        ]
    if "run_kappa" in summary:
        kappa = summary["run_kappa"]
        verdict = "good" if kappa > 0.8 else "weak: the pairs leave the reward open"
        lines += [f"runs agree on labels with kappa {kappa:.2f}, which needs no R*; {verdict}"]
    lines += [
        "toxicity: "
        + " -> ".join(
            f"{name} {summary[f'toxicity_{key}']:.3f}"
            for name, key in (("base", "base"), ("aligned", "rlhf"), ("rerl", "rerl"))
        )
    ]
    return [
        *lines,
        "next: metrics/summary.json and metrics/reward.json; the stage report shows them",
    ]


def report(rewards: dict[str, Any], low: str) -> list[str]:
    """Of `report`.

    Args:
        rewards: the content of metrics/reward.json.
        low: what a text of low true reward is called.
    """
    found = answer(rewards, low=low)
    verdict = "" if found.verdict == "nothing" else f"{found.verdict}: "  # it begins with the word
    return [f"{verdict}{found.sentence}", *found.why, "next: open metrics/report.html"]
