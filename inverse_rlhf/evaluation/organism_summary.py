"""How often audits are right, over plants and seeds: what metrics/organisms.json holds."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from inverse_rlhf.evaluation.namings import METHODS
from inverse_rlhf.evaluation.organism_scores import RATIO, Audited, ratios_of, slices_of
from inverse_rlhf.organism_params import Plant

SINGLE = ("easy", "hard")
KL_EDGES = (0.0, 0.1, 0.3, 1.0, 3.0, np.inf)
"""Nats between which organisms are taken together."""
_RESAMPLES = 2000


def summary_of(
    scores: pd.DataFrame, audited: Sequence[Audited], plants: Mapping[str, Plant]
) -> dict[str, Any]:
    """Everything that is reported; a value over seeds is its median, min and max over them.

    Args:
        scores: the rows of `scores_of`.
        audited: every organism of every seed.
    """
    most = scores.groupby(["plant", "seed"])["pairs"].transform("max")
    whole = scores[scores["pairs"] == most]
    ours = whole[whole["method"] == "audit"]
    planted = ours[ours["kind"] != "null"]
    kinds = {str(kind): _rates(rows) for kind, rows in planted.groupby("kind", sort=False)}
    single = planted[planted["kind"].isin(SINGLE)]
    return {
        "seeds": sorted({one.seed for one in audited}),
        "pairs": int(most.max()),
        "kinds": kinds | {"single": _rates(single), "all": _rates(planted)},
        "nulls": _nulls(whole[whole["kind"] == "null"]),
        "methods": _methods(whole),
        "fewer_pairs": _fewer_pairs(scores[scores["pairs"] < most]),
        "power": _power(scores),
        "ratios": _ratios(audited, plants),
        "slices": _slices(audited, plants),
        "plants": _plants(ours, audited),
    }


def _over_seeds(values: "pd.Series[Any]") -> dict[str, float] | None:
    known = values.dropna().astype(float)
    if known.empty:
        return None
    return {
        "median": float(known.median()),
        "min": float(known.min()),
        "max": float(known.max()),
    }


def _rates(rows: pd.DataFrame) -> dict[str, Any]:
    """Of audits of planted organisms: how often each part was found, and was right."""
    seeds = rows.groupby("seed")
    sums = seeds[["found", "right", "main", "right_main"]].sum()
    shares = {
        name: _over_seeds(seeds[name].apply(lambda part: part.astype(float).mean()))
        for name in ("recall", "all", "named", "first", "precision_at_full_recall")
    }
    shares |= {
        name: _over_seeds(sums[right] / sums[named].where(sums[named] > 0))
        for name, right, named in (
            ("precision", "right", "found"),
            ("precision_of_main", "right_main", "main"),
        )
    }
    return {"plants": rows["plant"].nunique(), **shares}


def _nulls(rows: pd.DataFrame) -> dict[str, Any]:
    """In how many audits anything was found where nothing is planted, and in how many by others."""
    found = rows.assign(anything=rows["found"] > 0)
    nulls = {}
    for plant, part in found.groupby("plant", sort=False):
        counts = {name: int(part.loc[part["method"] == name, "anything"].sum()) for name in METHODS}
        nulls[str(plant)] = {
            "audits": int((part["method"] == "audit").sum()),
            "with_findings": counts.pop("audit"),
            "of_others": counts,
        }
    return nulls


def _fewer_pairs(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Every method's rates by number of pairs."""
    planted = scores[scores["kind"] != "null"]
    return [
        {"pairs": int(pairs), "method": method}
        | _rates(planted[(planted["pairs"] == pairs) & (planted["method"] == method)])
        for pairs in sorted(planted["pairs"].unique())
        for method in METHODS
    ]


def _methods(scores: pd.DataFrame) -> dict[str, Any]:
    """Every method's rates, and how far the audit is ahead of each other one, paired over plants:
    the mean difference with its 95 % interval from resampling plants, and the sign test's p.
    """
    planted, nulls = (scores[(scores["kind"] == "null") == null] for null in (False, True))
    found = {}
    for method in METHODS:
        of = nulls[nulls["method"] == method]
        found[method] = _rates(planted[planted["method"] == method]) | {
            "nulls_with_findings": int((of["found"] > 0).sum()),
            "nulls": len(of),
        }
    by_plant = planted.pivot_table(
        index="plant", columns="method", values="precision_at_full_recall", aggfunc="mean"
    )
    for method in METHODS[1:]:
        found[method]["audit_ahead_by"] = _difference(by_plant["audit"] - by_plant[method])
    return found


