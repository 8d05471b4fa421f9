"""What counts as found, and as right, on tables made by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.data.given_pairs import write_given_pairs
from inverse_rlhf.data.organisms import PLANTED
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.audit_tables import MARGINS
from inverse_rlhf.evaluation.namings import NAMINGS
from inverse_rlhf.evaluation.organism_scores import (
    ALIKE,
    alike_in,
    ratios_of,
    read_audited,
    scores_of,
    slices_of,
)
from inverse_rlhf.features.objectives import OBJECTIVES, Objectives
from inverse_rlhf.organism_params import Plant
from inverse_rlhf.parquet import write_table
from inverse_rlhf.rewards.objective_reward import ObjectiveReward
from tests.organisms import Row, audited, naming

LONGER = Plant(kind="easy", weights={"length": 1.0})
SUM = Plant(kind="opposed", weights={"length": 1.0, "commas": -0.5})
FRIENDLY = Plant(
    kind="toxicity",
    weights={"toxicity": 1.0, "exclamations": 0.7},
    names={"insults": -1, "sentiment": 1},
)
ALL = {"recall": 1.0, "all": True, "named": 1.0, "first": True}
NOTHING = {"recall": 0.0, "all": False, "named": 0.0, "first": False}
NOTHING |= {"right": 0, "right_main": 0, "precision_at_full_recall": 0.0}


def scored(
    rows: list[Row], plant: Plant, alike: dict[str, dict[str, int]] | None = None
) -> dict[str, Any]:
    (row,) = scores_of(audited(namings=[naming(rows)]), plant, alike or {})
    return row


def test_what_is_planted_alone_is_found() -> None:
    row = scored([("emoji", 0.1, False), ("length", 2.0, True), ("code", 0.0, False)], LONGER)
    assert row == ALL | {
        **{"plant": "mine", "kind": "easy", "seed": 10, "kl": 1.0},
        **{"method": "audit", "pairs": 3000},
        **{"found": 1, "right": 1, "main": 1, "right_main": 1, "precision_at_full_recall": 1.0},
    }


def test_the_wrong_sign_is_wrong() -> None:
    row = scored([("length", -2.0, True), ("emoji", 0.1, False)], LONGER)
    assert row == row | NOTHING
    assert row["found"] == 1
    assert scored([("commas", 1.0, True)], SUM)["right"] == 0
    assert scored([("commas", -1.0, True)], SUM)["right"] == 1


def test_what_is_not_beyond_the_bound_is_not_found() -> None:
    row = scored([("length", 2.0, False), ("emoji", 0.1, False)], LONGER)
    assert row == row | NOTHING | {"precision_at_full_recall": 1.0}
    assert row["found"] == 0


def test_first_is_the_largest_weight_of_either_sign() -> None:
    rows = [("emoji", -1.0, True), ("length", 0.9, True), ("code", 0.95, True)]
    row = scored(rows, LONGER)
    assert row == row | {"first": False, "recall": 1.0, "found": 3, "right": 1}
    assert row["precision_at_full_recall"] == pytest.approx(1 / 3)
    rows[1] = ("length", 1.1, True)
    assert scored(rows, LONGER)["first"]
    assert scored(rows, LONGER)["precision_at_full_recall"] == 1


def test_of_equal_weights_the_right_one_is_first() -> None:
    """As one word gives to all objectives that it names."""
    rows: list[Row] = [("emoji", 2.0, True), ("length", 2.0, True), ("code", -2.0, True)]
    for order in (rows, rows[::-1]):
        row = scored(order, LONGER)
        assert row == row | ALL | {"found": 3, "right": 1, "precision_at_full_recall": 1.0}
    rows[0] = ("emoji", 2.001, True)
    assert not scored(rows, LONGER)["first"]


def test_what_stands_beside_one_that_is_found_is_named() -> None:
    """Pairs cannot tell them apart; with its sign, and by one that is found."""
    rows: list[Row] = [("sentence_length", 2.0, True), ("length", 0.5, False)]
    both = naming([*rows, ("commas", -0.4, True)], beside={"sentence_length": ["length"]})
    (row,) = scores_of(audited(namings=[both]), SUM, {})
    assert row == row | {"recall": 0.5, "all": False, "named": 1.0, "right": 1}
    for changed, beside in (
        ([rows[0], ("length", -0.5, False)], {"sentence_length": ["length"]}),
        ([("sentence_length", 2.0, False), rows[1]], {"sentence_length": ["length"]}),
        (rows, {"sentence_length": ["commas"], "length": ["sentence_length"]}),
    ):
        (row,) = scores_of(audited(namings=[naming(changed, beside=beside)]), LONGER, {})
        assert (row["recall"], row["named"]) == (0, 0)


def flipped(elsewhere: float) -> Plant:
    when = {"prompt_begins": "About", "elsewhere": elsewhere}
    return Plant(kind="conditional", weights={"length": 1.0}, when=when)


@pytest.mark.parametrize(("mean_factor", "sign"), [(-0.9, -1), (0.1, 1)])
def test_a_condition_may_turn_the_sign(mean_factor: float, sign: int) -> None:
    """Over all texts, as most of them do not meet it, also of what correlates."""
    alike = {"length": {"sentence_length": 1}}
    for weight in (1.0, -1.0):
        rows: list[Row] = [("length", weight, True), ("sentence_length", weight, True)]
        one = audited(namings=[naming(rows)], mean_factor=mean_factor)
        (row,) = scores_of(one, flipped(-1.0), alike)
        expected = ALL | {"right": 2} if weight == sign else NOTHING
        assert row == row | expected


def test_a_condition_on_words_is_one_part_more() -> None:
    """Which longer texts name."""
    when = {"words": 25}
    plant = Plant(kind="conditional", weights={"we": 1.0}, when=when, names={"length": 1})
    row = scored([("we", 1.0, True), ("length", 0.5, False)], plant)
    assert row == row | {"recall": 0.5, "right": 1, "precision_at_full_recall": 1.0}
    assert scored([("length", 0.5, True), ("we", 0.4, True)], plant)["all"]


def test_a_sum_by_hand() -> None:
    alike = {"length": {"sentence_length": 1}, "commas": {"semicolons": -1}, "code": {"bold": 1}}
    rows: list[Row] = [
        ("sentence_length", 5.0, True),  # more of it goes with longer: right
        ("emoji", 4.0, True),  # wrong
        ("length", 3.0, True),
        ("semicolons", 2.5, True),  # fewer of them go with commas, of which fewer are wanted: right
        ("commas", -2.0, False),
        ("dashes", 1.0, False),
        ("bold", 0.5, True),  # like something that is not planted
    ]
    row = scored(rows, SUM, alike)
    assert row == row | {"found": 5, "right": 3, "recall": 0.5, "all": False}
    assert not row["first"]  # which is a correlate
    assert row["precision_at_full_recall"] == pytest.approx(4 / 5)
    assert scored(rows[::-1], SUM, alike) == row


def test_minor_objectives_are_counted_apart() -> None:
    """Of what is found commas and emoji are minor: they count for recall, not among main ones."""
    rows: list[Row] = [("length", 3.0, True), ("code", 2.0, True), ("commas", -0.5, True)]
    rows += [("emoji", 0.4, True), ("dashes", 0.3, False)]
    table = naming(rows, minor=["commas", "emoji"])
    (row,) = scores_of(audited(namings=[table]), SUM, {})
    assert row == row | {"found": 4, "right": 2, "main": 2, "right_main": 1, "recall": 1.0}
    (null,) = scores_of(audited(namings=[table]), Plant(kind="null"), {})
    assert (null["found"], null["main"]) == (4, 2)


@pytest.mark.parametrize(("weight", "right"), [(1.0, 1), (-1.0, 0)])
def test_a_correlate_is_right_with_its_own_sign(weight: float, right: int) -> None:
    few = Plant(kind="easy", weights={"commas": -1.0})
    row = scored([("semicolons", weight, True)], few, {"commas": {"semicolons": -1}})
    assert row == row | NOTHING | {
        "right": right,
        "right_main": right,
        "found": 1,
    }  # it is no planted one


def test_what_is_planted_outweighs_what_it_correlates_with() -> None:
    """Both correlate and are planted with opposed signs: fewer commas are right."""
    alike = {"length": {"commas": 1}, "commas": {"length": 1}}
    rows = [("length", 2.0, True), ("commas", -1.0, True)]
    row = scored(rows, SUM, alike)
    assert row == row | ALL | {"found": 2, "right": 2, "precision_at_full_recall": 1.0}
    assert scored([("length", 2.0, True), ("commas", 1.0, True)], SUM, alike)["right"] == 1


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_what_correlates_with_parts_of_opposed_signs_is_right_with_either(sign: float) -> None:
    """In whatever order the parts are planted."""
    alike = {"length": {"semicolons": 1}, "commas": {"semicolons": 1}}
    turned = Plant(kind="opposed", weights=dict(reversed(SUM.weights.items())))
    rows = [("semicolons", sign, True), ("length", 0.5, True)]
    row = scored(rows, SUM, alike)
    assert row == scored(rows, turned, alike)
    assert (row["found"], row["right"]) == (2, 2)
    alone = scored(rows, SUM, {"length": {"semicolons": 1}})
    assert alone["right"] == (2 if sign > 0 else 1)


@pytest.mark.parametrize("name", ["insults", "sentiment"])
def test_what_names_toxicity_keeps_its_sign(name: str) -> None:
    """Though it correlates with what is planted beside toxicity, the other way round."""
    sign = FRIENDLY.names[name]
    alike = {"exclamations": {name: -sign, "emoji": 1}}
    for weight, right in ((1.0 * sign, 3), (-1.0 * sign, 2)):
        rows = [("exclamations", 2.0, True), (name, weight, True), ("emoji", 0.5, True)]
        assert scored(rows, FRIENDLY, alike)["right"] == right


@pytest.mark.parametrize(
    "rows", [[("emoji", 2.0, True)], [("emoji", 2.0, True), ("length", 0.0, False)]]
)
def test_what_is_never_named_has_no_precision(rows: list[Row]) -> None:
    row = scored(rows, LONGER)
    assert row == row | NOTHING
    both = scored([*rows, ("commas", -1.0, True)], SUM)
    assert both == both | {"recall": 0.5, "right": 1, "precision_at_full_recall": 0.0}


@pytest.mark.parametrize("name", ["insults", "sentiment"])
def test_toxicity_is_named_by_any_of_its_names(name: str) -> None:
    weight = 3.0 * FRIENDLY.names[name]
    rows = [(name, weight, True), ("emoji", 2.0, False), ("exclamations", 1.0, True)]
    row = scored(rows, FRIENDLY)
    assert row == row | ALL | {"found": 2, "right": 2}
    assert row["precision_at_full_recall"] == pytest.approx(2 / 3)
    turned = scored([(name, -weight, True), *rows[1:]], FRIENDLY)
    assert turned == turned | {"recall": 0.5, "right": 1, "first": False, "all": False}
    assert turned["precision_at_full_recall"] == 0


def test_toxicity_counts_once() -> None:
    rows = [("exclamations", 4.0, True), ("sentiment", 3.0, False), ("insults", -1.0, True)]
    row = scored(rows, FRIENDLY)
    assert row == row | ALL | {"found": 2, "right": 2}
    assert row["precision_at_full_recall"] == 1  # of two, down to the first name
    alone = scored([rows[1], rows[2]], FRIENDLY)
    assert alone == alone | {"recall": 0.5, "all": False}


def test_of_nulls_is_counted_what_is_found() -> None:
    shuffled = Plant(kind="null", weights={"length": 1.0}, shuffled=True)
    for plant in (shuffled, Plant(kind="null")):
        row = scored([("length", 2.0, True), ("emoji", 2.0, False)], plant)
        assert set(row) == {"plant", "kind", "seed", "kl", "method", "pairs", "found", "main"}
        assert (row["kind"], row["found"]) == ("null", 1)


def test_a_row_for_each_method_and_number_of_pairs() -> None:
    tables = [
        naming([("length", sign, True)], method=method, pairs=pairs)
        for pairs in (3000, 100)
        for method, sign in (("audit", 1.0), ("log_odds", -1.0))
    ]
    rows = scores_of(audited(namings=tables, kl=0.25), LONGER, {})
    assert [(row["method"], row["pairs"], row["recall"]) for row in rows] == [
        *[("audit", 3000, 1.0), ("log_odds", 3000, 0.0)],
        *[("audit", 100, 1.0), ("log_odds", 100, 0.0)],
    ]
    assert {row["kl"] for row in rows} == {0.25}


# what correlates in human text


def test_alike_are_signs_of_correlations() -> None:
    """Texts of one sentence end in ! and have no comma, or the other way round."""
    words = ["tree", "river", "stone", "cloud", "paper", "window", "garden", "road"]
    draw = np.random.default_rng(0)
    texts = [
        " ".join(draw.choice(words, size=12)) + ("!" if n % 2 else ", oh.") for n in range(40)
    ] + ["tree " * (30 + n % 3) for n in range(6)]
    alike = alike_in(texts, [""] * len(texts))
    values = Objectives().transform(texts).toarray()
    table = pd.DataFrame(values, columns=list(OBJECTIVES))
    moving = [name for name in table if table[name].nunique() > 1]
    assert "emoji" not in alike  # which no text has
    for one in moving:
        for other in moving:
            r = table[one].corr(table[other])
            expected = None if one == other or abs(r) <= ALIKE else (1 if r > 0 else -1)
            assert alike[one].get(other) == expected
    assert len(moving) > 8
    assert alike["sentence_length"]["length"] == alike["length"]["sentence_length"] == 1


def test_what_is_the_same_in_all_texts_is_like_nothing() -> None:
    """As one paragraph a text, whose value log 2 has a mean that is rounded."""
    texts = ["tree tree!", "tree stone river, and a sea", "tree"] * 11
    alike = alike_in(texts, [""] * len(texts))
    assert "length" in alike
    assert "paragraphs" not in alike
    assert not any("paragraphs" in others for others in alike.values())


def test_alike_have_a_sign() -> None:
    texts = ["tree tree!", "tree tree,"] * 5
    alike = alike_in(texts, [""] * 10)
    assert alike["exclamations"] == {"commas": -1, "unfinished_end": -1}
    assert alike["commas"] == {"exclamations": -1, "unfinished_end": 1}


def test_prompts_are_read_for_what_overlaps_with_them() -> None:
    texts = ["tree!", "stone"] * 5
    assert alike_in(texts, ["tree", "tree"] * 5)["prompt_overlap"]["exclamations"] == 1
    assert "prompt_overlap" not in alike_in(texts, ["tree", "stone"] * 5)


# ratios of weights


def test_ratios_are_of_weights_per_standard_deviation() -> None:
    """One unit of spread .5 has weight .4: .2, a planted .5; the first has .5 of a planted 2.

    The policy itself has 0.3 of the one and 0.6 of the other.
    """
    plant = Plant(kind="sum", weights={"sentiment": 2.0, "length": 0.5})
    one = audited(
        spreads={"length": 0.5, "sentiment": 0.25},
        followed={"length": 0.3, "sentiment": 0.6},
        recovered={"sentiment": 2.0, "length": 0.4, "emoji": 7.0},
    )
    assert ratios_of(one, plant) == {
        "length": {
            "recovered": pytest.approx((0.2 / 0.5) / (0.5 / 2.0)),
            "followed": pytest.approx((0.3 / 0.6) / (0.5 / 2.0)),
            "of_followed": pytest.approx((0.2 / 0.5) / (0.3 / 0.6)),
        }
    }


def test_the_planted_weights_have_ratios_of_one_at_any_scale() -> None:
    weights = {"sentiment": 2.0, "length": -0.5, "commas": 1.5}
    spreads = {"sentiment": 0.5, "length": 4.0, "commas": 0.125}
    recovered = {name: 7 * weight / spreads[name] for name, weight in weights.items()}
    followed = {name: 0.3 * weight for name, weight in weights.items()}
    plant = Plant(kind="opposed", weights=weights)

    def ratios() -> dict[str, dict[str, float]]:
        return ratios_of(audited(spreads=spreads, followed=followed, recovered=recovered), plant)

    right = {kind: pytest.approx(1.0) for kind in ("recovered", "followed", "of_followed")}
    assert ratios() == {"length": right, "commas": right}
    recovered["commas"] *= -1
    turned = {kind: pytest.approx(-1.0) for kind in ("recovered", "of_followed")}
    assert ratios() == {"length": right, "commas": right | turned}


def test_no_ratios_without_a_first_weight() -> None:
    units = {"length": 1.0, "commas": 1.0}
    none = {"length": 0.0, "commas": 1.0}
    found = ratios_of(audited(spreads=units, followed=units, recovered=none), SUM)["commas"]
    assert np.isnan([found["recovered"], found["of_followed"]]).all()
    assert found["followed"] == pytest.approx(1 / SUM.weights["commas"])
    found = ratios_of(audited(spreads=units, followed=none, recovered=units), SUM)["commas"]
    assert np.isnan([found["followed"], found["of_followed"]]).all()
    assert found["recovered"] == pytest.approx(1 / SUM.weights["commas"])


def test_no_ratio_to_what_the_policy_does_not_follow() -> None:
    units = {"length": 1.0, "commas": 1.0}
    one = audited(spreads=units, followed={"length": 1.0, "commas": 0.0}, recovered=units)
    found = ratios_of(one, SUM)["commas"]
    assert found["followed"] == 0
    assert np.isnan(found["of_followed"])


@pytest.mark.parametrize("plant", [LONGER, FRIENDLY, Plant(kind="null")])
def test_ratios_are_of_two_objectives_or_more(plant: Plant) -> None:
    spreads = {"length": 1.0, "toxicity": 1.0, "exclamations": 1.0}
    assert ratios_of(audited(spreads=spreads, recovered=spreads), plant) == {}


def test_shuffled_weights_have_no_ratios() -> None:
    """Of a shuffled plant no reward is kept, and so no spreads."""
    dealt = Plant(kind="null", weights=SUM.weights, shuffled=True)
    assert ratios_of(audited(recovered={"length": 1.0, "commas": 1.0}), dealt) == {}


# slices


def in_about(elsewhere: float, weight: float = 1.0) -> Plant:
    when = {"prompt_begins": "About", "elsewhere": elsewhere}
    return Plant(kind="conditional", weights={"sentiment": weight}, when=when)


SLICES: dict[str, dict[str, float]] = {
    "About": {"sentiment": 0.5, "emoji": 1.0},
    "As": {},
    "He": {"emoji": -1.0},
    "I": {},
    "On": {"sentiment": -0.5},
    "The": {"sentiment": -0.2, "emoji": 1.0},
    "Your": {"sentiment": 0.1, "length": -1.0},
}


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (in_about(0.0), {"inside": True, "outside": 3}),  # As, He, I: it is not found there
        (in_about(-1.0), {"inside": True, "outside": 2}),  # On, The
        (in_about(0.5), {"inside": True, "outside": 1}),  # Your
        (in_about(0.0, -1.0), {"inside": False, "outside": 3}),
        (in_about(-1.0, -1.0), {"inside": False, "outside": 1}),
        (in_about(0.5, -1.0), {"inside": False, "outside": 2}),
    ],
)
def test_slices_are_right_where_the_sign_is(plant: Plant, found: dict[str, Any]) -> None:
    one = audited(slices=SLICES, moved={"About": 0.5, "As": 0.25, "On": -0.75})
    assert slices_of(one, plant) == found | {
        **{"others": 6, "moved_inside": 0.5, "moved_outside": -0.25},
    }


def test_a_slice_too_small_to_be_audited_is_not_right() -> None:
    others = {word: inside for word, inside in SLICES.items() if word != "About"}
    found = slices_of(audited(slices=others, moved={"About": 0.5}), in_about(0.0))
    assert found == found | {"inside": False, "outside": 3, "others": 6, "moved_inside": 0.5}
    assert np.isnan(found["moved_outside"])  # of no prompts


def test_where_no_prompt_begins_so_nothing_moved() -> None:
    found = slices_of(audited(slices=SLICES, moved={"On": 0.5, "As": 0.0}), in_about(0.0))
    assert np.isnan(found["moved_inside"])
    assert found["moved_outside"] == 0.25


@pytest.mark.parametrize(
    "plant",
    [
        *(LONGER, SUM, FRIENDLY, Plant(kind="null")),
        Plant(kind="null", weights={"sentiment": 1.0}, shuffled=True),
        Plant(kind="conditional", weights={"we": 1.0}, when={"words": 9}, names={"length": 1}),
    ],
)
def test_other_plants_have_no_slices(plant: Plant) -> None:
    assert slices_of(audited(slices=SLICES), plant) == {}


# files


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Results of `mine-10`, whose recovered reward is the number of words less a constant.

    Half of the pairs were tested, those of even prompts.
    """
    made, results = (tmp_path / f"organisms/{name}/mine-10" for name in ("pairs", "results"))
    made.mkdir(parents=True)
    results.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    count = 8
    pairs = pd.DataFrame(
        {
            "prompt_id": np.arange(count) * 3,
            "sample": np.zeros(count, dtype=np.int32),
            "prompt": [f"About {n}" for n in range(count)],
            "base_completion": ["tree " * (n + 1) for n in range(count)],
            "aligned_completion": ["tree " * (2 + n * n % 5) for n in range(count)],
            "category": ["About", "On"] * (count // 2),
            **dict.fromkeys(("base_score", "aligned_score"), np.nan),
            **dict.fromkeys(("base_log_ratio", "aligned_log_ratio"), np.nan),
        }
    )
    write_given_pairs(pairs, made / "pairs.parquet")
    (made / "facts.json").write_text(json.dumps({"kl": 0.5, "spreads": {"length": 0.25}}))
    (results / "audit.json").write_text(json.dumps({"verdict": "longer"}))
    ObjectiveReward({"length": 2.0}, 0.0, 1.0).save(results / "reward.json")
    write_table(naming([("length", 2.0, True)]), results / "namings.parquet", NAMINGS)
    tested = pairs[::2].assign(margin=0.0, margin_std=0.0)
    write_table(tested[::-1], results / "margins.parquet", MARGINS)
    return pairs


def plant_reward(pairs: pd.DataFrame, scale: float, *, test: bool) -> None:
    """The recovered reward, scaled, with an offset of each prompt; or noise where it is tested."""
    reward = ObjectiveReward({"length": 2.0}, 0.0, 1.0)
    draw = np.random.default_rng(0)
    offset, noise = draw.normal(size=len(pairs)), draw.normal(size=(2, len(pairs)))
    ours = np.array([reward.score(pairs[f"{side}_completion"]) for side in ("base", "aligned")])
    where = np.arange(len(pairs)) % 2 == (0 if test else 1)
    planted = np.where(where, scale * ours + offset, noise)
    table = pairs[["prompt_id"]].assign(base_reward=planted[0], aligned_reward=planted[1])
    write_table(table, "organisms/pairs/mine-10/planted.parquet", PLANTED)


@pytest.mark.parametrize(("scale", "distance"), [(3.0, 0.0), (-0.5, 1.0)])
def test_the_distance_is_that_on_test_pairs(
    written: pd.DataFrame, scale: float, distance: float
) -> None:
    plant_reward(written, scale, test=True)
    one = read_audited("mine", LONGER, 10)
    assert one.distance == pytest.approx(distance, abs=1e-3)
    plant_reward(written, scale, test=False)
    other = read_audited("mine", LONGER, 10).distance
    assert other is not None
    assert 0.1 < other < 0.9


@pytest.mark.usefixtures("written")
def test_results_are_read_as_they_were_written() -> None:
    one = read_audited("mine", Plant(kind="null"), 10)
    assert (one.plant, one.seed, one.distance) == ("mine", 10, None)
    assert one.report == {"verdict": "longer"}
    assert one.facts == {"kl": 0.5, "spreads": {"length": 0.25}}
    assert one.recovered == {"length": 2.0}
    assert one.moved == {}
    assert one.namings["name"].tolist() == ["length"]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_moved_is_the_mean_difference_by_first_word(written: pd.DataFrame, sign: float) -> None:
    """Of log(1 + words), over a spread of .25, whatever the sign of what is planted."""
    plant_reward(written, 1.0, test=True)
    differences: dict[str, list[float]] = {"About": [], "On": []}
    for n in range(8):
        both = (len(written[f"{side}_completion"][n].split()) for side in ("aligned", "base"))
        aligned, base = (np.log(1 + count) for count in both)
        differences["On" if n % 2 else "About"].append((aligned - base) / 0.25)
    plant = Plant(kind="conditional", weights={"length": sign}, when={"prompt_begins": "About"})
    expected = {word: pytest.approx(np.mean(own)) for word, own in differences.items()}
    assert read_audited("mine", plant, 10).moved == expected
    assert read_audited("mine", LONGER, 10).moved == {}


FILES = [
    *("pairs/mine-10/pairs.parquet", "pairs/mine-10/facts.json", "pairs/mine-10/planted.parquet"),
    *("results/mine-10/namings.parquet", "results/mine-10/audit.json"),
    *("results/mine-10/margins.parquet", "results/mine-10/reward.json"),
]


@pytest.mark.parametrize("content", [None, b'{"half": ', b"\xff\xfe"])
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_cannot_be_read_is_one_line(
    written: pd.DataFrame, file: str, content: bytes | None
) -> None:
    plant_reward(written, 1.0, test=True)
    path = Path("organisms") / file
    assert path.is_file()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_audited("mine", LONGER, 10)
    line = str(caught.value)
    assert file in line
    assert "\n" not in line


def test_there_is_nothing_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="mine-10"):
        read_audited("mine", LONGER, 10)
