"""How often audits are right, by hand on a few of them."""

import json
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from inverse_rlhf.evaluation.namings import METHODS
from inverse_rlhf.evaluation.organism_scores import Audited
from inverse_rlhf.evaluation.organism_summary import summary_of
from inverse_rlhf.files import write_json
from inverse_rlhf.organism_params import Plant
from tests.organisms import audited, score

PLANTS = {
    "longer": Plant(kind="easy", weights={"length": 1.0}),
    "positive": Plant(kind="easy", weights={"sentiment": 1.0}),
    "we": Plant(kind="hard", weights={"we": 1.0}),
    "both": Plant(kind="sum", weights={"length": 1.0, "commas": 0.5}),
    "three": Plant(kind="sum", weights={"length": 1.0, "commas": 1.0, "we": 1.0}),
    "faint": Plant(kind="weak", weights={"we": 1.0}, kl_coef=2.0),
    "about": Plant(kind="conditional", weights={"sentiment": 1.0}, when={"prompt_begins": "About"}),
    "base": Plant(kind="null"),
    "cooler": Plant(kind="null", temperature=0.5),
}
UNITS = {"length": 1.0, "commas": 1.0, "we": 1.0}
Rows = list[dict[str, Any]]


def as_all_methods(rows: Rows) -> Rows:
    """The same of every method."""
    return [row | {"method": method} for row in rows for method in METHODS]


def summary(rows: Rows, organisms: list[Audited] | None = None) -> dict[str, Any]:
    """Of audits' rows; the organisms are those of the rows, unless they are given."""
    named = {(row["plant"], row["seed"]): None for row in rows}
    return summary_of(
        pd.DataFrame(rows),
        organisms
        if organisms is not None
        else [audited(*key, spreads=UNITS, recovered=UNITS) for key in named],
        PLANTS,
    )


def over(median: float, low: float, high: float) -> dict[str, float]:
    return {
        name: pytest.approx(v) for name, v in {"median": median, "min": low, "max": high}.items()
    }


# rates


@pytest.fixture
def easy() -> Rows:
    """Two plants and three seeds; in the last one nothing is found."""
    rows = [
        score("longer", "easy", 3, found=2, right=1, recall=1.0, first=False, precision=0.5),
        score("positive", "easy", 3, found=6, right=1, recall=0.0, first=False, precision=0.0),
        score("longer", "easy", 1, found=1, right=1),
        score("positive", "easy", 1, found=3, right=2),
        score(
            "longer", "easy", 2, found=0, right=0, recall=0.0, named=0.5, first=True, precision=0.25
        ),
        score("positive", "easy", 2, found=0, right=0, recall=0.0, first=False, precision=0.0),
    ]
    for row, (main, right) in zip(rows, [(1, 1), (2, 0), (1, 1), (1, 1)], strict=False):
        row |= {"main": main, "right_main": right}
    return as_all_methods(rows)


def test_rates_are_of_plants_by_seed(easy: Rows) -> None:
    found = summary(easy)
    assert found["seeds"] == [1, 2, 3]
    assert found["pairs"] == 3000
    rates = {
        "plants": 2,
        "recall": over(0.5, 0.0, 1.0),
        "all": over(0.5, 0.0, 1.0),
        "named": over(0.5, 0.25, 1.0),
        "first": over(0.5, 0.0, 1.0),
        # 2 of 8 and 3 of 4 are right; where nothing is found there is no share
        "precision": over(0.5, 0.25, 0.75),
        # 1 of 3 and 2 of 2
        "precision_of_main": over(2 / 3, 1 / 3, 1.0),
        "precision_at_full_recall": over(0.25, 0.125, 1.0),
    }
    assert found["kinds"] == {"easy": rates, "single": rates, "all": rates}


def test_a_part_that_is_found_is_not_all() -> None:
    rows = as_all_methods([score("both", "sum", 1, recall=0.5)])
    rates = summary(rows)["kinds"]["sum"]
    assert (rates["recall"]["median"], rates["all"]["median"]) == (0.5, 0)


def test_kinds_are_counted_by_themselves(easy: Rows) -> None:
    more = as_all_methods(
        [score("we", "hard", seed, recall=0.0) for seed in (1, 2, 3)]
        + [score("both", "sum", seed) for seed in (1, 2, 3)]
    )
    kinds = summary(easy + more)["kinds"]
    assert list(kinds) == ["easy", "hard", "sum", "single", "all"]
    assert {name: rates["plants"] for name, rates in kinds.items()} == {
        **{"easy": 2, "hard": 1, "sum": 1, "single": 3, "all": 4},
    }
    assert kinds["easy"] == summary(easy)["kinds"]["easy"]
    assert kinds["hard"]["recall"] == over(0, 0, 0)
    assert kinds["single"]["recall"] == over(1 / 3, 0, 2 / 3)
    assert kinds["all"]["recall"] == over(2 / 4, 1 / 4, 3 / 4)


