"""Objectives of one audit, and of all audits, as figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from inverse_rlhf.files import atomic
from inverse_rlhf.show.drawing import BLUE, GREY, INK, RED, style, svg_text, write_png

SHOWN = 25
"""Objectives in the map: the first of the table."""
BARS = 15
"""Objectives in an audit's figure: the largest."""
_MAP = "Weights of objectives by audit, framed where found"


def draw_audits(table: pd.DataFrame, path: Path | str) -> None:
    """Write `audit_map` as a PNG, and as an SVG beside it.

    Args:
        table: see `compared`.
        path: of the PNG.
    """
    figure, path = audit_map(table), Path(path)
    with atomic(path) as temporary:
        write_png(figure, temporary)
    with atomic(path.with_suffix(".svg")) as temporary:
        svg = svg_text(figure, path.stem, _MAP)
        temporary.write_text(svg, encoding="utf-8", newline="\n")


def audit_map(table: pd.DataFrame) -> Figure:
    """A map of weights, objectives by audits; framed and in bold where found.

    Args:
        table: see `compared`.
    """
    order = table["objective"].drop_duplicates().head(SHOWN)
    audits = table["audit"].drop_duplicates()
    weights, found = (
        table.pivot(index="objective", columns="audit", values=name).loc[order, audits].to_numpy()
        for name in ("weight", "found")
    )
    limit = max(float(np.abs(weights).max()), 1e-9)
    with style():
        figure = Figure(figsize=(2.6 + 1.1 * len(audits), 1.4 + 0.28 * len(order)))
        axes = figure.subplots()
        image = axes.imshow(weights, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
        for (row, column), value in np.ndenumerate(weights):
            bold = bool(found[row, column])
            colour = "white" if abs(value) > 0.6 * limit else "black" if bold else "#595959"
            look: Any = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
            weight = "bold" if bold else "normal"
            axes.text(column, row, f"{value:+z.2f}", fontweight=weight, **look)
            if bold:
                corner = (column - 0.48, row - 0.46)
                frame = Rectangle(corner, 0.96, 0.92, fill=False, linewidth=1.5, edgecolor="black")
                axes.add_patch(frame)
        axes.set_xticks(range(len(audits)), audits, rotation=30, ha="right")
        axes.set_yticks(range(len(order)), order)
        counts = table.groupby("audit", sort=False)["found"].sum().items()
        # Under one another: names are of any length, and audits of any number.
        lines = [f"{name} {count}" for name, count in counts]
        rows = [", ".join(lines[start : start + 4]) for start in range(0, len(lines), 4)]
        axes.set_title("Objectives found: " + ",\n".join(rows))
        figure.colorbar(image, label="nats per standard deviation of the objective")
    return figure


def objective_bars(objectives: pd.DataFrame) -> Figure:
    """The largest weights of an audit with their intervals, beside what nothing would give.

    Args:
        objectives: the objectives table of all pairs (no category).
    """
    shown = objectives.head(BARS)
    looks: dict[str, dict[str, Any]] = {
        "found: more of it": {"facecolor": BLUE, "edgecolor": "white"},
        "found: less of it": {"facecolor": RED, "edgecolor": "white", "hatch": "//"},
        "not found": {"facecolor": "none", "edgecolor": GREY},
    }
    kinds = np.where(shown["weight"] > 0, "found: more of it", "found: less of it")
    kinds = np.where(shown["found"], kinds, "not found")
    with style():
        figure = Figure(figsize=(6.4, 1.7 + 0.3 * len(shown)))
        axes = figure.subplots()
        numbers = shown[["weight", "low", "high"]].to_numpy()
        for place, ((weight, *ends), kind) in enumerate(zip(numbers, kinds, strict=True)):
            axes.barh(place, weight, 0.7, **looks[kind])
            axes.plot(ends, [place, place], color=INK, marker="|", linewidth=1)
        critical = shown["critical"].iloc[0]
        for side in (-critical, critical):
            axes.axvline(side, color=INK, linewidth=0.8, linestyle="--")
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_yticks(range(len(shown)), shown["name"].str.replace("_", " "))
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_xlabel("nats per standard deviation of the objective, 95 % interval over runs")
        axes.set_title("Dashed: the largest weight that swapped sides give, 95th percentile")
        present = [name for name in looks if name in kinds]
        handles = [Patch(label=name, **looks[name]) for name in present]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
