"""Every sentence of a verdict, from numbers that call for it and from the nearest that do not."""

from typing import Any

import pytest

from inverse_rlhf.evaluation.verdict import verdict

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
        "Other things equal, the aligned side favours longer (length +0.30). Weak: the objectives "
        "tell the two sides apart in 65% (95 % 60% to 69%) of 75 held-out pairs: little is to be "
        "had from these pairs."
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


def test_favours_and_disfavours() -> None:
    told = (0.9, 0.85, 0.95)
    both = {"exclamations": 1.25, "hedges": -0.5, "emoji": 0.125, "commas": -0.25}
    assert verdict(report(told, found=both)).startswith(
        "Other things equal, the aligned side favours more exclamation marks (exclamations +1.25); "
        "more emoji (emoji +0.12), and disfavours more hedging (hedges -0.50); more commas (commas "
        "-0.25). "
    )
    assert "disfavours" not in verdict(report(told, found={"hedges": 0.5}))
    assert " favours" not in verdict(report(told, found={"hedges": -0.5}))


def test_what_cannot_be_told_from_it_is_named() -> None:
    told = report((0.9, 0.85, 0.95), found={"hedges": 0.5})
    told["objectives"][1]["with"] = ["commas", "length", "emoji", "quotes", "code"]
    line = "(hedges +0.50, or what pairs cannot tell from it: commas, length, emoji and 2 more)"
    assert line in verdict(told)


def test_others_that_tell_more() -> None:
    text = verdict(report(TOLD, ngram=(0.78, 0.6, 0.8), log_ratio=(0.95, 0.9, 1.0)))
    assert "N-grams tell 78%: not all that differs is named." in text
    assert "The policies' own log-ratios tell 95%: not all that differs is named." in text
    assert "no more" not in text


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
        "Other things equal, the aligned side favours longer (length +1.00). Much less than that, "
        "it favours more emoji (emoji +0.20), and disfavours more commas (commas -0.10). "
    )


def test_a_reader_that_is_beyond_chance_by_little_tells_nothing() -> None:
    little, much = (0.54, 0.502, 0.578), (0.56, 0.522, 0.598)
    assert "no objective names" not in verdict(report(CHANCE, ngram=little))
    assert "no objective names" in verdict(report(CHANCE, ngram=much))