def test_rates_are_the_audits_of_all_pairs(easy: Rows) -> None:
    others = [
        row | {"pairs": pairs, "method": method, "recall": 1.0, "found": 9, "right": 9}
        for row in easy
        for method, pairs in (("audit", 100), ("audit", 2999))
    ]
    assert summary(easy + others)["kinds"] == summary(easy)["kinds"]
    for row in others:
        row |= {"method": "log_odds", "pairs": 3000}
    baseline = [row for row in easy if row["method"] != "log_odds"]
    changed = summary(baseline + others)
    assert changed["kinds"] == summary(easy)["kinds"]
    assert changed["methods"]["log_odds"]["recall"] == over(1, 1, 1)


def test_all_pairs_are_each_organisms_own(easy: Rows) -> None:
    """Of prompts that are there once or more often one organism has fewer pairs than another."""
    own = {("longer", 1): 2990, ("positive", 2): 2000, ("base", 2): 2500}
    nulls = as_all_methods([score("base", "null", seed, found=seed - 1) for seed in (1, 2)])
    changed = [row | {"pairs": own.get((row["plant"], row["seed"]), 3000)} for row in easy + nulls]
    few = [row | {"pairs": 100, "found": 9, "recall": 0.5} for row in changed]
    found, before = summary(changed + few), summary(easy + nulls)
    assert found["pairs"] == 3000
    for part in ("kinds", "nulls", "methods", "plants"):
        assert found[part] == before[part]


# nulls


def test_nulls_are_counted_over_seeds(easy: Rows) -> None:
    nulls = [
        score("base", "null", 1, found=0),
        score("base", "null", 2, found=7),
        score("base", "null", 3, found=1),
        score("cooler", "null", 1, found=0),
    ]
    few = [score("cooler", "null", 1, found=1, pairs=100)]
    found = summary(easy + as_all_methods(nulls) + as_all_methods(few))
    assert found["nulls"] == {
        "base": {"audits": 3, "with_findings": 2, "of_others": {"t_test": 2, "log_odds": 2}},
        "cooler": {"audits": 1, "with_findings": 0, "of_others": {"t_test": 0, "log_odds": 0}},
    }
    for method in METHODS:
        rates = found["methods"][method]
        assert (rates["nulls_with_findings"], rates["nulls"]) == (2, 4)
    assert found["kinds"] == summary(easy)["kinds"]


def test_others_find_in_nulls_what_they_find(easy: Rows) -> None:
    counts = {"audit": (0, 0), "t_test": (1, 4), "log_odds": (0, 3)}
    nulls = [
        score("base", "null", seed, method=method, found=found)
        for method, by_seed in counts.items()
        for seed, found in zip((1, 2), by_seed, strict=True)
    ]
    assert summary(easy + nulls)["nulls"]["base"] == {
        **{"audits": 2, "with_findings": 0, "of_others": {"t_test": 2, "log_odds": 1}},
    }


def test_without_nulls(easy: Rows) -> None:
    found = summary(easy)
    assert found["nulls"] == {}
    assert found["methods"]["audit"]["nulls"] == 0


# methods


def by_method(shares: dict[str, list[tuple[float, float]]]) -> Rows:
    """Of each plant what the audit and t-tests reach, by seed; log-odds reach as much as these."""
    return [
        score(plant, "easy", seed, method=method, precision=value)
        for plant, values in shares.items()
        for seed, (ours, theirs) in enumerate(values)
        for method, value in (("audit", ours), ("t_test", theirs), ("log_odds", theirs))
    ]


def test_methods_are_paired_over_plants() -> None:
    """A plant's seeds count as one: it is ahead by .5 on average, by .25, behind by .125."""
    rows = by_method(
        {
            "longer": [(1.0, 0.25), (0.5, 0.25)],
            "positive": [(0.25, 0.0), (0.75, 0.5)],
            "we": [(0.25, 0.5), (0.5, 0.5)],
        }
    )
    found = summary(rows)["methods"]
    ahead = found["t_test"]["audit_ahead_by"]
    assert ahead["value"] == pytest.approx((0.5 + 0.25 - 0.125) / 3)
    assert (ahead["better"], ahead["worse"]) == (2, 1)
    assert ahead["p"] == pytest.approx(stats.binomtest(2, 3).pvalue)
    assert -0.125 <= ahead["low"] < ahead["value"] < ahead["high"] <= 0.5
    assert "audit_ahead_by" not in found["audit"]
    assert found["log_odds"]["audit_ahead_by"] == ahead


