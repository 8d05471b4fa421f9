"""The report of an audit as a page that opens anywhere."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from ruamel.yaml import YAML

from inverse_rlhf.evaluation.audit_credits import Credits, credits_of, material_reward
from inverse_rlhf.evaluation.objectives import Measured
from inverse_rlhf.evaluation.occlusion import pieces
from inverse_rlhf.evaluation.verdict import beside, in_words
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.rewards.objective_reward import ObjectiveReward
from inverse_rlhf.show import audit_words as words
from inverse_rlhf.show.page import (
    Cell,
    Headline,
    Piece,
    Text,
    interval,
    number,
    value_cell,
    write_page,
)
from inverse_rlhf.show.page import Measured as Figure

SHOWN, ASKED = 1200, 500
"""Characters of a completion and of a prompt in the page."""
EXTREME, OPEN = 10, 5
"""Pairs of the largest and smallest margins, and of those that runs disagree on."""
_HALF = 100
"""Half the width of a bar's picture."""


@dataclass(frozen=True)
class Pair:
    """Two completions side by side.

    Attributes:
        note: what is said of them.
        prompt: as far as it is shown.
        sides: what each is called, and its text.
    """

    note: str
    prompt: str
    sides: Sequence[tuple[str, Text]]


@dataclass(frozen=True)
class Group:
    """Pairs behind one click.

    Attributes:
        title: of what they are.
        explanation: how they were chosen.
    """

    title: str
    explanation: str
    pairs: Sequence[Pair]


def write_audit_page(
    path: Path | str,
    report: dict[str, Any],
    measured: Measured,
    reward: ObjectiveReward,
    *,
    title: str,
) -> None:
    """Write the page as one file.

    Args:
        report: the content of audit.json.
        measured: the tables of the same audit.
        reward: that it recovered.
        title: what was audited.
    """
    rows = report["objectives"]
    found = [row for row in rows if row["found"]]
    others = [row for row in rows if not row["found"]]
    differ = [row for row in others if row["marginal"] or row["less"]]
    examples = list(_examples(measured.examples))
    margins = list(_by_margin(measured.margins))
    write_page(
        path,
        "audit.html.j2",
        title=title,
        report=report,
        words=words,
        told=_told(report),
        beside=beside(report),
        judged=_judged(report),
        found=_found_rows(found, report["null"]["critical"]),
        others=_other_rows(differ),
        alike=[row["name"] for row in others if row not in differ],
        explained=_explained(report),
        slices=_slices(report),
        **_with_credits(examples, margins, material_reward(reward, measured.objectives)),
        params=_yaml(report["settings"]),
    )


def _told(report: dict[str, Any]) -> Headline:
    rows = [
        Figure(words.READERS[name], row["value"], row["low"], row["high"], name == "objectives")
        for name, row in (report["discrimination"] | report["controls"]).items()
    ]
    lowest = min([0.3, *(row.low for row in rows if row.low is not None)])
    return Headline(
        "Pairs told apart", words.told_rule(report), rows, chance=0.5, start=lowest, end=1.0
    )


def _judged(report: dict[str, Any]) -> Headline | None:
    judged = report["judgement"]
    if judged is None:
        return None
    rows = [
        Figure(name, row["value"], row["low"], row["high"], main)
        for name, row, main in (
            ("the reward prefers the better one", judged["accuracy"], True),
            ("the aligned one is the better one", judged["aligned_wins"], False),
        )
    ]
    start = min([0.3, *(row.low for row in rows if row.low is not None)])
    return Headline(
        "Beside a judgement", words.judgement(judged), rows, chance=0.5, start=start, end=1.0
    )


def _found_rows(rows: list[dict[str, Any]], critical: float) -> list[list[str | Cell]]:
    """The table of what is found; its last column only where any has others beside it."""
    limit = max([critical, *(abs(row[key]) for row in rows for key in ("low", "high"))])
    beside = any(row["with"] for row in rows)
    return [
        [
            row["name"],
            in_words(row["name"], row["weight"]) + (", minor" if not row["main"] else ""),
            Cell(_bar(row, limit, critical), abs(row["weight"]), number=False),
            *_numbers(row),
            words.unit(row["name"]),
            *([", ".join(row["with"])] if beside else []),
        ]
        for row in rows
    ]


def _other_rows(rows: list[dict[str, Any]]) -> list[list[str | Cell]]:
    return [
        [row["name"], OBJECTIVES[row["name"]].more, *_numbers(row), words.unit(row["name"])]
        for row in rows
    ]


def _numbers(row: dict[str, Any]) -> list[Cell]:
    return [
        value_cell(row["weight"], 2, signed=True),
        Cell(interval(row["low"], row["high"], 2), row["low"]),
        Cell(f"{row['marginal']:.0%}", row["marginal"]),
        Cell(f"{row['less']:.0%}", row["less"]),
    ]


