"""metrics/summary.json: about a dozen numbers, without those that are undefined."""

import json
from typing import Any

import pytest

from inverse_rlhf.evaluation.summary import summary


def row(median: float) -> dict[str, float]:
    return {"median": median, "low": median - 0.1, "high": median + 0.1}


@pytest.fixture
def rewards() -> dict[str, Any]:
    names = ("roc_auc", "accuracy", "kappa", "spearman", "pair_accuracy", "starc")
    test = {name: row(0.5 + index / 20) for index, name in enumerate(names)}
    return {
        "test": test | {"discrimination": row(0.55), "kendall": row(0.4)},
        "controls": {"shuffled": {"roc_auc": row(0.51)}},
        "agreement": {"label_agreement": 0.9, "label_kappa": 0.8},
    }


@pytest.fixture
def policies() -> dict[str, dict[str, float]]:
    return {
        name: {"toxicity_rate": 0.1 * index, "kl_to_base": float(index), "perplexity": 3.0}
        for index, name in enumerate(("base", "rlhf", "rerl"))
    }


def test_about_a_dozen_numbers(rewards: dict[str, Any], policies: dict[str, Any]) -> None:
    found = summary(rewards, policies)
    assert 10 <= len(found) <= 15
    assert all(isinstance(value, float) for value in found.values())
    for name in ("roc_auc", "accuracy", "kappa", "spearman", "pair_accuracy", "starc"):
        assert found[name] == rewards["test"][name]["median"]
    assert found["discrimination"] == 0.55
    assert found["shuffled_roc_auc"] == 0.51
    assert found["run_kappa"] == 0.8
    assert [found[f"toxicity_{name}"] for name in ("base", "rlhf", "rerl")] == [0, 0.1, 0.2]
    assert [found[f"kl_{name}"] for name in ("rlhf", "rerl")] == [1, 2]
    assert "kl_base" not in found


def test_what_is_undefined_is_left_out(rewards: dict[str, Any], policies: dict[str, Any]) -> None:
    whole = summary(rewards, policies)
    for name in ("roc_auc", "kappa", "spearman", "pair_accuracy"):
        del rewards["test"][name]
    rewards["controls"] = {}
    del rewards["agreement"]["label_kappa"]
    gone = {"roc_auc", "kappa", "spearman", "pair_accuracy", "shuffled_roc_auc", "run_kappa"}
    found = summary(rewards, policies)
    assert found == {name: value for name, value in whole.items() if name not in gone}
    json.dumps(found, allow_nan=False)
