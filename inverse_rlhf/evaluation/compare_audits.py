"""Audits side by side."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from inverse_rlhf.errors import UserError


def read_reports(folder: Path | str, names: list[str]) -> dict[str, dict[str, Any]]:
    """The content of every audit's audit.json, by name.

    Raises:
        UserError: one is missing or no JSON.
    """
    reports = {}
    for name in names:
        path = Path(folder) / name / "audit.json"
        try:
            reports[name] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read: {error}: run `dvc repro audit/dvc.yaml`"
            ) from None
    return reports


def compared(reports: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """A row an objective and audit: objective, audit, weight, low, high, found; the objectives by
    their largest weight that is found in any audit, then by their largest weight.
    """
    rows = [
        {"objective": row["name"], "audit": name}
        | {key: row[key] for key in ("weight", "low", "high", "found")}
        for name, report in reports.items()
        for row in report["objectives"]
    ]
    table = pd.DataFrame(rows)
    size = table["weight"].abs()
    rank = pd.DataFrame({"found": size * table["found"], "any": size}).groupby(table["objective"])
    order = rank.max().sort_values(["found", "any"], ascending=False, kind="stable").index
    place = pd.Index(order).get_indexer(pd.Index(table["objective"]))
    audits = pd.Index(list(reports)).get_indexer(pd.Index(table["audit"]))
    return table.iloc[pd.Series(place * len(reports) + audits).argsort()].reset_index(drop=True)


def summary_of(reports: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What DVC compares experiments by: of each audit how well the sides are told apart, and how
    many objectives are found.
    """
    return {
        name: {
            "discrimination": report["discrimination"]["objectives"]["value"],
            "found": sum(row["found"] for row in report["objectives"]),
        }
        for name, report in reports.items()
    }
