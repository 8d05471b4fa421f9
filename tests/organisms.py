"""Organisms' results by hand, for the tests of what is counted and shown of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from inverse_rlhf.evaluation.organism_scores import Audited

Row = tuple[str, float, bool]
"""An objective, its weight, whether it is found."""


def naming(
    rows: Sequence[Row],
    *,
    minor: Sequence[str] = (),
    beside: Mapping[str, Sequence[str]] | None = None,
    method: str = "audit",
    pairs: int = 3000,
) -> pd.DataFrame:
    """What a method says of these objectives; all found are main but for the minor ones, and
    `beside` are those that pairs cannot tell from one.
    """
    table = pd.DataFrame(rows, columns=["name", "weight", "found"])
    table = table.assign(method=method, pairs=pairs, main=table["found"])
    table.loc[table["name"].isin(minor), "main"] = False
    return table.assign(**{"with": [list((beside or {}).get(name, ())) for name in table["name"]]})


def audited(
    plant: str = "mine",
    seed: int = 10,
    namings: Sequence[pd.DataFrame] = (),
    *,
    kl: float | None = 1.0,
    spreads: Mapping[str, float] | None = None,
    followed: Mapping[str, float] | None = None,
    mean_factor: float = 1.0,
    recovered: Mapping[str, float] | None = None,
    distance: float | None = None,
    slices: Mapping[str, Mapping[str, float]] | None = None,
    moved: Mapping[str, float] | None = None,
    found: Sequence[Row] = (),
    told: float = 0.75,
    ngram: float | None = 0.625,
) -> Audited:
    """An organism.

    Args:
        spreads: of what is planted; None: nothing is.
        followed: the policy's own weights; None: 1 of each.
        slices: weights that are found, by slice.
        found: the objectives of the report.
        told, ngram: how often the objectives' reward and that of n-grams tell test pairs apart.
    """
    report: dict[str, Any] = {
        "objectives": [dict(zip(("name", "weight", "found"), row, strict=True)) for row in found],
        "discrimination": {"objectives": {"value": told}}
        | ({} if ngram is None else {"ngram": {"value": ngram}}),
        "controls": {
            name: {"value": value}
            for name, value in {"shuffled": 0.5, "random_head": 0.45, "length": 0.55}.items()
        },
        "slices": {
            word: {"found": [{"name": name, "weight": weight} for name, weight in inside.items()]}
            for word, inside in (slices or {}).items()
        },
    }
    table = pd.concat(namings, ignore_index=True) if namings else naming([])
    facts: dict[str, Any] = {"kl": kl, "mean_factor": mean_factor}
    if spreads is not None:
        own = dict(followed or dict.fromkeys(spreads, 1.0))
        facts |= {"spreads": dict(spreads), "followed": {"weights": own, "r2": 0.5}}
    return Audited(
        *(plant, seed, table, report, facts, dict(recovered or {}), dict(moved or {}), distance)
    )


def score(
    plant: str,
    kind: str,
    seed: int,
    *,
    method: str = "audit",
    pairs: int = 3000,
    kl: float | None = 1.0,
    found: int = 1,
    right: int = 1,
    main: int | None = None,
    right_main: int | None = None,
    recall: float = 1.0,
    named: float | None = None,
    first: bool = True,
    precision: float = 1.0,
) -> dict[str, Any]:
    """A row of `scores_of`, where all that is found is main, and all that is recalled named, unless
    it is said; right and what follows are absent of kind null.
    """
    row = {"plant": plant, "kind": kind, "seed": seed, "kl": kl, "method": method, "pairs": pairs}
    row |= {"found": found, "main": found if main is None else main}
    if kind == "null":
        return row
    row |= {"right": right, "right_main": right if right_main is None else right_main}
    row |= {"recall": recall, "all": recall == 1, "named": recall if named is None else named}
    return row | {"first": first, "precision_at_full_recall": precision}
