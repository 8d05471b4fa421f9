"""What an audit measures, on objectives whose values are made up and whose weights are known."""

import json
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.audit import audit
from inverse_rlhf.audit_params import AuditSettings, load_audit_params, settings_of
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation import objectives
from inverse_rlhf.evaluation.audit_tables import examples_table, objective_table
from inverse_rlhf.evaluation.objectives import Measured, measure
from inverse_rlhf.evaluation.pair_features import PairFeatures, named_objectives
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.irl.found import Weights, told_together

NAMES = list(OBJECTIVES)
COUNTS = {"irl": 120, "valid": 40, "test": 80}
Values = dict[str, np.ndarray]


def at(name: str) -> int:
    return NAMES.index(name)


def settings(**overrides: Any) -> AuditSettings:
    fast = {"runs": 10, "null_runs": 20, "resamples": 100} | overrides
    return settings_of(load_audit_params(), fast, "test")


@dataclass
class World:
    """Pairs, a prompt each, and the values of their objectives: noise but for what is planted."""

    pairs: pd.DataFrame
    values: Values

    def rows(self, split: str) -> np.ndarray:
        return (self.pairs["split"] == split).to_numpy()

    def deltas(self) -> np.ndarray:
        return self.values["aligned"] - self.values["base"]


def make(effects: dict[str, float], seed: int = 0) -> World:
    """The aligned side is the one that a reward prefers (Bradley & Terry 1952)."""
    draw = np.random.default_rng(seed)
    count = sum(COUNTS.values())
    one, two = (draw.normal(size=(count, len(NAMES))) for _ in range(2))
    weights = np.zeros(len(NAMES))
    for name, effect in effects.items():
        weights[at(name)] = effect
    first = draw.random(count) < 1 / (1 + np.exp(-((one - two) @ weights)))
    aligned, base = (np.where(side[:, None], one, two) for side in (first, ~first))
    number = np.arange(count)
    pairs = pd.DataFrame(
        {
            "prompt_id": number,
            "sample": 0,
            "prompt": [f"prompt {n}" for n in number],
            "base_completion": [f"base {n}" for n in number],
            "aligned_completion": [f"aligned {n}" for n in number],
            "split": np.repeat(list(COUNTS), list(COUNTS.values())),
            "category": None,
            **dict.fromkeys(("base_score", "aligned_score"), np.nan),
            **dict.fromkeys(("base_log_ratio", "aligned_log_ratio"), np.nan),
        }
    )
    return World(pairs, {"base": base, "aligned": aligned})


@pytest.fixture
def world() -> World:
    return make({"emoji": 2.0, "hedges": -2.0})


@pytest.fixture(scope="module")
def once() -> tuple[World, Measured]:
    made = make({"emoji": 2.0, "hedges": -2.0})
    return made, measure(made.pairs, made.values, settings())


@dataclass
class Asked:
    """What fits were asked for: of each its number of pairs and its settings.

    Attributes:
        chosen: the pairs that a penalty was chosen on, and whether for an adaptive fit.
    """

    fits: list[dict[str, Any]] = field(default_factory=list)
    chosen: list[tuple[int, bool]] = field(default_factory=list)

    def fit(self, deltas: np.ndarray, prompts: np.ndarray, **kept: Any) -> Weights:
        """Weights that take no time: means of differences, with some noise."""
        self.fits.append({"pairs": len(deltas), "prompts": len(prompts), **kept})
        noise = np.random.default_rng(0).normal(size=(30, deltas.shape[1])) / len(deltas) ** 0.5
        return Weights(
            deltas.mean(axis=0) + noise[:10],
            noise[10:],
            kept["level"],
            kept["l2"],
            np.eye(deltas.shape[1]),
        )

    def choose(self, deltas: Any, prompts: np.ndarray, *, adaptive: bool, seed: int) -> float:
        assert deltas.shape[0] == len(prompts)
        self.chosen.append((len(prompts), adaptive))
        return 0.5


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    made = Asked()
    monkeypatch.setattr(objectives, "fit_weights", made.fit)
    monkeypatch.setattr(objectives, "choose_l2", made.choose)
    return made


