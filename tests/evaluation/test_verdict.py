"""Every sentence of a verdict, from numbers that call for it and from the nearest that do not."""

import re
from typing import Any

import pytest

from inverse_rlhf.evaluation.verdict import favoured, in_words, strength, verdict
from inverse_rlhf.features.objectives import OBJECTIVES

Told = tuple[float, float, float]


def row(told: Told) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), told, strict=True))


def report(
    told: Told,
    *,
    found: dict[str, float] | None = None,
    length: float = 0.5,
    longer: bool = True,
    **others: Told,
) -> dict[str, Any]:
    """The part of audit.json that a verdict reads; an objective that is not found is large."""
    rows = [
        {"name": name, "weight": weight, "found": True, "main": True, "with": []}
        for name, weight in (found or {}).items()
    ]
    return {
        "objectives": [{"name": "emoji", "weight": 9.0, "found": False}, *rows],
        "discrimination": {
            "objectives": row(told),
            **{name: row(other) for name, other in others.items()},
        },
        "controls": {"length": {"value": length, "longer": longer}},
        "pairs": {"test": 75},
    }


CHANCE = (0.5, 0.46, 0.54)
TOLD = (0.75, 0.7, 0.8)


def test_nothing_found_and_chance() -> None:
    assert verdict(report(CHANCE, ngram=(0.51, 0.45, 0.57))) == (
        "No objective was found. In all, the objectives tell the two sides apart in 50% (95 % 46% "
        "to 54%) of 75 held-out pairs, which may be chance."
    )


def test_chance_of_few_pairs_says_so() -> None:
    line = "which may be chance; so few pairs would not show a small difference."
    assert line in verdict(report((0.5, 0.40, 0.60)))
    assert "so few pairs" not in verdict(report((0.5, 0.45, 0.54)))


def test_a_low_end_of_one_half_may_be_chance() -> None:
    assert "which may be chance" in verdict(report((0.6, 0.5, 0.7)))
    assert "which may be chance" not in verdict(report((0.6, 0.501, 0.7)))


def test_below_chance_is_not_chance() -> None:
    text = verdict(report((0.27, 0.13, 0.43)))
    assert "Do not trust it" in text
    assert "less than chance" in text
    assert "may be chance" not in text


def test_equal_sides_are_nothing_to_compare() -> None:
    assert "next to nothing to compare" in verdict(report((0.5, 0.5, 0.5)))


def test_found_but_by_chance_is_not_to_be_trusted() -> None:
    text = verdict(report((0.67, 0.5, 0.83), found={"length": 1.0}))
    assert "Do not trust it yet" in text
    assert "may be chance" in text


def test_nothing_found_but_others_tell() -> None:
    text = verdict(
        report(
            CHANCE,
            ngram=(0.62, 0.55, 0.69),
            hidden_state=(0.70, 0.6, 0.8),
            log_ratio=(0.9, 0.5, 0.99),  # an interval that holds one half tells nothing
        )
    )
    assert text == (
        "No objective was found. By themselves the objectives tell the two sides apart in 50% "
        "(95 % 46% to 54%) of 75 held-out pairs, which may be chance; hidden states tell 70% (95 % "
        "60% to 80%): the sides differ in something that no objective names."
    )
    assert "n-grams tell 62%" in verdict(report(CHANCE, ngram=(0.62, 0.55, 0.69)))


def test_nothing_found_yet_told_apart() -> None:
    text = verdict(report((1.0, 1.0, 1.0), ngram=(1.0, 1.0, 1.0)))
    assert text.startswith("No objective was found. Clearly: ")
    assert "by many objectives at once, none of which stands out by itself." in text


def test_weak() -> None:
    text = verdict(report((0.65, 0.6, 0.69), found={"length": 0.3}, length=0.5))
    assert text == (
        "Other things equal, the aligned side favours longer texts (length +0.30). Weak: the "
        "objectives tell the two sides apart in 65% (95 % 60% to 69%) of 75 held-out pairs: little "
        "is to be had from these pairs."
    )
    assert "; so few pairs would" in verdict(report((0.59, 0.51, 0.67), found={"length": 0.3}))


