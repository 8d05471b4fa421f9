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
        {"name": name, "weight": weight, "found": True} for name, weight in (found or {}).items()
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


def test_nothing_found_and_chance() -> None:
    assert verdict(report(CHANCE, ngram=(0.51, 0.45, 0.57))) == (
        "No objective was found. In all, the objectives tell the two sides apart in 50% (95 % 46% "
        "to 54%) of 75 held-out pairs, which is chance."
    )


def test_chance_of_few_pairs_says_so() -> None:
    line = "which is chance; so few pairs would not show a small difference."
    assert line in verdict(report((0.5, 0.40, 0.60)))
    assert "so few pairs" not in verdict(report((0.5, 0.45, 0.54)))


def test_a_low_end_of_one_half_is_chance() -> None:
    assert "which is chance" in verdict(report((0.6, 0.5, 0.7)))
    assert "which is chance" not in verdict(report((0.6, 0.501, 0.7)))


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
        "(95 % 46% to 54%) of 75 held-out pairs, which is chance; hidden states tell 70% (95 % "
        "60% to 80%): the sides differ in something that no objective names."
    )
    assert "n-grams tell 62%" in verdict(report(CHANCE, ngram=(0.62, 0.55, 0.69)))


def test_weak() -> None:
    text = verdict(report((0.57, 0.53, 0.61), found={"length": 0.3}, length=0.5))
    assert text == (
        "The aligned side moved towards longer (length +0.30). Weak: the objectives tell the two "
        "sides apart in 57% (95 % 53% to 61%) of 75 held-out pairs, hardly more than chance."
    )
    assert "; so few pairs would" in verdict(report((0.59, 0.51, 0.67)))


@pytest.mark.parametrize(
    ("value", "word"), [(0.599, "Weak"), (0.6, "Partly"), (0.799, "Partly"), (0.8, "Clearly")]
)
def test_strength(value: float, word: str) -> None:
    text = verdict(report((value, value - 0.02, value + 0.02), found={"length": 1.0}))
    (strength,) = [one for one in ("Weak", "Partly", "Clearly") if f"{one}: the obj" in text]
    assert strength == word
    assert "so few" not in text


def test_towards_and_away_from() -> None:
    told = (0.9, 0.85, 0.95)
    both = {"exclamations": 1.25, "hedges": -0.5, "emoji": 0.125, "commas": -0.25}
    assert verdict(report(told, found=both)).startswith(
        "The aligned side moved towards more exclamation marks (exclamations +1.25); more emoji "
        "(emoji +0.12), and away from more hedging (hedges -0.50); more commas (commas -0.25). "
    )
    towards = verdict(report(told, found={"hedges": 0.5}))
    assert towards.startswith("The aligned side moved towards more hedging (hedges +0.50). ")
    assert "away" not in towards
    away = verdict(report(told, found={"hedges": -0.5}))
    assert away.startswith("The aligned side moved away from more hedging (hedges -0.50). ")
    assert "towards" not in away


def test_others_that_tell_more() -> None:
    told = (0.7, 0.65, 0.75)
    text = verdict(report(told, ngram=(0.73, 0.6, 0.8), log_ratio=(0.95, 0.9, 1.0)))
    assert "N-grams tell 73%: not all that differs is named." in text
    assert "The policies' own log-ratios tell 95%: not all that differs is named." in text
    assert "no more than that" not in text


def test_others_that_tell_no_more() -> None:
    """Of n-grams it is said; hidden states and log-ratios are named only where they tell more."""
    told = (0.7, 0.65, 0.75)
    text = verdict(report(told, ngram=(0.71, 0.6, 0.8), hidden_state=(0.71, 0.6, 0.8)))
    assert text.endswith("N-grams tell 71%, no more than that.")
    assert "idden states" not in text
    assert "not all that differs" not in text
    assert verdict(report(told)).endswith("of 75 held-out pairs.")


def test_length_alone() -> None:
    told = (0.7, 0.65, 0.75)
    line = '"The longer" alone tells 69%: little is known beside length.'
    assert verdict(report(told, length=0.69)).endswith(line)
    assert '"The shorter" alone tells 75%' in verdict(report(told, length=0.75, longer=False))
    assert "beside length" not in verdict(report(told, length=0.67))
    assert "beside length" not in verdict(report(CHANCE, length=0.6))