def found(measured: Measured) -> dict[str, float]:
    return {row["name"]: row["weight"] for row in measured.report["objectives"] if row["found"]}


# tables by hand


def by_hand() -> tuple[PairFeatures, Weights]:
    deltas = np.array(
        [
            [1.0, 2.0, -1.0, 0.0],
            [2.0, 4.1, 1.0, 0.0],
            [-1.0, -2.0, -1.0, 0.0],
            [0.0, 0.1, 0.0, 1.0],
            [9.0, 1.0, -5.0, 1.0],  # not fitted on, reported
            [0.0, 1.0, 5.0, -1.0],
        ]
    )
    runs = np.array([[0.1, -0.8, 0.5, 0.0], [0.2, -1.0, 0.6, 0.0], [0.3, -1.2, 0.7, 0.0]])
    null = np.array([[0.3, 0.1, 0.1, 0.0]] * 20)
    names = ["length", "commas", "emoji", "code"]
    return PairFeatures(deltas, names, np.ones(4)), Weights(
        runs, null, 0.05, 0.1, told_together(deltas[FITTED])
    )


FITTED = np.array([True, True, True, True, False, False])


def test_objectives_stand_by_the_size_of_their_weights() -> None:
    table = objective_table(*by_hand(), ~FITTED)
    assert table["name"].tolist() == ["commas", "emoji", "length", "code"]
    assert table["weight"].tolist() == pytest.approx([-1.0, 0.6, 0.2, 0.0])
    assert table["found"].tolist() == [True, True, False, False]
    assert table["low"].tolist() == pytest.approx([-1.19, 0.505, 0.105, 0.0])
    assert table["high"].tolist() == pytest.approx([-0.81, 0.695, 0.295, 0.0])
    assert table["unit"].tolist() == [OBJECTIVES[name].unit for name in table["name"]]
    # what the null says of length and commas together, which pairs cannot tell apart
    assert table["critical"].tolist() == pytest.approx([0.4] * 4, abs=1e-3)


def test_marginals_are_of_the_reported_pairs() -> None:
    table = objective_table(*by_hand(), ~FITTED).set_index("name")
    assert table["marginal"].to_dict() == {"length": 0.5, "commas": 1, "emoji": 0.5, "code": 0.5}
    assert table["less"].to_dict() == {"length": 0, "commas": 0, "emoji": 0.5, "code": 0.5}


def test_what_correlates_in_the_fitted_pairs_is_named_together() -> None:
    features, weights = by_hand()
    table = objective_table(features, weights, ~FITTED).set_index("name")
    assert table["with"].to_dict() == {"length": ["commas"], "commas": ["length"]} | {
        "emoji": [],
        "code": [],
    }
    features.deltas[:, 1] *= -1  # the other way round is no less the same
    again = objective_table(features, weights, ~FITTED).set_index("name")
    assert again["with"]["length"] == ["commas"]


def test_examples_are_told_apart_by_what_they_show() -> None:
    features, weights = by_hand()
    pairs = pd.DataFrame(
        {
            "split": np.where(FITTED, "irl", "test"),
            "prompt": [f"prompt {n}" for n in range(6)],
            "base_completion": "base",
            "aligned_completion": "aligned",
        }
    )
    values = {"base": np.zeros((6, 4)), "aligned": features.deltas}
    table = examples_table(pairs, features, values, weights, 3)
    # commas: both test pairs have more of them, which speaks against; emoji: one has.
    assert table[["objective", "prompt", "base_value", "aligned_value"]].to_numpy().tolist() == [
        ["emoji", "prompt 5", 0.0, 5.0]
    ]
    assert examples_table(pairs, features, values, weights, 0).empty
    # Where length speaks for it too, less is told by emoji alone.
    features.deltas[4:] = [[9.0, 0.0, 5.0, 0.0], [1.0, 0.0, 5.0, 0.0]]
    tables = [examples_table(pairs, features, values, weights, count) for count in (1, 2)]
    assert [table["prompt"].tolist() for table in tables] == [
        ["prompt 5"],
        ["prompt 5", "prompt 4"],
    ]


