"""Whether audits find what was planted, as one figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inverse_rlhf.files import atomic
from inverse_rlhf.organism_params import KINDS, Plant
from inverse_rlhf.show.drawing import BLUE, GREEN, GREY, RED, style, write_png

METHOD_NAMES = {
    "audit": "audit",
    "t_test": "t-tests of objectives",
    "log_odds": "log-odds of words",
}
# Bars and lines are told apart without colour too.
_LOOKS: dict[str, dict[str, Any]] = {
    "audit": {"color": BLUE},
    "t_test": {"color": RED, "hatch": "//"},
    "log_odds": {"color": GREY, "hatch": "xx"},
}
_MARKERS = "osD^vPX*"


def found_in_nulls(
    summary: dict[str, Any], plants: Mapping[str, Plant], method: str = "audit"
) -> dict[str, str]:
    """In how many audits a method finds anything where no reward is planted, as "0 of 9".

    Returns:
        By kind, of those that there are: where the aligned side is the base itself, so that
        whatever is found is wrong, and where it writes at another temperature or was taught rewards
        dealt out at random, and truly differs.
    """
    counts = {"the base itself": [0, 0], "what differs unplanted": [0, 0]}
    for name, null in summary["nulls"].items():
        differs = plants[name].shuffled or plants[name].temperature is not None
        count = counts[list(counts)[differs]]
        count[0] += null["with_findings"] if method == "audit" else null["of_others"][method]
        count[1] += null["audits"]
    return {kind: f"{found} of {of}" for kind, (found, of) in counts.items() if of}


def draw_organisms(summary: dict[str, Any], plants: Mapping[str, Plant], path: Path | str) -> None:
    """Rates by kind of plant, power by number of pairs and KL, and the audit beside baselines.

    Args:
        summary: see `summary_of` of organisms.
    """
    with style(), mpl.rc_context({"font.size": 9}):
        figure = Figure(figsize=(13.5, 4.4))
        axes = figure.subplots(1, 3, width_ratios=[1.4, 1, 1.1])
        _kinds(axes[0], summary, plants)
        _power(axes[1], summary["power"])
        _methods(axes[2], summary, plants)
    with atomic(path) as temporary:
        write_png(figure, temporary)


def _kinds(axes: Axes, summary: dict[str, Any], plants: Mapping[str, Plant]) -> None:
    kinds = [name for name in KINDS if name in summary["kinds"]]
    shown: dict[str, tuple[str, dict[str, Any]]] = {
        "recall": ("planted ones found", {"color": BLUE}),
        "precision_of_main": ("of main objectives, right", {"color": GREEN, "hatch": "//"}),
        "precision": ("of all that is found, right", {"color": "#a6dba0", "hatch": "xx"}),
    }
    places = np.arange(len(kinds))
    for shift, (key, (label, look)) in zip((-0.27, 0, 0.27), shown.items(), strict=True):
        known = [i for i, kind in enumerate(kinds) if summary["kinds"][kind][key]]
        rates = [summary["kinds"][kinds[i]][key] for i in known]
        medians = np.array([rate["median"] for rate in rates])
        ranges = [
            medians - [rate["min"] for rate in rates],
            [rate["max"] for rate in rates] - medians,
        ]
        at = places[known] + shift
        axes.bar(at, medians, 0.26, label=label, edgecolor="white", **look)
        axes.errorbar(at, medians, ranges, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    labels = [f"{kind} ({summary['kinds'][kind]['plants']})" for kind in kinds]
    axes.set_xticks(places, labels, rotation=20, ha="right")
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("share, median and range over seeds")
    nulls = found_in_nulls(summary, plants).items()
    lines = [f"nothing planted: something in {count} audits of {kind}" for kind, count in nulls]
    axes.set_title("\n".join(["What an audit finds, by kind of plant (number)", *lines]))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, fontsize=8)


def _power(axes: Axes, power: list[dict[str, Any]]) -> None:
    bins = sorted({(row["kl_from"], row["kl_to"] or np.inf) for row in power})
    colours = mpl.colormaps["viridis"](np.linspace(0.85, 0, len(bins)))
    # Else curves at 1 hide each other.
    shifts = 1.06 ** (np.arange(len(bins)) - (len(bins) - 1) / 2)
    markers = [_MARKERS[place % len(_MARKERS)] for place in range(len(bins))]
    for (low, high), colour, marker, shift in zip(bins, colours, markers, shifts, strict=True):
        rows = sorted((row for row in power if row["kl_from"] == low), key=lambda row: row["pairs"])
        label = f"{low:g} to {high:g} nats" if np.isfinite(high) else f"{low:g} nats or more"
        pairs, recall = ([row[key] for row in rows] for key in ("pairs", "recall"))
        lows, highs = (np.array([row[key] for row in rows]) for key in ("low", "high"))
        axes.errorbar(
            np.array(pairs) * shift,
            recall,
            [recall - lows, highs - recall],
            fmt=f"{marker}-",
            color=colour,
            elinewidth=0.8,
            capsize=2,
            label=f"{label} ({rows[0]['audits']})",
        )
    axes.set_xscale("log")
    counts = sorted({row["pairs"] for row in power})
    axes.set_xticks(counts, [f"{count:,}" for count in counts], minor=False)
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("pairs")
    axes.set_ylabel("share of single objectives found, 95 %")
    axes.set_title("By pairs, and by KL to the base\n(number of organisms)")
    if bins:
        axes.legend(fontsize=8, loc="lower right")


def _methods(axes: Axes, summary: dict[str, Any], plants: Mapping[str, Plant]) -> None:
    keys = {
        "recall": "planted\nfound",
        "precision": "of all found,\nright",
        "precision_of_main": "of main,\nright",
        "precision_at_full_recall": "of the first down\nto the last\nplanted, right",
    }
    places = np.arange(len(keys))
    for shift, method in zip((-0.27, 0, 0.27), METHOD_NAMES, strict=True):
        rates = summary["methods"][method]
        medians = [(rates[key] or {"median": np.nan})["median"] for key in keys]
        nulls = found_in_nulls(summary, plants, method)
        label = ": ".join([METHOD_NAMES[method], *([", ".join(nulls.values())] if nulls else [])])
        look = {"edgecolor": "white"} | _LOOKS[method]
        axes.bar(places + shift, medians, 0.26, label=label, **look)
    axes.set_xticks(places, list(keys.values()))
    axes.set_ylim(0, 1.02)
    axes.set_title("Beside what one would do otherwise,\non the same pairs")
    title = f"something found in: {', '.join(nulls)}" if nulls else None
    look = {"fontsize": 8, "title_fontsize": 8, "loc": "upper center"}
    axes.legend(title=title, bbox_to_anchor=(0.5, -0.2), ncols=1, **look)
