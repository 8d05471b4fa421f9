"""The report of an audit as Markdown: the verdict, the table, examples, what was not found."""

from typing import Any

import pandas as pd

from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.show import audit_words as words


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
        [f"# {title}", ""],
        _answer(report),
        _cautions(report),
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


def _answer(report: dict[str, Any]) -> list[str]:
    strength = report["strength"]
    level, why = words.LEVELS[strength["level"]], " ".join(strength["why"])
    return [f"**{level}.** {report['verdict']}", "", why, ""]


def _cautions(report: dict[str, Any]) -> list[str]:
    lines = [f"- {line}" for line in report["cautions"]] or [words.NO_CAUTIONS]
    return ["## What to be careful about", "", *lines, ""]


def _found(report: dict[str, Any]) -> list[str]:
    rows = [row for row in report["objectives"] if row["found"]]
    lines = ["## Objectives found", ""]
    if not rows:
        return [*lines, words.none_found(report), ""]
    lines += [
        words.WEIGHT,
        words.found_rule(report),
        words.MINOR,
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
        words.told_rule(report),
        words.EXPLAINED,
        "",
        "| reward on | share | 95 % | R² by objectives |",
        "|---|---|---|---|",
    ]
    for name, row in (report["discrimination"] | report["controls"]).items():
        r2 = report["explained"].get(name, {}).get("r2")
        ends = f"{row['low']:.3f} to {row['high']:.3f}"
        lines.append(
            f"| {words.READERS[name]} | {row['value']:.3f} | {ends} | "
            f"{'' if r2 is None else format(r2, '.2f') if r2 > 0 else 'none'} |"
        )
    return [*lines, "", words.agreement(report), ""]


def _slices(report: dict[str, Any]) -> list[str]:
    if not report["slices"]:
        return []
    lines = [
        "## By category",
        "",
        words.slices(report),
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
    return [] if judged is None else ["## Beside a judgement", "", words.judgement(judged), ""]


def _examples(examples: pd.DataFrame) -> list[str]:
    if examples.empty:
        return []
    lines = ["## Examples", "", words.EXAMPLES, ""]
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
    return ["## How it was made", "", *words.made(report)]


def _cell(text: str, limit: int) -> str:
    """One line of at most `limit` characters that Markdown shows as it is."""
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    for mark in "\\`*_[]<>#|&~$":
        line = line.replace(mark, "\\" + mark)
    return line or "(empty)"