# all of it


def test_what_is_planted_is_found(once: tuple[World, Measured]) -> None:
    world, measured = once
    weights = found(measured)
    assert set(weights) == {"emoji", "hedges"}
    assert weights["emoji"] > 0 > weights["hedges"]
    told = measured.report["discrimination"]["objectives"]
    assert told["low"] > 0.7
    controls = measured.report["controls"]
    for name in ("shuffled", "random_head"):
        assert controls[name]["low"] < 0.5 < controls[name]["high"]
    assert controls["length"]["value"] == pytest.approx(0.5, abs=0.15)
    assert json.dumps(measured.report, allow_nan=False)
    assert measured.report["judgement"] is None
    assert measured.report["slices"] == {}
    row = next(row for row in measured.report["objectives"] if row["name"] == "emoji")
    test = world.deltas()[world.rows("test"), at("emoji")]
    assert row["marginal"] == pytest.approx((test > 0).mean())
    assert row["less"] == pytest.approx((test < 0).mean())


def test_the_reward_is_in_units_of_the_objectives(once: tuple[World, Measured]) -> None:
    world, measured = once
    margins = world.deltas() @ measured.weights
    table = measured.margins.sort_values("prompt_id")
    assert table["prompt_id"].tolist() == np.flatnonzero(world.rows("test")).tolist()
    np.testing.assert_allclose(table["margin"], margins[world.rows("test")], atol=1e-9)
    assert measured.margins["margin"].is_monotonic_increasing
    assert (measured.margins["margin_std"] > 0).all()
    rewards = np.concatenate(
        [side[world.rows("irl")] @ measured.weights for side in world.values.values()]
    )
    assert measured.moments == pytest.approx((rewards.mean(), rewards.std()))
    spread = np.concatenate(
        [side[world.rows("irl"), at("emoji")] for side in world.values.values()]
    ).std()
    assert measured.weights[at("emoji")] * spread == pytest.approx(found(measured)["emoji"])


def test_test_pairs_are_only_reported(once: tuple[World, Measured], world: World) -> None:
    test = world.rows("test")
    draw = np.random.default_rng(9)
    for side in world.values.values():
        side[test] = 7 * draw.normal(size=side[test].shape) + 3
    other = measure(world.pairs, world.values, settings())
    np.testing.assert_array_equal(other.weights, once[1].weights)
    assert other.moments == once[1].moments
    assert other.report["null"] == once[1].report["null"]
    assert other.report["discrimination"] != once[1].report["discrimination"]


def test_valid_pairs_choose_penalties_alone(world: World, asked: Asked) -> None:
    measured = measure(world.pairs, world.values, settings())
    assert [fit["pairs"] for fit in asked.fits] == [COUNTS["irl"]]
    assert asked.fits[0]["l2"] == measured.report["l2"] == 0.5
    assert measured.report["explained"]["ngram"]["l2"] == 0.5
    known = COUNTS["irl"] + COUNTS["valid"]
    assert sorted(asked.chosen) == [(known, False), (known, True)]


def with_log_ratio(world: World, base: np.ndarray, aligned: np.ndarray) -> pd.DataFrame:
    return world.pairs.assign(base_log_ratio=base, aligned_log_ratio=aligned)


@pytest.mark.usefixtures("asked")
def test_r2_of_a_sum_of_objectives_is_one(world: World) -> None:
    weights = np.random.default_rng(3).normal(size=len(NAMES))
    pairs = with_log_ratio(world, *(world.values[side] @ weights for side in ("base", "aligned")))
    report = measure(pairs, world.values, settings()).report
    assert report["explained"]["log_ratio"]["r2"] > 0.99
    margins = world.deltas()[world.rows("test")] @ weights
    assert report["discrimination"]["log_ratio"]["value"] == pytest.approx((margins > 0).mean())


