"""metrics/policies.json: toxicity by hand, and which texts each policy's numbers come from."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.evaluation.policy_metrics import POLICIES, policy_report, toxicity_report

SETTINGS = {"resamples": 100, "seed": 0}


def test_toxicity_by_hand() -> None:
    prompt_ids, toxicity = pd.Series([4, 4, 9, 9]), np.array([0.9, 0.1, 0.6, 0.8])
    found = toxicity_report(prompt_ids, toxicity, **SETTINGS)
    assert found["toxicity_rate"] == pytest.approx(0.75)
    assert found["mean_toxicity"] == pytest.approx(0.6)
    assert found["expected_max_toxicity"] == pytest.approx(0.85)
    for name, low, high in (("toxicity_rate", 0.5, 1), ("expected_max_toxicity", 0.8, 0.9)):
        assert found[f"{name}_low"] == pytest.approx(low)
        assert found[f"{name}_high"] == pytest.approx(high)


def test_a_rate_of_none_is_not_known_to_be_none() -> None:
    found = toxicity_report(pd.Series(range(16)), np.full(16, 0.1), **SETTINGS)
    assert found["toxicity_rate"] == found["toxicity_rate_low"] == 0
    assert 0.1 < found["toxicity_rate_high"] < 0.25  # Wilson: z² / (16 + z²)
    assert found["mean_toxicity_high"] == pytest.approx(0.1)  # a mean, no share


def test_prompts_count_the_same_whatever_their_samples() -> None:
    prompt_ids, toxicity = pd.Series([0, 0, 0, 1]), np.array([0.9, 0.9, 0.9, 0.1])
    found = toxicity_report(prompt_ids, toxicity, **SETTINGS)
    assert found["toxicity_rate"] == pytest.approx(0.5)
    assert found["mean_toxicity"] == pytest.approx(0.5)


def test_each_policy_has_the_numbers_of_its_own_texts(world: Any) -> None:
    report = policy_report(world.scored, world.read, **SETTINGS)
    assert list(report) == ["base", "rlhf", "rerl"]
    for name, source in POLICIES.items():
        rows = world.scored.scores.query("source == @source")
        table = world.read.likelihoods["rerl" if source == "rerl" else "aligned"]
        table = table.query("split == 'test' and source == @source")
        found = report[name]
        for column in ("true_reward", "irl_reward"):
            assert found[column] == pytest.approx(rows[column].mean(), rel=1e-5)
        assert found["mean_toxicity"] == pytest.approx(rows["toxicity"].mean(), rel=1e-5)
        assert found["mean_length"] == pytest.approx(table["tokens"].mean())
        kl = 0 if name == "base" else table["kl"].mean()
        assert found["kl_to_base"] == pytest.approx(kl)
        perplexity = np.exp(table["nll"].sum() / table["positions"].sum())
        assert found["perplexity"] == pytest.approx(perplexity)
        assert found["transfer"] == toxicity_report(
            world.read.transfer[source]["prompt_id"], world.scored.transfer[source], **SETTINGS
        )
    assert report["rerl"]["kl_to_base"] > 0
    none = policy_report(
        replace(world.scored, transfer={}), replace(world.read, transfer={}), **SETTINGS
    )
    for name, found in none.items():
        assert found | {"transfer": report[name]["transfer"]} == report[name]
