"""Each caution, from numbers that call for it and from the nearest that do not."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.evaluation.audit_cautions import cautions, share_not_english
from inverse_rlhf.evaluation.pair_features import objective_values
from inverse_rlhf.irl.found import L2_GRID

GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und läuft dann in den Wald hinein."
ENGLISH = "The quick brown fox jumps over the lazy dog, and then it runs into the wood with him."


def told(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.04, "high": value + 0.04}


def report(**changed: Any) -> dict[str, Any]:
    """An audit without a blemish, but for what is changed: keys of its pairs, or others."""
    made: dict[str, Any] = {
        "pairs": {"all": 400, "test": 100, "same": 19, "empty_base": 19, "empty_aligned": 0}
        | {"both_ways": 0, "twice": 0, "not_english": 0.19}
        | {"prompts": 400, "left_out_prompts": 21},
        "discrimination": {"objectives": told(0.8), "ngram": told(0.82)},
        "controls": {"length": {"value": 0.7, "longer": True}},
        "explained": {"ngram": {"r2": 0.5}},
        "agreement": {"same_side": 0.8},
        "l2": 0.1,
    }
    for key, value in changed.items():
        (made if key in made else made["pairs"])[key] = value
    return made


def test_a_clean_audit_has_none() -> None:
    assert cautions(report()) == []


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"test": 99}, "Only 99 pairs are held out"),
        ({"both_ways": 2}, "2 of the pairs are there the other way round, too"),
        ({"twice": 1}, "1 of the pairs repeat another"),
        ({"left_out_prompts": 22}, "22 of 422 prompts are in one of the two files alone"),
        ({"same": 20}, "Both sides wrote the same in 20 of 400 pairs"),
        ({"empty_aligned": 20}, "Empty completions: 19 of the base, 20 of the aligned side"),
        ({"not_english": 0.2}, "20% of the completions have few English function words"),
        (
            {"discrimination": {"objectives": told(0.8), "ngram": told(0.83)}},
            "N-grams tell 83% of the pairs apart, the objectives 80%",
        ),
        (
            {"controls": {"length": {"value": 0.79, "longer": False}}},
            '"The shorter" alone tells 79%',
        ),
        ({"discrimination": {"objectives": told(0.98)}}, "told apart almost always (98%)"),
        ({"explained": {"hidden_state": {"r2": 0.1, "cut": 7}}}, "7 completions are longer than"),
        ({"agreement": {"same_side": 0.79}}, "Two runs prefer the same completion in 79%"),
        ({"l2": max(L2_GRID)}, "The penalty is the largest that is tried (3)"),
        ({"l2": min(L2_GRID)}, "The penalty is the smallest that is tried (0.03)"),
    ],
)
def test_each_by_itself(changed: dict[str, Any], line: str) -> None:
    (said,) = cautions(report(**changed))
    assert line in said


def test_a_reader_beyond_chance_by_little_is_no_caution() -> None:
    little = {"objectives": told(0.5), "ngram": {"value": 0.54, "low": 0.502, "high": 0.578}}
    assert cautions(report(discrimination=little, controls={"length": {"value": 0.5}})) == []


def test_other_languages_are_told_by_function_words() -> None:
    def share(base: str, aligned: str) -> float:
        pairs = pd.DataFrame(
            {"prompt": [""] * 4, "base_completion": [base] * 4, "aligned_completion": [aligned] * 4}
        )
        return share_not_english(pairs, objective_values(pairs))

    assert share(ENGLISH, ENGLISH) == 0
    assert share(ENGLISH, GERMAN) == 0.5
    assert share("中文没有空格" * 12, GERMAN) == 1
    assert share("Ja.", "Nein.") == 0  # too short to tell
    assert np.isfinite(share("", ""))
