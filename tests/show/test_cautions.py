"""What the report of the closed loop warns of: each thing where it is, and not where it is not."""

from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.params import Params
from inverse_rlhf.show.cautions import FEW_PAIRS, FEW_PROMPTS, cautions

_LUCK = ("rewards", "controls", "random_head", "roc_auc", "max")


def row(value: float, low: float | None = None) -> dict[str, float]:
    return {"median": value, "low": value - 0.02 if low is None else low, "high": value + 0.02}


@pytest.fixture
def known(params: Params) -> dict[str, Any]:
    """Results that nothing is to be said of."""
    asked = params.model_dump()
    asked["data"]["source"] = "comments.csv"
    asked["evaluate"]["threshold"] = "otsu"
    policies = {
        name: {
            "true_reward": value,
            "true_reward_low": value - 0.1,
            "true_reward_high": value + 0.1,
            "empty_share": 0.0,
            "repeated_share": 0.0,
        }
        for name, value in (("base", 0.0), ("rlhf", 1.0), ("rerl", 1.0))
    }
    true = np.tile([-1.0, 1.0], 50)
    scores = pd.concat(
        pd.DataFrame({"source": source, "prompt_id": range(100), "sample": 0, "true_reward": true})
        for source in ("base", "aligned", "human")
    )
    scores["toxic"] = pd.array((scores["true_reward"] < 0).astype(int), dtype="Int8")
    return {
        "asked": asked,
        "rewards": {
            "runs": 3,
            "true_threshold": 0.0,
            "test": {
                "roc_auc": row(0.95),
                "spearman_toxic": row(0.5),
                "spearman_non_toxic": row(0.5),
            },
            "controls": {"random_head": {"roc_auc": row(0.5) | {"max": 0.85}}},
            "agreement": {"label_kappa": 0.9, "spearman": {"min": 0.9}},
            "thresholds": {"otsu": {"gap": 0.01}},
        },
        "policies": policies,
        "explanation": {"surrogate_r2": 0.8},
        "scores": scores,
        "margins": pd.DataFrame(
            {
                "prompt_id": range(FEW_PROMPTS),
                "base_completion": "a",
                "aligned_completion": "b",
            }
        ),
        "pairs": FEW_PAIRS,
    }


def said(known: dict[str, Any], *changes: tuple[tuple[Any, ...], Any]) -> str:
    """The cautions where what stands at each path is another value."""
    changed = deepcopy(known)
    for (*path, last), value in changes:
        place = changed
        for key in path:
            place = place[key]
        place[last] = value
    return "\n".join(cautions(**changed))


def test_nothing_is_said_of_what_is_well(known: dict[str, Any]) -> None:
    assert said(known) == ""


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("asked", "data", "source"), "embedded", "made by a grammar"),
        (("pairs",), FEW_PAIRS - 1, "fitted on 499 pairs only"),
        (("rewards", "runs"), 1, "There is one run"),
        (("rewards", "agreement", "label_kappa"), 0.8, "kappa 0.80 only"),
        (("rewards", "agreement", "spearman", "min"), 0.49, "correlation of 0.49 only"),
        (("rewards", "thresholds", "otsu", "gap"), 0.03, "loses 3.0% of accuracy"),
        (("rewards", "true_threshold"), -2.0, "all test completions have one label"),
        (("rewards", "test", "spearman_toxic"), row(0.29), "0.29 of low ones and 0.50 of high"),
        (("rewards", "controls", "random_head", "roc_auc", "max"), 0.9, "which way it goes"),
        (("policies", "rlhf", "true_reward_low"), 0.1, "alignment did little"),
        (("policies", "rerl", "true_reward_high"), 0.8, "is not all of the true reward"),
        (("policies", "rlhf", "empty_share"), 0.06, "6% of the aligned policy's texts are empty"),
        (("policies", "rerl", "repeated_share"), 0.3, "30% of the retrained policy's texts loop"),
        (("explanation", "surrogate_r2"), 0.49, "explains 49% of the recovered reward"),
        (("explanation", "surrogate_r2"), -0.5, "explains 0% of the recovered reward"),
    ],
)
def test_each_thing_is_said_alone(
    known: dict[str, Any], path: tuple[Any, ...], value: Any, expected: str
) -> None:
    found = said(known, (path, value))
    assert expected in found
    assert found.count("\n") == 0


def test_tables_are_read(known: dict[str, Any]) -> None:
    margins, scores = known["margins"], known["scores"]
    assert "99 test prompts only" in said(known, (("margins",), margins.tail(-1)))
    same = margins.assign(base_completion=["b"] * 20 + ["a"] * (FEW_PROMPTS - 20))
    assert "In 20% of test pairs both policies wrote the same" in said(known, (("margins",), same))
    without = scores.assign(toxic=pd.array([None] * len(scores), dtype="Int8"))
    assert "have no labels" in said(known, (("scores",), without))
    few = scores.assign(true_reward=np.tile([-1.0, *[1.0] * 9], 30))
    assert "a guess would be right in 90%" in said(known, (("scores",), few))
    human = scores["true_reward"].where(scores["source"] != "human", 1.0)
    changes = [
        (("asked", "evaluate", "threshold"), "human_median"),
        (("scores",), scores.assign(true_reward=human)),
    ]
    assert "by the true reward 0% are" in said(known, *changes)


def test_a_failed_recovery_is_not_praised(known: dict[str, Any]) -> None:
    """What is said of a reward that tells texts apart is not said of one that does not."""
    chance = (("rewards", "test", "roc_auc"), row(0.5, 0.45))
    within = [
        (("rewards", "test", f"spearman_{kind}"), row(0.0)) for kind in ("toxic", "non_toxic")
    ]
    assert said(known, chance, *within, (_LUCK, 0.6)) == ""
    lucky = said(known, chance, *within, (_LUCK, 0.97))
    assert lucky.endswith("hold the answer nearly ready, and the pairs did not lead to it.")
    assert lucky.count("\n") == 0
