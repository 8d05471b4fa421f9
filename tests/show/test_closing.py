"""Closing lines: three to five a stage, good or weak as the figures say, and where to look next."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.show import closing
from tests.show.reports import rewards

CONTROLS = ("shuffled", "random_head", "length", "base_loglik")


def prepared(toxic: float) -> list[str]:
    prompts = pd.DataFrame(
        {"split": ["rl", "irl", "valid"] * 4 + ["test"] * 20, "toxic": [0, 1] * 6 + [0] * 20}
    )
    prompts.loc[prompts.index[12 : 12 + round(20 * toxic)], "toxic"] = 1
    return closing.prepare_data({"comments": 24000, "toxic_share": 0.5}, prompts)


def base_policy(*, trained: bool) -> list[str]:
    facts = {"valid_loss": 1.03, "steps": 4230, "seconds": 107.8} if trained else {}
    return closing.base_policy({"parameters": 857216} | facts)


def true_reward(accuracy: float, tfidf: float) -> list[str]:
    facts = {"parameters": 692482, "accuracy": accuracy, "roc_auc": 0.99, "tfidf_accuracy": tfidf}
    return closing.true_reward(facts)


def trained(end: float, **kl: float) -> list[str]:
    curve = pd.DataFrame({"reward": np.linspace(0, end, 40)})
    facts = {"steps": 40, "seconds": 26.6, "final_length": 21.5} | kl
    return closing.policy_training("rlhf", facts, curve)


def sampled(same: int) -> list[str]:
    base = [f"word {number}" for number in range(10)]
    aligned = base[:same] + ["another one here"] * (10 - same)
    pairs = pd.DataFrame(
        {"prompt_id": np.arange(10) // 2, "base_completion": base, "aligned_completion": aligned}
    )
    return closing.generate_pairs(pairs, 12.3)


def recovered(fit: float, shuffled: float | None, reward: int | str = 25) -> list[str]:
    found = {"fit": {"median": fit, "min": fit - 0.01, "max": fit + 0.01}}
    if shuffled is not None:
        found["shuffled"] = {"median": shuffled - 0.1, "min": 0.4, "max": shuffled}
    facts = {"runs": 50, "seconds": 7.5, "reward": reward, "valid_discrimination": found}
    return closing.maxmargin_irl(facts)


def evaluated(
    auc: float | None,
    controls: dict[str, tuple[float, float]],
    *,
    within: bool = True,
    kappa: float | None = 0.95,
) -> list[str]:
    """A report in which `auc` is the lower end of the runs' interval, None: undefined."""
    summary = {"accuracy": 0.91} | {f"toxicity_{name}": 0.4 for name in ("base", "rlhf", "rerl")}
    test: dict[str, Any] = {"accuracy": {"median": 0.91}}
    if auc is not None:
        test["roc_auc"] = {"median": auc + 0.02, "low": auc, "high": auc + 0.04}
        summary["roc_auc"] = auc + 0.02
    if within:
        summary["spearman"] = 0.8
        test |= {f"spearman_{kind}": {"median": 0.3} for kind in ("toxic", "non_toxic")}
    if kappa is not None:
        summary["run_kappa"] = kappa
    ends = {name: controls.get(name, (0.45, 0.5)) for name in CONTROLS}
    tables = {
        name: {} if auc is None else {"roc_auc": {"low": low, "high": high}}
        for name, (low, high) in ends.items()
    }
    return closing.evaluate(summary, {"test": test, "controls": tables})


def judged(auc: float, controls: dict[str, tuple[float, float]]) -> list[str]:
    """The same without what is said of the runs."""
    return evaluated(auc, controls, kappa=None)


def doubtful() -> dict[str, Any]:
    """A report of all reasons for doubt there are."""
    found = rewards(found=0.7)
    found["controls"]["length"]["roc_auc"] |= {"low": 0.6, "high": 0.9}
    found["agreement"]["label_kappa"] = 0.5
    return found


PROMPTS = pd.DataFrame({"split": ["rl", "irl", "valid", "test"], "toxic": [1, 0, 1, 0]})
LEFT_OUT = {
    "comments": 9,
    "toxic_share": 0.5,
    "left_out_contradictory": 4,
    "left_out_repeated": 0,
    "left_out_long": 1,
}
ALL: dict[str, Callable[[], list[str]]] = {
    "prepare_data": lambda: prepared(0.5),
    "prepare_data without labels": lambda: closing.prepare_data({"comments": 9}, PROMPTS),
    "prepare_data with much left out": lambda: closing.prepare_data(LEFT_OUT, PROMPTS),
    "base_policy trained": lambda: base_policy(trained=True),
    "base_policy given": lambda: base_policy(trained=False),
    "true_reward": lambda: true_reward(0.99, 0.95),
    "rlhf_train": lambda: trained(1.0, final_kl=1.06),
    "rlhf_train without KL": lambda: trained(1.0),
    "generate_pairs": lambda: sampled(1),
    "maxmargin_irl": lambda: recovered(0.78, 0.55),
    "maxmargin_irl ensemble": lambda: recovered(0.78, 0.55, "ensemble"),
    "maxmargin_irl without controls": lambda: recovered(0.78, None),
    "evaluate": lambda: evaluated(0.9, {}),
    "evaluate one class": lambda: evaluated(None, {}, within=False, kappa=None),
    "evaluate one class, runs differ": lambda: evaluated(None, {}, within=False),
    "report strong": lambda: closing.report(rewards(), "toxic"),
    "report weak": lambda: closing.report(doubtful(), "low"),
    "report nothing": lambda: closing.report(rewards(found=0.5), "toxic"),
}


