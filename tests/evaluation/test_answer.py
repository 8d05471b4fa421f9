"""The closed loop's verdict, at each edge of its rules."""

from typing import Any

import numpy as np
import pytest

from inverse_rlhf.evaluation.answer import AGREED, FARTHEST, HALF, STRONG, answer
from inverse_rlhf.measures.distance import starc_distance

SMALL = 1e-9


def row(low: float, value: float, high: float) -> dict[str, float]:
    return {"median": value, "low": low, "high": high}


def rewards(
    auc: tuple[float, float, float] | None = (0.9, 0.95, 0.97),
    told: tuple[float, float, float] = (0.7, 0.75, 0.8),
    *,
    kappa: float | None = 0.95,
    order: dict[str, tuple[float, float, float]] | None = None,
    **controls: dict[str, tuple[float, float]],
) -> dict[str, Any]:
    """The content of metrics/reward.json: controls as low and high by measure.

    Args:
        order: further measures of the recovered reward.
    """
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
    test |= {name: row(*ends) for name, ends in (order or {}).items()}
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


def test_the_sentence_says_both_what_is_told_apart_and_how_far_the_order_agrees() -> None:
    order = {
        "starc": (0.15, 0.16, 0.17),
        "spearman_toxic": (0.2, 0.36, 0.4),
        "spearman_non_toxic": (0.4, 0.45, 0.5),
    }
    found = answer(rewards(order=order))
    assert found.verdict == "strong"
    assert "the true reward's labels, and in part its order among texts of one label" in (
        found.sentence
    )
    assert "ROC-AUC 0.950" in found.sentence
    assert "STARC distance of 0.160 (0.150 to 0.170)" in found.sentence
    assert "0.36 (0.20 to 0.40) among toxic texts and 0.45 (0.40 to 0.50) among other texts" in (
        found.sentence
    )
    assert found.sentence.count(". ") == 0


@pytest.mark.parametrize("value", [HALF, HALF - SMALL])
def test_the_whole_reward_is_back_where_order_within_labels_is(value: float) -> None:
    order = {"spearman_toxic": (0.6, value, 0.9), "spearman_non_toxic": (0.7, 0.8, 0.9)}
    whole = "give back the true reward:" in answer(rewards(order=order)).sentence
    assert whole == (value == HALF)


def test_weak_where_the_values_are_far_from_the_true_ones() -> None:
    assert verdict(order={"starc": (0.3, FARTHEST, 0.4)}) == "strong"
    far = answer(rewards(order={"starc": (0.3, FARTHEST + SMALL, 0.4)}))
    assert far.verdict == "weak"
    assert "beyond 0.383" in far.why[0]


def test_weak_where_labels_are_told_and_no_order() -> None:
    none, some = (-0.1, 0.05, 0.2), (SMALL, 0.05, 0.2)
    only_labels = answer(rewards(order={"spearman_toxic": none, "spearman_non_toxic": none}))
    assert only_labels.verdict == "weak"
    assert only_labels.why == ["Among texts of one label it ranks no better than chance."]
    assert verdict(order={"spearman_toxic": none, "spearman_non_toxic": some}) == "strong"
    assert verdict(order={"spearman_toxic": none}) == "weak"


@pytest.mark.parametrize(("high", "expected"), [(-SMALL, "weak"), (0.0, "strong")])
def test_weak_where_texts_of_one_label_are_ranked_the_wrong_way_round(
    high: float, expected: str
) -> None:
    order = {"spearman_toxic": (0.9, 0.95, 1.0), "spearman_non_toxic": (-0.9, -0.8, high)}
    found = answer(rewards(order=order), low="short")
    assert found.verdict == expected
    reversed_in = "Among other texts it ranks the wrong way round: -0.800 (-0.900 to -0.000)."
    assert (found.why == [reversed_in]) == (expected == "weak")


def test_no_labels_are_given_back_where_there_is_one_label() -> None:
    order = {"spearman_toxic": (0.4, 0.5, 0.6)}
    sentence = answer(rewards(None, order=order)).sentence
    assert sentence.startswith("The pairs alone give back in part the true reward's order: ")
    assert "labels" not in sentence


@pytest.mark.parametrize(("half_reach", "expected"), [(0.9, "weak"), (0.9 - SMALL, "strong")])
@pytest.mark.parametrize("side", ["q25", "q75"])
def test_random_weights_reach_what_half_of_them_do_when_turned(
    half_reach: float, expected: str, side: str
) -> None:
    known = rewards(random_head={"roc_auc": (0.45, 0.55)})
    quartiles = {"q25": 0.5, "q75": 0.5} | {side: half_reach if side == "q75" else 1 - half_reach}
    known["controls"]["random_head"]["roc_auc"] |= quartiles
    assert answer(known).verdict == expected


def test_the_farthest_distance_is_half_way_to_an_unrelated_reward() -> None:
    """Of rewards at an angle of 45 degrees, by the distance's own definition."""
    generator = np.random.default_rng(0)
    first, other = generator.normal(size=(2, 50, 4))
    centred = [each - each.mean(axis=1, keepdims=True) for each in (first, other)]
    unit = centred[0] / np.linalg.norm(centred[0])
    across = centred[1] - (centred[1] * unit).sum() * unit
    across /= np.linalg.norm(across)
    assert starc_distance(unit, unit + across) == pytest.approx(FARTHEST)
    assert starc_distance(unit, across) == pytest.approx(HALF)


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