@pytest.mark.parametrize(
    ("value", "word"), [(0.699, "Weak"), (0.7, "Partly"), (0.799, "Partly"), (0.8, "Clearly")]
)
def test_strength(value: float, word: str) -> None:
    text = verdict(report((value, value - 0.02, value + 0.02), found={"length": 1.0}))
    (strength,) = [one for one in ("Weak", "Partly", "Clearly") if f"{one}: the obj" in text]
    assert strength == word
    assert "so few" not in text


def test_what_is_favoured_is_said_by_its_sign() -> None:
    told = (0.9, 0.85, 0.95)
    both = {"exclamations": 1.25, "hedges": -0.5, "emoji": 0.125, "commas": -0.25}
    assert verdict(report(told, found=both)).startswith(
        "Other things equal, the aligned side favours more exclamation marks (exclamations +1.25); "
        "less hedging (hedges -0.50); more emoji (emoji +0.12); fewer commas (commas -0.25). "
    )
    against = {"insults": -1.0, "length": -0.5, "unfinished_end": -0.25}
    assert verdict(report(told, found=against)).startswith(
        "Other things equal, the aligned side favours fewer insults and swear words (insults "
        "-1.00); shorter texts (length -0.50); fewer texts that are cut off (unfinished_end "
        "-0.25). "
    )


def test_what_cannot_be_told_from_it_is_named() -> None:
    told = report((0.9, 0.85, 0.95), found={"hedges": 0.5})
    told["objectives"][1]["with"] = ["commas", "length", "emoji", "quotes", "code"]
    line = "(hedges +0.50, or what pairs cannot tell from it: commas, length, emoji and 2 more)"
    assert line in verdict(told)


def test_others_that_tell_more() -> None:
    told = (0.75, 0.71, 0.79)
    text = verdict(report(told, ngram=(0.78, 0.6, 0.8), log_ratio=(0.95, 0.9, 1.0)))
    assert "N-grams tell 78%: not all that differs is named." in text
    assert "The policies' own log-ratios tell 95%: not all that differs is named." in text
    assert "no more" not in text


def test_what_is_fitted_to_nothing_tells_more_of_few_pairs() -> None:
    """Of readers that are fitted to pairs, too, few pairs are no reason."""
    tells: dict[str, Told] = {"log_ratio": (0.93, 0.85, 1.0)}
    text = verdict(report((0.75, 0.6, 0.9), **tells))
    line = "own log-ratios tell 93%: not all that differs is named, or so few pairs do not say it."
    assert text.endswith(line)
    few, many = (0.6, 0.45, 0.75), (0.5, 0.46, 0.54)
    assert "the sides differ, but so few pairs do not say in what." in verdict(report(few, **tells))
    assert "that no objective names" in verdict(report(many, **tells))
    assert "that no objective names" in verdict(report(few, ngram=tells["log_ratio"]))
    assert strength(measured(few, found={}, **tells))["why"][1].endswith("do not say in what.")


def test_others_that_tell_no_more() -> None:
    """Of n-grams it is said; hidden states and log-ratios are named only where they tell more."""
    text = verdict(report(TOLD, ngram=(0.76, 0.6, 0.8), hidden_state=(0.76, 0.6, 0.8)))
    assert text.endswith("N-grams tell 76%, about as much.")
    assert "idden states" not in text
    assert verdict(report(TOLD, ngram=(0.75, 0.6, 0.8))).endswith("N-grams tell 75%, no more.")
    alone = verdict(report(TOLD, found={"length": 1.0}))
    assert alone.endswith("of 75 held-out pairs.")


def test_length_alone() -> None:
    same = '"The longer" alone tells 74%, about as much as all objectives together.'
    assert verdict(report(TOLD, length=0.74)).endswith(same)
    worse = '"The shorter" alone tells 78%: more than the recovered reward, which is worse than'
    assert worse in verdict(report(TOLD, length=0.78, longer=False))
    assert "alone tells" not in verdict(report(TOLD, length=0.72))
    assert "alone tells" not in verdict(report(CHANCE, length=0.6))


def test_minor_objectives_come_after_the_main_ones() -> None:
    made = report(TOLD, found={"length": 1.0, "commas": -0.1, "emoji": 0.2})
    for one in made["objectives"][2:]:
        one["main"] = False
    assert verdict(made).startswith(
        "Other things equal, the aligned side favours longer texts (length +1.00). To a minor "
        "degree it favours fewer commas (commas -0.10); more emoji (emoji +0.20). "
    )