def _difference(values: "pd.Series[float]") -> dict[str, float]:
    draw = np.random.default_rng(0)
    known = values.to_numpy()
    means = known[draw.integers(len(known), size=(_RESAMPLES, len(known)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    better, worse = int((known > 0).sum()), int((known < 0).sum())
    p = stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    return {
        "value": float(known.mean()),
        "low": float(low),
        "high": float(high),
        "better": better,
        "worse": worse,
        "p": float(p),
    }


def _power(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Recall of single objectives by number of pairs and by how far the policy is from the base."""
    rows = scores[scores["kind"].isin([*SINGLE, "weak"]) & (scores["method"] == "audit")]
    table = []
    kl = rows["kl"].clip(lower=0)  # it is estimated from samples
    for low, high in pairwise(KL_EDGES):
        inside = rows[(kl >= low) & (kl < high)]
        for pairs in sorted(inside["pairs"].unique()):
            part = inside[inside["pairs"] == pairs]
            entry = {"kl_from": low, "kl_to": high if np.isfinite(high) else None}
            audits, found = len(part), int(part["all"].sum())
            interval = stats.binomtest(found, audits).proportion_ci(method="wilson")
            table.append(
                entry
                | {"pairs": int(pairs), "audits": audits, "recall": found / audits}
                | {"low": float(interval.low), "high": float(interval.high)}
            )
    return table


def _ratios(audited: Sequence[Audited], plants: Mapping[str, Plant]) -> dict[str, Any]:
    rows = [
        {"plant": one.plant, "seed": one.seed, "objective": name} | ratios
        for one in audited
        for name, ratios in ratios_of(one, plants[one.plant]).items()
    ]
    if not rows:
        return {}
    table = pd.DataFrame(rows)
    kinds = ["recovered", "followed", "of_followed"]
    near = ((table[kinds] - 1).abs() <= RATIO).groupby([table["plant"], table["seed"]]).all()
    return {
        "within_a_quarter": {
            kind: _over_seeds(near[kind].groupby("seed").mean()) for kind in kinds
        },
        "parts": {
            f"{plant}: {objective}": {kind: _over_seeds(part[kind]) for kind in kinds}
            for (plant, objective), part in table.groupby(["plant", "objective"], sort=False)
        },
    }


def _slices(audited: Sequence[Audited], plants: Mapping[str, Plant]) -> dict[str, Any]:
    rows = [
        {"plant": one.plant} | found
        for one in audited
        if (found := slices_of(one, plants[one.plant]))
    ]
    if not rows:
        return {}
    sums = pd.DataFrame(rows).groupby("plant", sort=False)
    return {
        str(plant): {"audits": len(part)}
        | {name: int(part[name].sum()) for name in ("inside", "outside", "others")}
        | {"condition_found": int((part["inside"] & (part["outside"] == part["others"])).sum())}
        | {name: _over_seeds(part[name]) for name in ("moved_inside", "moved_outside")}
        for plant, part in sums
    }


def _plants(ours: pd.DataFrame, audited: Sequence[Audited]) -> dict[str, Any]:
    facts = pd.DataFrame(
        {
            "plant": one.plant,
            "seed": one.seed,
            "starc": one.distance,
            "followed_r2": one.facts.get("followed", {}).get("r2"),
            "discrimination": one.report["discrimination"]["objectives"]["value"],
            "shuffled": one.report["controls"]["shuffled"]["value"],
            "random_head": one.report["controls"]["random_head"]["value"],
            "length": one.report["controls"]["length"]["value"],
            "ngram": one.report["discrimination"].get("ngram", {}).get("value"),
            "naming": _naming(one),
        }
        for one in audited
    )
    table = ours.merge(facts, on=["plant", "seed"])
    counts = ("found", "right", "main", "right_main", "recall", "first")
    measures = (
        "kl",
        "followed_r2",
        "starc",
        "discrimination",
        "ngram",
        "shuffled",
        "random_head",
        "length",
    )
    return {
        str(plant): {"kind": part["kind"].iloc[0], "named": part["naming"].tolist()}
        | {name: _over_seeds(part[name]) for name in (*counts, *measures)}
        for plant, part in table.groupby("plant", sort=False)
    }


def _naming(one: Audited) -> str:
    """What an audit found, by size."""
    found = [row for row in one.report["objectives"] if row["found"]]
    return ", ".join(f"{row['name']} {row['weight']:+.2f}" for row in found) or "nothing"
