"""The organisms' results as a page that opens anywhere, and in a few lines."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from inverse_rlhf.files import atomic
from inverse_rlhf.organism_params import KINDS, Plant
from inverse_rlhf.show.organism_figure import METHOD_NAMES, found_in_nulls

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
  color: #222; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: .9rem; } .wide { overflow-x: auto; }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: left; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
img { max-width: 100%; } p { max-width: 60rem; }
"""
_RATE_HEADS = (
    "planted found",
    "right of what is found",
    "right of main objectives",
    "right down to the last planted",
)
_RATES = ("recall", "precision", "precision_of_main", "precision_at_full_recall")
Cell = str | dict[str, float] | None


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


def _in_nulls(summary: dict[str, Any], plants: Mapping[str, Plant], method: str = "audit") -> str:
    counts = found_in_nulls(summary, plants, method).items()
    return ", ".join(f"{count} audits of {kind}" for kind, count in counts) or "no audit"


def write_page(
    summary: dict[str, Any], plants: Mapping[str, Plant], figure: Path | str, path: Path | str
) -> None:
    """Write the page as one file.

    Args:
        summary: see `summary_of` of organisms.
        figure: a PNG.
    """
    image = base64.b64encode(Path(figure).read_bytes()).decode()
    parts = [
        "<h1>Does the audit find what was planted, and nothing else?</h1>",
        f"<p>{escape('; '.join(closing_lines(summary, plants)[:-1]))}. Median (range) over seeds "
        f"{', '.join(map(str, summary['seeds']))}, {summary['pairs']:,} pairs an audit.</p>",
        f'<img alt="Rates by kind of plant, power, and baselines" '
        f'src="data:image/png;base64,{image}">',
        *_kinds(summary),
        *_nulls(summary, plants),
        *_methods(summary, plants),
        *_power(summary),
        *_ratios(summary, plants),
        *_slices(summary, plants),
        *_plants(summary, plants),
    ]
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Organisms</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _kinds(summary: dict[str, Any]) -> list[str]:
    keys = ("recall", "all", "named", "first", "precision", "precision_of_main")
    rows: list[list[Cell]] = [
        [kind, str(rates["plants"]), *(rates[key] for key in keys)]
        for kind in (*KINDS, "single", "all")
        if (rates := summary["kinds"].get(kind))
    ]
    heads = [
        "kind",
        "plants",
        "planted objectives found",
        "every part found",
        "found or named with one found",
        "first by weight",
        "right of what is found",
        "right of main objectives",
    ]
    return [
        "<h2>By kind of plant</h2>",
        "<p>Found: by its own name and with its sign; where a plant has a condition, with the sign "
        "over all texts. Right: planted, or correlated beyond .8 in human text with what is. A "
        "side effect of training that is truly there, but was not planted, counts as wrong. Main: "
        "found, with a third of the largest weight found or more.</p>",
        _table(heads, rows),
    ]


