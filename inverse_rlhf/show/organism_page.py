"""The organisms' results as a page that opens anywhere, and in a few lines."""

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from inverse_rlhf.organism_params import KINDS, Plant
from inverse_rlhf.show import page
from inverse_rlhf.show.organism_figure import METHOD_NAMES, found_in_nulls
from inverse_rlhf.show.page import Cell, interval, number, value_cell

_RATES = ("recall", "precision", "precision_of_main", "precision_at_full_recall")
Row = list[str | Cell]


def closing_lines(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[str]:
    """The result in a few lines."""
    single, every = summary["kinds"]["single"], summary["kinds"]["all"]
    lines = []
    if single["recall"] is not None:
        lines.append(
            f"single objectives found {_range(single['recall'])}, first by weight "
            f"{_range(single['first'])}"
        )
    return [
        *lines,
        f"of all that is found {_range(every['precision']) or 'nothing'} was planted, of main "
        f"objectives {_range(every['precision_of_main']) or 'none'}",
        f"nothing planted: something found in {_in_nulls(summary, plants)}",
        "next: metrics/organisms.html",
    ]


def _in_nulls(summary: dict[str, Any], plants: Mapping[str, Plant]) -> str:
    counts = found_in_nulls(summary, plants).items()
    return ", ".join(f"{count} audits of {kind}" for kind, count in counts) or "no audit"


def write_page(
    summary: dict[str, Any], plants: Mapping[str, Plant], figure: Path | str, path: Path | str
) -> None:
    """Write the page as one file.

    Args:
        summary: see `summary_of` of organisms.
        figure: a PNG.
    """
    page.write_page(
        path,
        "organisms.html.j2",
        summary=summary,
        lines=closing_lines(summary, plants)[:-1],
        image=base64.b64encode(Path(figure).read_bytes()).decode(),
        by_others=[f"by {name}" for method, name in METHOD_NAMES.items() if method != "audit"],
        kinds=_kinds(summary),
        nulls=_nulls(summary, plants),
        methods=_methods(summary, plants),
        in_nulls=[f"in {kind}" for kind in found_in_nulls(summary, plants)],
        ahead=_ahead(summary),
        fewer=_fewer(summary),
        power=_power(summary),
        ratios=_ratios(summary, plants),
        over_seeds=_range,
        slices=_slices(summary, plants),
        organisms=_organisms(summary, plants),
        measures=_measures(summary, plants),
    )


def _kinds(summary: dict[str, Any]) -> list[Row]:
    keys = ("recall", "all", "named", "first", "precision", "precision_of_main")
    return [
        [kind, value_cell(rates["plants"], 0), *_ranges(rates, keys)]
        for kind, rates in _in_order(summary["kinds"], (*KINDS, "single", "all"))
    ]


def _nulls(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[Row]:
    return [
        [
            plant,
            _weights(plants[plant]),
            value_cell(null["audits"], 0),
            value_cell(null["with_findings"], 0),
            *(value_cell(count, 0) for _, count in _in_order(null["of_others"], METHOD_NAMES)),
        ]
        for plant, null in _in_order(summary["nulls"], plants)
    ]


def _methods(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[Row]:
    return [
        [
            METHOD_NAMES[method],
            *_ranges(rates, _RATES),
            *found_in_nulls(summary, plants, method).values(),
        ]
        for method, rates in _in_order(summary["methods"], METHOD_NAMES)
    ]


def _ahead(summary: dict[str, Any]) -> list[str]:
    """How far the audit is ahead of each other method, in words."""
    return [
        f"{METHOD_NAMES[method]}: {number(by['value'], 2, signed=True)} "
        f"({interval(by['low'], by['high'], 2)}); better on {by['better']} plants, worse on "
        f"{by['worse']}; p {by['p']:.2g}"
        for method, rates in _in_order(summary["methods"], METHOD_NAMES)
        if (by := rates.get("audit_ahead_by"))
    ]


def _fewer(summary: dict[str, Any]) -> list[Row]:
    return [
        [value_cell(row["pairs"], 0), METHOD_NAMES[row["method"]], *_ranges(row, _RATES)]
        for row in summary["fewer_pairs"]
    ]


def _power(summary: dict[str, Any]) -> list[Row]:
    return [
        [
            Cell(_kl(row["kl_from"], row["kl_to"]), row["kl_from"], number=False),
            value_cell(row["pairs"], 0),
            value_cell(row["audits"], 0),
            value_cell(row["recall"], 2),
            Cell(interval(row["low"], row["high"], 2), row["low"]),
        ]
        for row in summary["power"]
    ]


def _kl(low: float, high: float | None) -> str:
    return f"{low:g} or more" if high is None else f"{low:g} to {high:g}"


def _ratios(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[Row]:
    names = [f"{plant}: {part}" for plant, how in plants.items() for part in how.weights]
    return [
        [name, *_ranges(part, ("recovered", "followed", "of_followed"))]
        for name, part in _in_order(summary["ratios"].get("parts", {}), names)
    ]


def _slices(summary: dict[str, Any], plants: Iterable[str]) -> list[Row]:
    return [
        [
            plant,
            f"{row['condition_found']} of {row['audits']}",
            f"{row['inside']} of {row['audits']}",
            f"{row['outside']} of {row['others']}",
            *_ranges(row, ("moved_inside", "moved_outside")),
        ]
        for plant, row in _in_order(summary["slices"], plants)
    ]


def _organisms(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[Row]:
    return [
        [
            name,
            _weights(plants[name]),
            *_ranges(row, ("recall", "first")),
            Markup().join(map(Markup('<div class="seed">{}</div>').format, row["named"])),
        ]
        for name, row in _in_order(summary["plants"], plants)
    ]


def _measures(summary: dict[str, Any], plants: Iterable[str]) -> list[Row]:
    keys = ("kl", "followed_r2", "discrimination", "ngram", "shuffled", "starc")
    return [[name, *_ranges(row, keys)] for name, row in _in_order(summary["plants"], plants)]


def _in_order(found: Mapping[str, Any], names: Iterable[str]) -> list[tuple[str, Any]]:
    """What is known of each name, in the order of the names: a file has them in another."""
    return [(name, found[name]) for name in names if name in found]


def _weights(plant: Plant) -> str:
    words = ", ".join(f"{name} {weight:+g}" for name, weight in plant.weights.items())
    if plant.shuffled:
        words += ", dealt out at random"
    if plant.temperature is not None:
        words = f"nothing; temperature {plant.temperature:g}"
    if plant.when is not None:
        when = plant.when
        place = (
            f"prompts that begin with {when.prompt_begins}"
            if when.prompt_begins
            else f"{when.words} words or more"
        )
        words += f", in {place}; elsewhere times {when.elsewhere:g}"
    if plant.names:
        words += f"; named by {', '.join(f'{n} {s:+d}' for n, s in plant.names.items())}"
    return words or "nothing"


def _ranges(values: Mapping[str, Any], keys: Iterable[str]) -> list[Cell]:
    """Cells that are sorted by the median."""
    return [
        Cell(_range(value) or number(None), value and value["median"])
        for value in (values[key] for key in keys)
    ]


def _range(value: dict[str, float] | None) -> str:
    """A median with the range over seeds; nothing where there is none."""
    if value is None:
        return ""
    low, high = value["min"], value["max"]
    return number(value["median"], 2) + (f" ({interval(low, high, 2)})" if low != high else "")