@pytest.mark.parametrize("name", ALL)
def test_three_to_five_lines_and_where_to_look_next(name: str) -> None:
    lines = ALL[name]()
    assert 3 <= len(lines) <= 5
    assert all(line.strip() and "\n" not in line for line in lines)
    assert not any("nan" in line.split() for line in lines)
    assert [line.startswith("next: ") for line in lines] == [False] * (len(lines) - 1) + [True]


@pytest.mark.parametrize(
    ("good", "weak"),
    [
        (lambda: true_reward(0.99, 0.95), lambda: true_reward(0.95, 0.949)),
        (lambda: trained(1.0), lambda: trained(0.1)),
        (lambda: trained(1.0), lambda: trained(-1.0)),
        (lambda: recovered(0.78, 0.55), lambda: recovered(0.54, 0.55)),
        (
            lambda: judged(0.9, {"shuffled": (0, 0.6)}),
            lambda: judged(0.6, {"shuffled": (0.5, 0.7)}),
        ),
        (lambda: judged(0.9, {"length": (0.7, 0.8)}), lambda: judged(0.9, {"length": (0.08, 0.1)})),
        (lambda: judged(0.9, {}), lambda: judged(0.9, {"random_head": (0.4, 0.95)})),
        (lambda: evaluated(None, {}), lambda: evaluated(None, {}, kappa=0.4)),
    ],
    ids=["classifier", "flat", "fell", "discrimination", "shuffled", "length", "random", "runs"],
)
def test_good_or_weak_as_the_figures_say(
    good: Callable[[], list[str]], weak: Callable[[], list[str]]
) -> None:
    for word, other, lines in (("good", "weak", good()), ("weak", "good", weak())):
        assert sum(f"; {word}" in line for line in lines) == 1, lines
        assert not any(f"; {other}" in line for line in lines), lines


def test_policies_that_wrote_the_same_are_named() -> None:
    assert any("; weak" in line for line in sampled(9))
    assert not any("weak" in line or "good" in line for line in sampled(1))


def test_a_classifier_below_words_is_named() -> None:
    assert any("words alone tell more" in line for line in true_reward(0.6, 0.9))


def test_unbalanced_prompts_are_named() -> None:
    assert any("50% toxic, balanced" in line for line in prepared(0.5))
    for toxic in (0.1, 0.95):
        assert any("unbalanced: look at balanced_accuracy" in line for line in prepared(toxic))


def test_lines_have_the_figures() -> None:
    assert "split: irl 4, rl 4, test 20, valid 4" in "\n".join(prepared(0.5))
    lines = "\n".join(trained(1.0, final_kl=1.06))
    assert "in 40 steps (27 s)" in lines
    assert "1.06 nats" in lines
    assert "not measured (kl_coef 0)" in "\n".join(trained(1.0))
    assert "10 pairs of 5 prompts in 12 s" in "\n".join(sampled(2))
    assert "the same in 20.0% of them" in "\n".join(sampled(2))
    assert "exported: run 25" in "\n".join(recovered(0.78, 0.55))
    assert "exported: ensemble" in "\n".join(recovered(0.78, 0.55, "ensemble"))
    assert "78.0% of valid pairs apart (77.0% to 79.0%)" in "\n".join(recovered(0.78, 0.55))
    lines = "\n".join(evaluated(0.9, {}))
    assert "ROC-AUC 0.920 (95 % 0.900 to 0.940), accuracy 0.910" in lines
    assert "kappa 0.95" in lines
    assert "base 0.400 -> aligned 0.400 -> rerl 0.400" in lines
    said = closing.report(doubtful(), "low")
    assert said[0].startswith("weak: ")
    assert "one low by the true reward" in said[0]
    assert len(said) == 5  # a line for each of three reasons


def test_no_area_under_the_curve_is_no_crash() -> None:
    lines = evaluated(None, {}, within=False, kappa=None)
    assert any(line.startswith("toxicity: base 0.400") for line in lines)
    assert not any("ROC-AUC 0" in line for line in lines)


def test_what_is_left_out_of_the_data_is_said() -> None:
    lines = closing.prepare_data(LEFT_OUT, PROMPTS)
    assert lines[1] == "left out: 4 rows of texts with both labels, 1 prompts beyond the context"
    assert not any("left out" in line for line in prepared(0.5))
    assert "9 comments, without labels" in closing.prepare_data({"comments": 9}, PROMPTS)[0]