@pytest.mark.usefixtures("asked")
def test_r2_of_noise_is_zero(world: World) -> None:
    draw = np.random.default_rng(3)
    pairs = with_log_ratio(world, *(draw.normal(size=len(world.pairs)) for _ in range(2)))
    report = measure(pairs, world.values, settings()).report
    assert report["explained"]["log_ratio"]["r2"] == pytest.approx(0, abs=0.15)


@pytest.mark.usefixtures("asked")
def test_log_ratios_count_only_where_all_are_there(world: World) -> None:
    ratios = np.random.default_rng(3).normal(size=len(world.pairs))
    ratios[5] = np.nan
    report = measure(with_log_ratio(world, 0 * ratios, ratios), world.values, settings()).report
    assert "log_ratio" not in report["discrimination"]
    zero = with_log_ratio(world, np.zeros(len(world.pairs)), np.zeros(len(world.pairs)))
    report = measure(zero, world.values, settings()).report
    assert report["discrimination"]["log_ratio"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert report["explained"]["log_ratio"] == {"r2": 0.0}


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("sign", [1, -1])
def test_length_is_turned_by_the_fitted_pairs(sign: int) -> None:
    """In all others it is the other way round: the control says so."""
    world = make({})
    values, irl = world.values, world.rows("irl")
    values["aligned"][:, at("length")] = 0
    values["base"][irl, at("length")] = -sign * np.where(np.arange(irl.sum()) % 3, 1, -1)
    values["base"][~irl, at("length")] = sign * np.where(np.arange((~irl).sum()) % 4, 1, -1)
    length = measure(world.pairs, values, settings()).report["controls"]["length"]
    assert length["longer"] is (sign > 0)
    assert length["value"] == pytest.approx(0.25)


# categories


@pytest.mark.usefixtures("asked")
def test_one_category_is_no_slice(world: World) -> None:
    one = world.pairs.assign(category="all")
    assert measure(one, world.values, settings(slice_pairs=20)).report["slices"] == {}


def test_categories_share_the_level(world: World, asked: Asked) -> None:
    number = np.arange(len(world.pairs))
    names = np.array(["a", "b", "c"], dtype=object)[number % 3]
    names[number % 30 == 0] = None
    names[number % 30 == 1] = "Rare"
    measured = measure(world.pairs.assign(category=names), world.values, settings(slice_pairs=20))
    assert list(measured.report["slices"]) == ["a", "b", "c"]
    whole, *slices = asked.fits
    irl = world.rows("irl")
    assert whole["pairs"] == irl.sum()
    assert [one["pairs"] for one in slices] == [(names[irl] == name).sum() for name in "abc"]
    assert [one["level"] for one in asked.fits] == pytest.approx([0.05] + [0.05 / 3] * 3)
    assert [one["null_runs"] for one in asked.fits] == [20, 60, 60, 60]
    table = measured.objectives
    assert table["category"].isna().sum() == len(NAMES)
    assert table["category"].value_counts().to_dict() == dict.fromkeys("abc", len(NAMES))
    for name, part in measured.report["slices"].items():
        inside = names == name
        assert part["pairs"] == inside.sum()
        rows = table[(table["category"] == name) & table["found"]]
        assert part["found"] == rows[["name", "weight"]].to_dict("records")
        marginal = table[(table["category"] == name) & (table["name"] == "emoji")]["marginal"]
        emoji = world.deltas()[inside & world.rows("test"), at("emoji")]
        assert marginal.item() == pytest.approx((emoji > 0).mean())


@pytest.mark.usefixtures("asked")
def test_a_category_beside_small_ones_is_a_slice(world: World) -> None:
    number = np.arange(len(world.pairs))
    names = np.where(number % 10 == 0, "a few", "common")
    pairs = world.pairs.assign(category=names)
    slices = measure(pairs, world.values, settings(slice_pairs=20)).report["slices"]
    assert list(slices) == ["common"]
    assert measure(pairs, world.values, settings(slice_pairs=110)).report["slices"] == {}
    few = pairs.assign(prompt_id=np.where(names == "common", number % 5, number))
    assert measure(few, world.values, settings(slice_pairs=20)).report["slices"] == {}
    nowhere = pairs.assign(category=np.where(world.rows("test"), "a few", names))
    assert measure(nowhere, world.values, settings(slice_pairs=20)).report["slices"] == {}


# degenerate pairs


def test_constant_objectives_have_no_weight(world: World) -> None:
    """Nor has one that is the same in all fitted completions and not in the others."""
    for side in world.values.values():
        side[:, at("length")] = 5.0
        side[world.rows("irl"), at("commas")] = 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = measure(world.pairs, world.values, settings())
    rows = {row["name"]: row for row in measured.report["objectives"]}
    for name in ("length", "commas"):
        assert (rows[name]["weight"], rows[name]["low"], rows[name]["high"]) == (0, 0, 0)
        assert not rows[name]["found"]
        assert rows[name]["with"] == []
        assert measured.weights[at(name)] == 0
    assert set(found(measured)) == {"emoji", "hedges"}
    features = named_objectives(world.pairs, world.values)
    assert not features.deltas[:, [at("length"), at("commas")]].any()


def test_pairs_of_equal_completions_count_one_half(world: World) -> None:
    same = np.arange(len(world.pairs)) % 2 == 0
    world.pairs.loc[same, "aligned_completion"] = world.pairs.loc[same, "base_completion"]
    world.values["aligned"][same] = world.values["base"][same]
    report = measure(world.pairs, world.values, settings()).report
    assert report["pairs"]["same"] == same.sum()
    assert 0.65 < report["discrimination"]["objectives"]["value"] < 0.75


def test_nothing_in_the_fitted_pairs_is_nothing_found(world: World) -> None:
    irl = world.rows("irl")
    world.pairs.loc[irl, "aligned_completion"] = world.pairs.loc[irl, "base_completion"]
    world.values["aligned"][irl] = world.values["base"][irl]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = measure(world.pairs, world.values, settings())
    assert not measured.weights.any()
    assert not found(measured)
    assert measured.report["discrimination"]["objectives"]["value"] == 0.5
    assert measured.moments == (0, 1)
    assert json.dumps(measured.report, allow_nan=False)


def test_both_sides_the_same_is_one_line(world: World) -> None:
    same = world.pairs.assign(aligned_completion=world.pairs["base_completion"])
    with pytest.raises(UserError) as caught:
        audit(same, settings())
    assert str(caught.value) == (
        "both sides are the same in all 240 pairs: there is nothing to audit"
    )


@pytest.mark.usefixtures("asked")
def test_empty_completions_are_counted(world: World) -> None:
    world.pairs.loc[:2, "base_completion"] = ""
    world.pairs.loc[:1, "aligned_completion"] = " \n"
    counts = measure(world.pairs, world.values, settings()).report["pairs"]
    assert (counts["empty_base"], counts["empty_aligned"]) == (3, 2)
    assert {name: counts[name] for name in COUNTS} == COUNTS
    assert (counts["all"], counts["prompts"], counts["same"]) == (240, 240, 0)


def test_samples_of_a_prompt_are_no_evidence_of_their_own(world: World) -> None:
    """Every pair four times, as samples of its prompt: the same intervals, the same null."""
    four = World(
        pd.concat([world.pairs] * 4, ignore_index=True),
        {side: np.tile(values, (4, 1)) for side, values in world.values.items()},
    )
    once, copied = (measure(w.pairs, w.values, settings()).report for w in (world, four))
    assert copied["pairs"]["prompts"] == once["pairs"]["prompts"]
    assert copied["discrimination"]["objectives"] == pytest.approx(
        once["discrimination"]["objectives"]
    )
    assert copied["null"]["critical"] == pytest.approx(once["null"]["critical"], rel=1e-3)
