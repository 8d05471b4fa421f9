"""The closed loop's verdict, at each edge of its rules."""

from typing import Any

import pytest

from inverse_rlhf.evaluation.answer import AGREED, STRONG, answer

SMALL = 1e-9


def row(low: float, value: float, high: float) -> dict[str, float]:
    return {"median": value, "low": low, "high": high}


def rewards(
    auc: tuple[float, float, float] | None = (0.9, 0.95, 0.97),
    told: tuple[float, float, float] = (0.7, 0.75, 0.8),
    *,
    kappa: float | None = 0.95,
    **controls: dict[str, tuple[float, float]],
) -> dict[str, Any]:
    """The content of metrics/reward.json: controls as low and high by measure."""
    known: dict[str, dict[str, tuple[float, float]]] = {
        "shuffled": {"roc_auc": (0.4, 0.6), "discrimination": (0.4, 0.6)},
        "length": {"roc_auc": (0.45, 0.5), "discrimination": (0.45, 0.5)},
        **controls,
    }
    tables = {
        name: {measure: row(low, (low + high) / 2, high) for measure, (low, high) in table.items()}
        for name, table in known.items()
    }
    test = {"discrimination": row(*told)} | ({} if auc is None else {"roc_auc": row(*auc)})
    agreement = {} if kappa is None else {"label_kappa": kappa}
    return {"runs": 3, "test": test, "controls": tables, "agreement": agreement}


def verdict(*figures: Any, **facts: Any) -> str:
    return answer(rewards(*figures, **facts)).verdict


def test_the_sentence_has_the_figure_and_its_interval() -> None:
    found = answer(rewards())
    assert found.verdict == "strong"
    assert "95.0%" in found.sentence
    assert "ROC-AUC 0.950, 95 % interval 0.900 to 0.970" in found.sentence
    assert found.sentence.count(". ") == 0
    assert "the best of them, the same fit to pairs with shuffled sides, reaches 0.600" in " ".join(
        found.why
    )


@pytest.mark.parametrize("beyond", [0.0, SMALL])
def test_nothing_unless_wholly_above_the_shuffled_control(beyond: float) -> None:
    expected = "strong" if beyond else "nothing"
    auc = rewards((0.6 + beyond, 0.95, 0.97))
    assert answer(auc).verdict == expected
    told = rewards(told=(0.6 + beyond, 0.75, 0.8))
    assert answer(told).verdict == expected
    assert len(answer(auc).why) >= 1


def test_without_the_control_chance_is_the_edge() -> None:
    def found(low: float) -> str:
        known = rewards((low, 0.95, 0.97)) | {"controls": {}}
        return answer(known).verdict

    assert [found(0.5), found(0.5 + SMALL)] == ["nothing", "strong"]


def test_the_reverse_order_is_nothing() -> None:
    found = answer(rewards((0.02, 0.05, 0.1)))
    assert found.verdict == "nothing"
    assert found.why == [
        "The ROC-AUC is 0.050 (0.020 to 0.100), below one half: the reward is the wrong way round."
    ]


@pytest.mark.parametrize("name", ["random_head", "length", "base_loglik"])
def test_weak_where_another_control_reaches_as_far(name: str) -> None:
    for low, high in ((0.5, 0.9), (0.1, 0.5)):  # in either direction
        assert verdict(**{name: {"roc_auc": (low, high)}}) == "weak"
    assert verdict(**{name: {"roc_auc": (0.5, 0.9 - SMALL)}}) == "strong"


def test_weak_where_the_figure_is_small() -> None:
    edge = STRONG["roc_auc"]
    assert verdict((0.7, edge, 0.97)) == "strong"
    assert verdict((0.7, edge - SMALL, 0.97)) == "weak"


def test_weak_where_runs_disagree() -> None:
    assert verdict(kappa=AGREED) == "weak"
    assert verdict(kappa=AGREED + SMALL) == "strong"
    assert verdict(kappa=None) == "strong"


def test_one_label_only_is_judged_by_the_pairs() -> None:
    found = answer(rewards(None))
    assert found.verdict == "strong"
    assert "75.0% of test pairs" in found.sentence
    assert "no ROC-AUC" in found.sentence
    edge = STRONG["discrimination"]
    assert verdict(None, (0.62, edge - SMALL, 0.7)) == "weak"
    assert verdict(None, (0.6, 0.7, 0.8)) == "nothing"


def test_every_verdict_but_strong_says_why() -> None:
    for known in (rewards((0.6, 0.7, 0.8)), rewards(kappa=0.1), rewards((0.7, 0.75, 0.8))):
        found = answer(known)
        assert found.verdict != "strong"
        assert found.why
        assert all(reason.endswith(".") for reason in found.why)


def test_texts_are_called_what_the_true_reward_calls_them() -> None:
    assert "one toxic by the true reward" in answer(rewards()).sentence
    assert "one low by the true reward" in answer(rewards(), low="low").sentence