def _bar(row: dict[str, Any], limit: float, critical: float) -> Markup:
    """A bar from 0 to the weight, its interval, and the null's critical value on both sides."""
    at = {key: _HALF + _HALF * row[key] / limit for key in ("weight", "low", "high")}
    left, right = sorted((_HALF, at["weight"]))
    side = "more" if row["weight"] >= 0 else "fewer"
    lines = "".join(
        f'<path class="critical" d="M{_HALF + sign * _HALF * critical / limit:.1f} 0V18"/>'
        for sign in (-1, 1)
    )
    return Markup(
        f'<svg class="bar" viewBox="-2 0 {2 * _HALF + 4} 18" aria-hidden="true">'
        f'<rect class="{side}" x="{left:.1f}" y="4" width="{right - left:.1f}" height="10"/>'
        f'<path class="zero" d="M{_HALF} 0V18"/>{lines}'
        f'<path class="ends" d="M{at["low"]:.1f} 9H{at["high"]:.1f}'
        f'M{at["low"]:.1f} 6V12M{at["high"]:.1f} 6V12"/></svg>'
    )


def _explained(report: dict[str, Any]) -> list[list[str | Cell]]:
    """Other readers with what objectives explain of them."""
    return [
        [
            words.READERS[name],
            value_cell(report["discrimination"][name]["value"]),
            value_cell(row["r2"], 2) if row["r2"] > 0 else Cell("none", 0.0),
        ]
        for name, row in report["explained"].items()
    ]


def _slices(report: dict[str, Any]) -> list[list[str | Cell]]:
    return [
        [
            name[:60] + ("…" if len(name) > 60 else "") or "(empty)",
            Cell(f"{row['pairs']:,}", row["pairs"]),
            value_cell(row["discrimination"]["value"], 2),
            interval(row["discrimination"]["low"], row["discrimination"]["high"], 2),
            ", ".join(map(_with_weight, row["found"])) or "nothing",
        ]
        for name, row in report["slices"].items()
    ]


def _with_weight(row: dict[str, Any]) -> str:
    return f"{row['name']} {number(row['weight'], 2, signed=True)}"


Raw = tuple[str, str, list[tuple[str, dict[Any, Any]]]]
"""A group before its texts are read: title, explanation, and each pair's note and row."""


def _examples(examples: pd.DataFrame) -> Iterator[Raw]:
    for name, rows in examples.groupby("objective", sort=False):
        pairs = [
            (
                f"{name}: base {number(row['base_value'], 2)}, aligned "
                f"{number(row['aligned_value'], 2)}",
                row,
            )
            for row in rows.to_dict("records")
        ]
        yield str(name), words.EXAMPLES, pairs


def _by_margin(margins: pd.DataFrame) -> Iterator[Raw]:
    """The pairs that the reward orders most and least rightly, and those that runs disagree on."""
    count = min(EXTREME, len(margins) // 2)
    wrong = int((margins["margin"] < 0).sum())
    open_ = margins[margins["margin"].abs() < 2 * margins["margin_std"]]
    groups = (
        (
            "Ordered most rightly",
            "The largest margins: the reward of the aligned completion minus that of the base one.",
            margins.tail(count)[::-1],
        ),
        (
            "Ordered least rightly",
            f"The smallest margins; {wrong} of {len(margins)} are below 0, which is wrong.",
            margins.head(count),
        ),
        (
            "Where runs disagree most",
            f"The widest spreads over runs of the {len(open_)} pairs (of {len(margins)}) whose "
            "margin is within two of its spreads from 0: it could as well have the other sign.",
            open_.sort_values("margin_std", ascending=False, kind="stable").head(OPEN),
        ),
    )
    for title, explanation, rows in groups:
        pairs = [
            (
                f"margin {number(row['margin'], 2, signed=True)} nats, spread over runs "
                f"{number(row['margin_std'], 2)}",
                row,
            )
            for row in rows.to_dict("records")
        ]
        if pairs:
            yield title, explanation, pairs


def _with_credits(
    examples: list[Raw], margins: list[Raw], reward: ObjectiveReward
) -> dict[str, Any]:
    """Groups of examples and of pairs by margin, with words coloured; and whether any are."""
    # The first of every group first: not all may be read, see `credits_of`.
    turns = zip_longest(*(pairs for _, _, pairs in examples + margins))
    rows = [pair[1] for pair in chain.from_iterable(turns) if pair is not None]
    texts = [(row["prompt"], row[f"{side}_completion"]) for row in rows for side in _SIDES]
    credits = credits_of(texts, reward, shown=SHOWN)
    sizes = [abs(value) for values in credits.values() for value in values.values()]
    scale = float(np.quantile(sizes, 0.99)) if sizes else 0.0
    examples_, margins_ = (
        [
            Group(title, explanation, [_pair(note, row, credits, scale) for note, row in pairs])
            for title, explanation, pairs in groups
        ]
        for groups in (examples, margins)
    )
    return {"examples": examples_, "margins": margins_, "coloured": scale > 0}


_SIDES = ("base", "aligned")


def _pair(
    note: str, row: dict[Any, Any], credits: dict[tuple[str, str], Credits], scale: float
) -> Pair:
    sides = [
        (side, _text(completion, credits.get((row["prompt"], completion), {}), scale))
        for side in _SIDES
        for completion in [row[f"{side}_completion"]]
    ]
    prompt = row["prompt"]
    return Pair(note, prompt[:ASKED] + ("…" if len(prompt) > ASKED else ""), sides)


def _text(completion: str, credits: Credits, scale: float) -> Text:
    shown = [Piece(*piece) for piece in pieces("", completion[:SHOWN], credits)]
    return Text(shown, scale=scale, cut=max(0, len(completion) - SHOWN))


def _yaml(content: dict[str, Any]) -> str:
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(content, stream)
    return stream.getvalue()