def test_methods_swapped_turn_the_sign() -> None:
    shares = {"longer": [(1.0, 0.25)], "positive": [(0.25, 0.5)], "we": [(0.75, 0.125)]}
    turned = {plant: [pair[::-1] for pair in pairs] for plant, pairs in shares.items()}
    one, two = (
        summary(by_method(s))["methods"]["t_test"]["audit_ahead_by"] for s in (shares, turned)
    )
    assert one["value"] == -two["value"] > 0
    assert (one["better"], one["worse"], one["p"]) == (two["worse"], two["better"], two["p"])
    assert one["low"] == pytest.approx(-two["high"])


def test_a_difference_that_is_always_the_same_has_no_spread() -> None:
    """Of three plants that are all ahead the sign test's p is 2 / 2^3."""
    rows = by_method({plant: [(0.75, 0.5)] for plant in ("longer", "positive", "we")})
    ahead = summary(rows)["methods"]["t_test"]["audit_ahead_by"]
    assert ahead == {"value": 0.25, "low": 0.25, "high": 0.25, "better": 3, "worse": 0, "p": 0.25}


def test_equal_plants_are_no_signs() -> None:
    """Of five two are ahead and three are as good: p is 2 / 2^2."""
    ahead = [[(0.75, 0.5)]] * 2 + [[(0.5, 0.5)]] * 3
    rows = by_method(dict(zip(list(PLANTS)[:5], ahead, strict=True)))
    found = summary(rows)["methods"]["t_test"]["audit_ahead_by"]
    assert (found["better"], found["worse"], found["p"]) == (2, 0, pytest.approx(0.5))


def test_methods_that_are_the_same() -> None:
    rows = by_method({plant: [(0.75, 0.75)] for plant in ("longer", "positive", "we")})
    ahead = summary(rows)["methods"]["t_test"]["audit_ahead_by"]
    assert ahead == {"value": 0, "low": 0, "high": 0, "better": 0, "worse": 0, "p": 1}


# fewer pairs


def test_fewer_pairs_have_every_methods_rates(easy: Rows) -> None:
    few = [
        row | {"pairs": 100 * (1 + (row["seed"] == 1)), "found": 4, "right": 1 + step, "recall": 0}
        for row in easy
        for step, method in enumerate(METHODS)
        if row["method"] == method
    ]
    nulls = as_all_methods([score("base", "null", 1, pairs=100)])
    rows = summary(easy + few[::-1] + nulls)["fewer_pairs"]
    assert [(row["pairs"], row["method"]) for row in rows] == [
        (pairs, method) for pairs in (100, 200) for method in METHODS
    ]
    for row in rows:
        share = (1 + METHODS.index(row["method"])) / 4
        assert row["precision"] == over(share, share, share)
        assert row["recall"] == over(0, 0, 0)
        assert row["plants"] == 2
    assert rows[0].keys() == {"pairs", "method", *summary(easy)["kinds"]["all"]}
    assert summary(easy)["fewer_pairs"] == []


# power


def wilson(found: int, audits: int) -> tuple[float, float]:
    z, share = stats.norm.isf(0.025), found / audits
    middle = share + z**2 / (2 * audits)
    half = z * sqrt(share * (1 - share) / audits + z**2 / (4 * audits**2))
    low, high = ((middle + sign * half) / (1 + z**2 / audits) for sign in (-1, 1))
    return low, high


def test_power_is_by_distance_and_pairs() -> None:
    rows = [
        score("faint", "weak", 1, kl=-0.01, recall=0.0),  # an estimate of something above 0
        score("faint", "weak", 2, kl=0.0999, recall=1.0),
        score("faint", "weak", 3, kl=0.05, recall=0.0),
        score("we", "hard", 1, kl=0.1, recall=1.0),
        score("longer", "easy", 1, kl=3.0, recall=1.0),
        score("longer", "easy", 2, kl=77.0, recall=1.0),
        score("longer", "easy", 2, kl=77.0, recall=0.0, pairs=100),
    ]
    others = [
        score("both", "sum", 1, kl=1.5, recall=1.0),
        score("base", "null", 1, kl=0.0),
        *(row | {"method": "t_test", "kl": 2.0} for row in rows),
        *(row | {"method": "log_odds", "kl": 2.0} for row in rows),
    ]
    power = summary(rows + others)["power"]
    table = [
        tuple(row[key] for key in ("kl_from", "kl_to", "pairs", "audits", "recall"))
        for row in power
    ]
    assert table == [
        (0.0, 0.1, 3000, 3, pytest.approx(1 / 3)),
        (0.1, 0.3, 3000, 1, 1.0),
        (3.0, None, 100, 1, 0.0),
        (3.0, None, 3000, 2, 1.0),
    ]
    counts = [(1, 3), (1, 1), (0, 1), (2, 2)]
    for row, count in zip(power, counts, strict=True):
        assert (row["low"], row["high"]) == pytest.approx(wilson(*count), abs=1e-9)