def _nulls(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[str]:
    others = [name for name in METHOD_NAMES if name != "audit"]
    rows: list[list[Cell]] = [
        [
            plant,
            _weights(plants[plant]),
            str(null["audits"]),
            str(null["with_findings"]),
            *(str(null["of_others"][name]) for name in others),
        ]
        for plant, null in _in_order(summary["nulls"], plants)
    ]
    heads = ["organism", "planted", "audits", "with anything found"]
    heads += [f"by {METHOD_NAMES[name]}" for name in others]
    return [
        "<h2>Where no reward is planted</h2>",
        "<p>Where the aligned side is the base itself, all that is found is wrong. A policy at "
        "another temperature, or taught rewards dealt out at random, truly differs from the base: "
        "what is found there is a difference that nobody planted.</p>",
        _table(heads, rows),
    ]


def _methods(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[str]:
    rows: list[list[Cell]] = []
    for method, rates in _in_order(summary["methods"], METHOD_NAMES):
        ahead = rates.get("audit_ahead_by")
        beside = (
            f"{ahead['value']:+.2f} ({ahead['low']:+.2f} to {ahead['high']:+.2f}); better on "
            f"{ahead['better']}, worse on {ahead['worse']} plants; p {ahead['p']:.2g}"
            if ahead
            else ""
        )
        rows.append(
            [METHOD_NAMES[method]]
            + [rates[key] for key in _RATES]
            + [_in_nulls(summary, plants, method), beside]
        )
    heads = ["method", *_RATE_HEADS, "finds something where nothing is planted"]
    heads.append("audit ahead in the last share, paired over plants; sign test")
    fewer: list[list[Cell]] = [
        [f"{row['pairs']:,}", METHOD_NAMES[row["method"]], *(row[key] for key in _RATES)]
        for row in summary["fewer_pairs"]
    ]
    return [
        "<h2>Beside what one would do otherwise</h2>",
        "<p>Student's t-tests of each objective's mean difference, and log-odds of words and pairs "
        'of words ("Fightin\' Words"), which name the objectives whose words they are, both at '
        "Bonferroni's bound, on the pairs that the audit is fitted on. The last share asks for a "
        "ranking alone: of all objectives down to the last planted one, by size, how many are "
        "right.</p>",
        _table(heads, rows),
        "<h3>With fewer pairs</h3>" if fewer else "",
        _table(["pairs", "method", *_RATE_HEADS], fewer) if fewer else "",
    ]


def _power(summary: dict[str, Any]) -> list[str]:
    rows: list[list[Cell]] = [
        [
            f"{row['kl_from']:g} to {row['kl_to']:g}"
            if row["kl_to"] is not None
            else f"{row['kl_from']:g} or more",
            f"{row['pairs']:,}",
            str(row["audits"]),
            f"{row['recall']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
        ]
        for row in summary["power"]
    ]
    return [
        "<h2>Power: single objectives found</h2>",
        _table(["KL to the base, nats", "pairs", "audits", "found (95 %)"], rows),
    ]


def _ratios(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[str]:
    ratios = summary["ratios"]
    if not ratios:
        return []
    kinds = {
        "recovered": "recovered over planted",
        "followed": "the policy's own over planted",
        "of_followed": "recovered over the policy's own",
    }
    names = [f"{plant}: {part}" for plant, how in plants.items() for part in how.weights]
    parts = _in_order(ratios["parts"], names)
    rows: list[list[Cell]] = [[name, *(part[kind] for kind in kinds)] for name, part in parts]
    near = ratios["within_a_quarter"]
    rows.append(["plants with all within a quarter", *(near[kind] for kind in kinds)])
    heads = ["plant: part", *kinds.values()]
    return [
        "<h2>Weights of sums</h2>",
        "<p>Ratios of a part's weight to the first part's, over one another: 1 is right. The "
        "policy's own weights are regressed from its log-ratio to the base.</p>",
        _table(heads, rows),
    ]


def _slices(summary: dict[str, Any], plants: Iterable[str]) -> list[str]:
    rows: list[list[Cell]] = [
        [
            plant,
            f"{row['condition_found']} of {row['audits']}",
            f"{row['inside']} of {row['audits']}",
            f"{row['outside']} of {row['others']}",
            row["moved_inside"],
            row["moved_outside"],
        ]
        for plant, row in _in_order(summary["slices"], plants)
    ]
    heads = [
        "plant",
        "condition found",
        "right in the slice where it counts",
        "right in other slices",
        "the policy moved there by, in spreads",
        "in the others by",
    ]
    return ["<h2>Slices by the prompt's first word</h2>", _table(heads, rows)] if rows else []


def _plants(summary: dict[str, Any], plants: Mapping[str, Plant]) -> list[str]:
    keys = ("kl", "followed_r2", "recall", "first", "discrimination", "ngram", "shuffled", "starc")
    rows: list[list[Cell]] = [
        [name, _weights(plants[name]), *(row[key] for key in keys), "; ".join(row["named"])]
        for name, row in _in_order(summary["plants"], plants)
    ]
    heads = ["organism", "planted", "KL, nats", "R² of its log-ratio", "found", "first"]
    heads += ["told apart", "by n-grams", "by shuffled", "STARC", "named, by seed"]
    return [
        "<h2>Every organism</h2>",
        "<p>KL: mean log-ratio to the base of its own completions. R²: the share of the "
        "log-ratio's squares that the planted parts give; the rest is what training changed "
        "besides. Told apart: share of test pairs in which the aligned completion has the higher "
        "recovered reward. STARC: distance to the planted reward on test pairs, 0 to 1. Found and "
        "first are shares of parts and of seeds.</p>",
        _table(heads, rows),
    ]


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
            f"prompts with {when.prompt_begins}"
            if when.prompt_begins
            else f"{when.words} words or more"
        )
        words += f", in {place}; elsewhere times {when.elsewhere:g}"
    if plant.names:
        words += f"; named by {', '.join(f'{n} {s:+d}' for n, s in plant.names.items())}"
    return words or "nothing"


def _table(heads: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = [
        "<tr>"
        + "".join(
            f"<td>{escape(cell)}</td>"
            if isinstance(cell, str)
            else f'<td class="n">{_range(cell)}</td>'
            for cell in row
        )
        + "</tr>"
        for row in rows
    ]
    return f'<div class="wide"><table><tr>{head}</tr>\n' + "\n".join(lines) + "</table></div>"


def _range(value: dict[str, float] | None) -> str:
    """A median with the range over seeds."""
    if value is None:
        return ""
    if value["min"] == value["max"]:
        return f"{value['median']:.2f}"
    return f"{value['median']:.2f} ({value['min']:.2f} to {value['max']:.2f})"
