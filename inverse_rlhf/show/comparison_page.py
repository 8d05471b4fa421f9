"""All audits side by side as a page that opens anywhere: a map of weights, and a line for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from inverse_rlhf.evaluation.verdict import favoured, strength
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.show import audit_words as words
from inverse_rlhf.show.page import Cell, Headline, interval, number, value_cell, write_page
from inverse_rlhf.show.page import Measured as Figure

SHADES = 4


@dataclass(frozen=True)
class Weight:
    """A cell of the map.

    Attributes:
        text: the weight.
        shade: from -`SHADES` to `SHADES`, on one scale for all audits; 0 has no colour.
        found: whether the audit found the objective.
        ends: the weight's interval over runs.
    """

    text: str
    shade: int
    found: bool
    ends: str


@dataclass(frozen=True)
class Row:
    """An objective in all audits.

    Attributes:
        name: the objective.
        more: what a higher value means.
        weights: of each audit.
    """

    name: str
    more: str
    weights: list[Weight]


def write_comparison_page(
    path: Path | str,
    reports: Mapping[str, dict[str, Any]],
    table: pd.DataFrame,
    links: Mapping[str, str],
) -> None:
    """Write the page as one file. It has no text of any pair.

    Args:
        reports: the content of every audit's audit.json, by name.
        table: see `compared`.
        links: where each audit's own report is, from the page.
    """
    limit = max(float(table["weight"].abs().max()), 1e-9)
    rows = _map_rows(table, list(reports), limit)
    write_page(
        path,
        "comparison.html.j2",
        links=links,
        audits=list(reports),
        found=[row for row in rows if any(weight.found for weight in row.weights)],
        scale=[_size(_smallest(shade, limit)) for shade in range(1, SHADES + 1)],
        others=[row for row in rows if not any(weight.found for weight in row.weights)],
        lines=[_line(name, report, links[name]) for name, report in reports.items()],
        told=_told(reports),
        words=words,
    )


def _map_rows(table: pd.DataFrame, audits: list[str], limit: float) -> list[Row]:
    rows = []
    for name, one in table.groupby("objective", sort=False):
        by_audit = one.set_index("audit").to_dict("index")
        # An audit of another version may lack an objective.
        cells = [_cell(by_audit.get(audit), limit) for audit in audits]
        more = OBJECTIVES[str(name)].more if name in OBJECTIVES else ""
        rows.append(Row(str(name), more, cells))
    return rows


def _cell(row: dict[Any, Any] | None, limit: float) -> Weight:
    if row is None:
        return Weight(number(None), 0, False, "not measured")
    shade = int(np.sign(row["weight"]) * _shade(abs(row["weight"]), limit))
    text = number(row["weight"], 2, signed=True)
    ends = interval(row["low"], row["high"], 2)
    return Weight(text, shade, bool(row["found"]), ends)


def _shade(size: float, limit: float) -> int:
    """The shade of a weight's size, by its root: a third of the largest still has a colour."""
    return round(np.sqrt(size / limit) * SHADES)


def _smallest(shade: int, limit: float) -> float:
    """The size from which on weights have a shade."""
    return limit * float(((shade - 0.5) / SHADES) ** 2)


def _size(size: float) -> str:
    return number(size, 2) if size >= 0.1 else f"{size:.1g}"


def _line(name: str, report: dict[str, Any], link: str) -> list[str | Cell]:
    own, pairs = report["discrimination"]["objectives"], report["pairs"]
    found = [row for row in report["objectives"] if row["found"]]
    level = strength(report)["level"]
    return [
        Markup('<a href="{}">{}</a>').format(link, name),
        Cell(words.LEVELS[level], list(words.LEVELS)[::-1].index(level), number=False),
        favoured(found),
        value_cell(own["value"], 3),
        interval(own["low"], own["high"]),
        value_cell(report["controls"]["shuffled"]["high"], 3),
        Cell(str(len(found)), len(found)),
        Cell(f"{pairs['all']:,}", pairs["all"]),
    ]


def _told(reports: Mapping[str, dict[str, Any]]) -> Headline:
    rows = [
        Figure(name, own["value"], own["low"], own["high"], strength(report)["level"] == "strong")
        for name, report in reports.items()
        for own in [report["discrimination"]["objectives"]]
    ]
    lowest = min([0.3, *(row.low for row in rows if row.low is not None)])
    explanation = (
        "Share of each audit's test pairs in which the aligned completion has the higher reward; "
        "one half (dashed) is chance. Full marks: strong evidence."
    )
    return Headline("Pairs told apart", explanation, rows, chance=0.5, start=lowest, end=1.0)