# what was recovered


def test_ratios_are_near_where_all_of_a_plant_are() -> None:
    """In seed 1 one of two plants is near, in seed 2 both are."""
    rows = as_all_methods(
        [score(plant, "sum", seed) for plant in ("both", "three") for seed in (1, 2)]
    )
    recovered = {
        ("both", 1): {"length": 1.0, "commas": 0.6},  # 1.2 of what is planted
        ("both", 2): {"length": 1.0, "commas": 0.4},
        ("three", 1): {"length": 1.0, "commas": 1.0, "we": -0.5},  # the wrong sign
        ("three", 2): {"length": 2.0, "commas": 2.0, "we": 2.0},
    }
    followed = {
        "both": {"length": 4.0, "commas": 1.0},  # half of what is planted
        "three": UNITS,
    }
    organisms = [
        audited(*key, spreads=UNITS, followed=followed[key[0]], recovered=values)
        for key, values in recovered.items()
    ]
    found = summary(rows, organisms)["ratios"]
    assert found["within_a_quarter"] == {
        "recovered": over(0.75, 0.5, 1.0),
        "followed": over(0.5, 0.5, 0.5),
        "of_followed": over(0.25, 0.0, 0.5),
    }
    one = over(1.0, 1.0, 1.0)
    assert found["parts"] == {
        "both: commas": {
            "recovered": over(1.0, 0.8, 1.2),
            "followed": over(0.5, 0.5, 0.5),
            "of_followed": over(2.0, 1.6, 2.4),
        },
        "three: commas": {"recovered": one, "followed": one, "of_followed": one},
        "three: we": {
            "recovered": over(0.25, -0.5, 1.0),
            "followed": one,
            "of_followed": over(0.25, -0.5, 1.0),
        },
    }


def test_a_ratio_to_nothing_is_not_near() -> None:
    rows = as_all_methods([score("both", "sum", 1)])
    units, recovered = {"length": 1.0, "commas": 0.5}, {"length": 0.0, "commas": 1.0}
    one = audited("both", 1, spreads=UNITS, followed=units, recovered=recovered)
    found = summary(rows, [one])["ratios"]
    none, followed = over(0, 0, 0), over(1, 1, 1)
    assert found == {
        "within_a_quarter": {"recovered": none, "followed": followed, "of_followed": none},
        "parts": {"both: commas": {"recovered": None, "followed": followed, "of_followed": None}},
    }


def test_slices_are_summed_over_seeds(easy: Rows) -> None:
    """In the first and the last of three seeds it is found where it counts, and in the first one
    alone nowhere else.
    """
    rows = as_all_methods([score("about", "conditional", seed) for seed in (1, 2, 3)])
    slices = [
        {"About": {"sentiment": 1.0}, "On": {}, "As": {"length": 1.0}},
        {"About": {}, "On": {"length": 1.0}},
        {"About": {"sentiment": 1.0}, "On": {"sentiment": 1.0}, "As": {}},
    ]
    moved = [{"About": 0.5, "On": 0.25}, {"About": 1.0, "On": 0.0, "As": 1.0}, {"About": 0.75}]
    organisms = [
        audited("about", seed, slices=inside, moved=by)
        for seed, inside, by in zip((1, 2, 3), slices, moved, strict=True)
    ]
    assert summary(rows, organisms)["slices"] == {
        "about": {
            **{"audits": 3, "inside": 2, "outside": 4, "others": 5, "condition_found": 1},
            **{"moved_inside": over(0.75, 0.5, 1.0), "moved_outside": over(0.375, 0.25, 0.5)},
        }
    }
    assert summary(easy)["slices"] == {}


