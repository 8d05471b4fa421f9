"""The report of an audit as Markdown: the verdict, the table, examples, what was not found."""

from typing import Any

import pandas as pd

from inverse_rlhf.features.objectives import OBJECTIVES

_READERS = {
    "objectives": "named objectives",
    "ngram": "n-grams",
    "hidden_state": "hidden states",
    "log_ratio": "log π_aligned / π_base",
    "shuffled": "control: shuffled sides",
    "random_head": "control: random weights",
    "length": "control: length",
}


def markdown(
    report: dict[str, Any], examples: pd.DataFrame, margins: pd.DataFrame, *, title: str
) -> str:
    """The report.

    Args:
        report: the content of audit.json.
        examples, margins: tables of `Measured`.
        title: what was audited.
    """
    parts = [
        [f"# {title}", "", report["verdict"], ""],
        _found(report),
        _told(report),
        _slices(report),
        _judgement(report),
        _examples(examples),
        _worst(margins),
        _not_found(report),
        _made(report),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


def _found(report: dict[str, Any]) -> list[str]:
    rows = [row for row in report["objectives"] if row["found"]]
    lines = ["## Objectives found", ""]
    if not rows:
        return [*lines, f"None: no weight exceeds {report['null']['critical']:.2f}.", ""]
    lines += [
        "A weight: nats of log π_aligned / π_base for one standard deviation of the objective;",
        "under KL-regularised RLHF, of the reward over its KL coefficient. Found: larger than the",
        f"null's largest weight ({report['null']['critical']:.2f}), and of one sign over the runs.",
        "Minor: below a third of the largest, as side effects of training often are.",
        "",
        "| objective | means | weight | 95 % over runs | aligned has more | less | not told from |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        objective = OBJECTIVES[row["name"]]
        lines.append(
            f"| {row['name']} ({objective.unit}){'' if row['main'] else ', minor'} | "
            f"{objective.more} | {row['weight']:+.2f} | "
            f"{row['low']:+.2f} to {row['high']:+.2f} | {row['marginal']:.0%} | "
            f"{row['less']:.0%} | {', '.join(row['with'])} |"
        )
    return [*lines, ""]


def _told(report: dict[str, Any]) -> list[str]:
    lines = [
        "## How well the two sides are told apart",
        "",
        f"Share of the {report['pairs']['test']} pairs of test prompts in which the aligned "
        "completion has the higher",
        "reward; one half is chance. R²: the share of another reward's squared margins that the",
        "objectives give.",
        "",
        "| reward on | share | 95 % | R² by objectives |",
        "|---|---|---|---|",
    ]
    for name, row in (report["discrimination"] | report["controls"]).items():
        r2 = report["explained"].get(name, {}).get("r2")
        lines.append(
            f"| {_READERS[name]} | {row['value']:.3f} | {row['low']:.3f} to {row['high']:.3f} | "
            f"{'' if r2 is None else format(r2, '.2f') if r2 > 0 else 'none'} |"
        )
    agreement = report["agreement"]
    lines += ["", f"Two runs prefer the same completion in {agreement['same_side']:.0%} of pairs"]
    if "spearman" in agreement:
        lines[-1] += (
            f"; rank correlation of their margins {agreement['spearman']:.2f} (median), "
            f"{agreement['spearman_min']:.2f} (lowest)"
        )
    lines[-1] += "."
    return [*lines, ""]


def _slices(report: dict[str, Any]) -> list[str]:
    if not report["slices"]:
        return []
    lines = [
        "## By category",
        "",
        "Each fitted by itself, at the level over the number of categories.",
        "",
        "| category | pairs | told apart | found |",
        "|---|---|---|---|",
    ]
    for name, row in report["slices"].items():
        found = ", ".join(f"{one['name']} {one['weight']:+.2f}" for one in row["found"])
        told = row["discrimination"]
        lines.append(
            f"| {_cell(name, 60)} | {row['pairs']} | {told['value']:.2f} ({told['low']:.2f} to "
            f"{told['high']:.2f}) | {found or 'nothing'} |"
        )
    return [*lines, ""]


def _judgement(report: dict[str, Any]) -> list[str]:
    judged = report["judgement"]
    if judged is None:
        return []
    wins, right = judged["aligned_wins"], judged["accuracy"]
    return [
        "## Beside a judgement",
        "",
        f"In {judged['pairs']} judged test pairs the aligned completion is the better one in "
        f"{wins['value']:.0%} ({wins['low']:.0%} to {wins['high']:.0%}); the recovered reward "
        f"prefers the better one in {right['value']:.0%} ({right['low']:.0%} to "
        f"{right['high']:.0%}). The judgement was read after everything else.",
        "",
    ]


def _examples(examples: pd.DataFrame) -> list[str]:
    if examples.empty:
        return []
    lines = ["## Examples", "", "Test pairs told apart by one objective more than by others.", ""]
    for name, rows in examples.groupby("objective", sort=False):
        lines += [f"### {name}", ""]
        for row in rows.to_dict("records"):
            lines += [
                f"- prompt: {_cell(row['prompt'], 200)}",
                f"  - base ({row['base_value']:.2f}): {_cell(row['base_completion'], 300)}",
                f"  - aligned ({row['aligned_value']:.2f}): "
                f"{_cell(row['aligned_completion'], 300)}",
            ]
        lines.append("")
    return lines


def _worst(margins: pd.DataFrame) -> list[str]:
    wrong = margins[margins["margin"] < 0].head(3)
    if wrong.empty:
        return []
    lines = ["## Pairs that the reward gets most wrong", ""]
    for row in wrong.to_dict("records"):
        lines += [
            f"- margin {row['margin']:.2f}, prompt: {_cell(row['prompt'], 200)}",
            f"  - base: {_cell(row['base_completion'], 300)}",
            f"  - aligned: {_cell(row['aligned_completion'], 300)}",
        ]
    return [*lines, ""]


def _not_found(report: dict[str, Any]) -> list[str]:
    rows = [row for row in report["objectives"] if not row["found"]]
    names = ", ".join(f"{row['name']} {row['weight']:+.2f}" for row in rows)
    return ["## Not found", "", f"{names}.", ""]


def _made(report: dict[str, Any]) -> list[str]:
    counts, null = report["pairs"], report["null"]
    return [
        "## How it was made",
        "",
        f"{counts['all']} pairs of {counts['prompts']} prompts ({counts['irl']} fitted on, "
        f"{counts['valid']} for choices, {counts['test']} reported); both sides wrote the same in "
        f"{counts['same']}; empty completions: base {counts['empty_base']}, aligned "
        f"{counts['empty_aligned']}. Null of {null['runs']} runs, l2 {report['l2']:g}. The",
        "penalty is chosen on both of the first two. Word lists, syllables and sentiment are of",
        "English: in other languages only marks, layout and lengths mean what they say.",
        *_left_out(counts),
    ]


def _left_out(counts: dict[str, Any]) -> list[str]:
    words = {
        "left_out_prompts": "prompts that only one file has",
        "left_out_rows": "rows of other splits",
        "left_out_undivided": "rows whose answers cannot be told from their prompt",
        "left_out_repeated": "repeated prompts",
        "left_out_long": "prompts too long for a context",
    }
    lines = [f"Left out: {counts[key]} {what}." for key, what in words.items() if counts.get(key)]
    doubtful = {
        "twice": "repeat another",
        "both_ways": "are there the other way round, too, and contradict each other",
    }
    lines += [
        f"Of the pairs, {counts[key]} {what}." for key, what in doubtful.items() if counts.get(key)
    ]
    if counts.get("log_ratio", "measured") != "measured":
        lines.append(f"No log-ratio of the policies: {counts['log_ratio']}.")
    return lines


def _cell(text: str, limit: int) -> str:
    """One line of at most `limit` characters that Markdown shows as it is."""
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    for mark in "\\`*_[]<>#|&~$":
        line = line.replace(mark, "\\" + mark)
    return line or "(empty)"