def test_a_reader_that_is_beyond_chance_by_little_tells_nothing() -> None:
    little, much = (0.54, 0.502, 0.578), (0.56, 0.522, 0.598)
    assert "no objective names" not in verdict(report(CHANCE, ngram=little))
    assert "no objective names" in verdict(report(CHANCE, ngram=much))


FOUND = {"length": 1.0}


def measured(
    told: Told = (0.8, 0.75, 0.85),
    *,
    found: dict[str, float] | None = None,
    shuffled: float = 0.6,
    same: float = 0.9,
    length: float = 0.5,
    **others: Told,
) -> dict[str, Any]:
    """What the strength is read from."""
    made = report(told, found=FOUND if found is None else found, length=length, **others)
    made["controls"]["shuffled"] = {"value": 0.5, "low": 0.4, "high": shuffled}
    return made | {"agreement": {"same_side": same}, "null": {"critical": 0.25}}


def level(made: dict[str, Any]) -> str:
    return str(strength(made)["level"])


def test_strong_and_why() -> None:
    assert strength(measured()) == {
        "level": "strong",
        "sentence": "Other things equal, the aligned side favours longer texts. The objectives "
        "tell the two sides apart in 80% (95 % 75% to 85%) of 75 held-out pairs.",
        "why": [
            "The interval is above the 60% that fits to shuffled sides reach, and two runs prefer "
            "the same completion in 90% of pairs."
        ],
    }


@pytest.mark.parametrize(
    ("edge", "beyond"),
    [
        ({"told": (0.7, 0.65, 0.75)}, {"told": (0.699, 0.65, 0.75)}),
        ({"told": (0.8, 0.501, 0.9), "shuffled": 0.5}, {"told": (0.8, 0.5, 0.9), "shuffled": 0.4}),
        ({"shuffled": 0.749}, {"shuffled": 0.75}),
        ({"length": 0.82}, {"length": 0.821}),
        ({"same": 0.8}, {"same": 0.799}),
    ],
)
def test_each_edge_of_strong(edge: dict[str, Any], beyond: dict[str, Any]) -> None:
    assert level(measured(**edge)) == "strong"
    weak = strength(measured(**beyond))
    assert weak["level"] == "weak"
    assert len(weak["why"]) == 1


def test_below_chance_is_one_reason() -> None:
    weak = strength(measured((0.3, 0.2, 0.4)))
    assert weak["level"] == "weak"
    assert "less than chance: what was fitted does not carry over." in weak["why"][0]
    assert not any("below 70%" in why for why in weak["why"])


def test_nothing_and_why() -> None:
    """However well the sides are told apart."""
    by_chance = strength(measured(CHANCE, found={}))
    assert by_chance["level"] == "nothing"
    assert by_chance["why"] == [
        "No weight, with what pairs cannot tell from it, is beyond the null's largest (0.25) and "
        "of one sign over the runs."
    ]
    assert "none of which stands out" in strength(measured(found={}))["why"][1]
    others = strength(measured(CHANCE, found={}, ngram=(0.62, 0.55, 0.69)))
    assert others["why"][1].startswith(
        "N-grams tell 62% (95 % 55% to 69%): the sides differ in something that no objective names."
    )
    few = strength(measured((0.5, 0.4, 0.6), found={}))
    assert few["why"][1] == "So few pairs would not show a small difference."


def test_what_is_favoured() -> None:
    rows = [
        {"name": name, "weight": weight, "main": index < 4, "with": ["x"] * index}
        for index, (name, weight) in enumerate(
            {
                "length": -1,
                "emoji": 1,
                "hedges": -1,
                "code": 1,
                "commas": 0.1,
                "quotes": 0.1,
            }.items()
        )
    ]
    assert favoured(rows[:1]) == "shorter texts"
    assert favoured(rows) == (
        "shorter texts; more emoji (one of 2 objectives that pairs cannot tell apart); less "
        "hedging (one of 3 objectives that pairs cannot tell apart); and 1 more (and 2 "
        "minor ones)"
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_has_words_for_both_signs(name: str) -> None:
    more, less = in_words(name, 1), in_words(name, -1)
    assert more != less
    assert not re.search(r"fewer (more|\w*ing\b)", less)
    assert less.startswith(("less ", "fewer ", "shorter ", "a less ", "texts that are harder"))
