"""Objectives by audit, as one figure."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from inverse_rlhf.files import atomic

SHOWN = 25
"""Objectives in the figure: the first of the table."""


def draw_audits(table: pd.DataFrame, path: Path | str) -> None:
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
    figure = Figure(
        figsize=(2.6 + 1.1 * len(audits), 1.4 + 0.28 * len(order)), layout="constrained"
    )
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    for (row, column), value in np.ndenumerate(weights):
        bold = bool(found[row, column])
        colour = "white" if abs(value) > 0.6 * limit else "black" if bold else "grey"
        style: Any = {"ha": "center", "va": "center", "fontsize": 8, "color": colour}
        weight = "bold" if bold else "normal"
        axes.text(column, row, f"{value:+.2f}", fontweight=weight, **style)
        if bold:
            corner = (column - 0.48, row - 0.46)
            axes.add_patch(Rectangle(corner, 0.96, 0.92, fill=False, linewidth=1.5))
    axes.set_xticks(range(len(audits)), audits, rotation=30, ha="right")
    axes.set_yticks(range(len(order)), order)
    counts = table.groupby("audit", sort=False)["found"].sum().items()
    axes.set_title("Objectives found: " + ", ".join(f"{name} {count}" for name, count in counts))
    figure.colorbar(image, label="nats per standard deviation of the objective")
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