def test_every_plant_has_its_line() -> None:
    rows = as_all_methods(
        [
            score("longer", "easy", 1, kl=0.5, found=2, right=1, main=1),
            score("longer", "easy", 2, kl=1.5, found=1, right=0, recall=0.0, first=False),
            score("base", "null", 1, kl=None, found=0),
            score("base", "null", 2, kl=None, found=1),
        ]
    )
    rows += [row | {"pairs": 100, "found": 50} for row in rows]
    organisms = [
        audited(
            "longer", 2, spreads=UNITS, distance=0.75, told=0.5, found=[("commas", -0.126, True)]
        ),
        audited(
            "longer",
            1,
            spreads=UNITS,
            distance=0.25,
            told=1.0,
            found=[("length", 1.0, True), ("we", 0.4, False), ("bold", -0.5, True)],
        ),
        audited("base", 1, ngram=None),
        audited("base", 2, ngram=None, found=[("we", 0.4, True)]),
    ]
    plants = summary(rows, organisms)["plants"]
    longer = plants["longer"]
    assert longer["kind"] == "easy"
    assert longer["named"] == ["length +1.00, bold -0.50", "commas -0.13"]  # in the rows' order
    assert longer["kl"] == over(1.0, 0.5, 1.5)
    assert longer["found"] == over(1.5, 1, 2)
    assert longer["main"] == over(1.0, 1, 1)
    assert longer["right_main"] == over(0.5, 0, 1)
    assert longer["recall"] == longer["first"] == over(0.5, 0, 1)
    assert longer["followed_r2"] == over(0.5, 0.5, 0.5)
    assert longer["starc"] == over(0.5, 0.25, 0.75)
    assert longer["discrimination"] == over(0.75, 0.5, 1.0)
    assert longer["ngram"] == over(0.625, 0.625, 0.625)
    controls = {name: longer[name]["median"] for name in ("shuffled", "random_head", "length")}
    assert controls == {"shuffled": 0.5, "random_head": 0.45, "length": 0.55}
    base = plants["base"]
    assert (base["kind"], base["named"]) == ("null", ["nothing", "we +0.40"])
    assert base["found"] == over(0.5, 0, 1)
    absent = ("right", "right_main", "recall", "starc", "ngram", "kl", "followed_r2")
    assert {base[name] for name in absent} == {None}


# all of it


def everything(seeds: tuple[int, ...]) -> tuple[Rows, list[Audited]]:
    draw = np.random.default_rng(0)
    rows = as_all_methods(
        [
            score(
                name,
                plant.kind,
                seed,
                kl=None if plant.kind == "null" else float(draw.uniform(0, 4)),
                pairs=pairs,
            )
            for name, plant in PLANTS.items()
            for seed in seeds
            for pairs in (100, 3000)
        ]
    )
    organisms = [
        audited(
            name,
            seed,
            spreads=None if plant.kind == "null" else UNITS,
            recovered=UNITS,
            distance=None if plant.kind == "null" else 0.5,
            slices={"About": {}},
        )
        for name, plant in PLANTS.items()
        for seed in seeds
    ]
    return rows, organisms


@pytest.mark.parametrize("seeds", [(4,), (4, 5)])
@pytest.mark.parametrize("without", [(), ("sum",), ("null",), ("sum", "null", "weak", "hard")])
def test_it_is_json(tmp_path: Path, seeds: tuple[int, ...], without: tuple[str, ...]) -> None:
    rows, organisms = everything(seeds)
    rows = [row for row in rows if row["kind"] not in without]
    organisms = [one for one in organisms if PLANTS[one.plant].kind not in without]
    found = summary(rows, organisms)
    write_json(found, tmp_path / "organisms.json")
    assert json.loads((tmp_path / "organisms.json").read_text()) == found
    assert found["seeds"] == list(seeds)
    assert not set(without) & set(found["kinds"])
    assert bool(found["ratios"]) == ("sum" not in without)
    assert {row["pairs"] for row in found["fewer_pairs"]} == {100}
    assert bool(found["nulls"]) == ("null" not in without)
    assert set(found["plants"]) == {name for name, p in PLANTS.items() if p.kind not in without}


def test_of_one_seed_the_range_is_a_point() -> None:
    for rates in summary(*everything((4,)))["kinds"].values():
        for value in rates.values():
            assert not isinstance(value, dict) or value["min"] == value["median"] == value["max"]


def test_the_order_of_rows_is_of_no_consequence() -> None:
    rows, organisms = everything((4, 5))
    assert summary(rows[::-1], organisms[::-1])["kinds"] == summary(rows, organisms)["kinds"]
    assert summary(rows[::-1], organisms)["power"] == summary(rows, organisms)["power"]
    assert summary(rows[::-1], organisms)["methods"] == summary(rows, organisms)["methods"]
