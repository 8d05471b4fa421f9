"""Whole fits: what is saved is what was scored, and what each split decides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.fit import FittedRewards
from inverse_rlhf.params import Irl, Params
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.reading import read_card
from inverse_rlhf.rewards.recovered import load_irl_reward
from inverse_rlhf.rewards.thresholds import THRESHOLDS, thresholds

TEXTS = ["You are a fool, please go.", "What a lovely, good map!", "the map and the list", "Please"]
FitIn = Callable[..., FittedRewards]


@pytest.mark.parametrize(
    ("trainable", "pooling"),
    [("head", "last"), ("head", "mean"), ("last_k", "last"), ("all", "last")],
)
def test_fit_saves_what_it_scored(
    trainable: str,
    pooling: str,
    pairs: pd.DataFrame,
    fit_in: FitIn,
    short: Irl,
    params: Params,
    tmp_path: Path,
) -> None:
    settings = short.model_copy(update={"trainable": trainable, "pooling": pooling, "lr": 1e-3})
    fitted = fit_in("runs", settings)
    assert len(fitted.runs) == (4 + 2) * 3 + 2
    chosen = fitted.runs[fitted.runs["selected"]]
    assert len(chosen) == 8
    best = fitted.runs.groupby(["kind", "run"])["valid_discrimination"].transform("max")
    assert (fitted.runs["valid_discrimination"] == best)[fitted.runs["selected"]].all()
    if trainable != "head":
        assert chosen[chosen["kind"] == "fit"]["valid_discrimination"].median() == 1
    fitted.reward.save(tmp_path / "reward")
    loaded = load_irl_reward(tmp_path / "reward", params.compute)
    card = read_card(tmp_path / "reward", RewardCard)
    assert card == fitted.reward.reading
    test = pairs[pairs["split"] == "test"]
    own = fitted.scores[(fitted.scores["run"] == card.run) & (fitted.scores["kind"] == "fit")]
    of = {key: rows.to_numpy(float) for key, rows in own.groupby(["split", "source"])["irl_reward"]}
    human = np.concatenate([of["irl", "human"], of["valid", "human"]])
    cuts = thresholds(of["valid", "base"], of["valid", "aligned"], human)
    assert card.thresholds == pytest.approx(cuts)
    scores = loaded.score((test["prompt"] + test["aligned_completion"]).tolist())
    np.testing.assert_allclose(scores, of["test", "aligned"], atol=1e-5)
    standard = loaded.standardised(["a text"])
    raw = loaded.score(["a text"])
    np.testing.assert_allclose(standard, (raw - card.mean) / card.std, rtol=1e-5)


def test_curve_is_of_the_run_that_is_exported(fit_in: FitIn, short: Irl) -> None:
    fitted = fit_in("runs", short)
    card = fitted.reward.reading
    assert isinstance(card, RewardCard)
    own = fitted.runs[(fitted.runs["kind"] == "fit") & (fitted.runs["run"] == card.run)]
    curve = fitted.curve()
    assert curve["epoch"].tolist() == [1, 2, 3]
    pd.testing.assert_frame_equal(curve, own[curve.columns])
    assert fitted.facts["reward"] == card.run
    assert fitted.facts["runs"] == 4
    assert fitted.facts["thresholds"] == card.thresholds


def test_features_that_never_differ_recover_nothing(
    pairs: pd.DataFrame, fit_in: FitIn, irl: Irl, params: Params
) -> None:
    settings = irl.model_copy(update={"features": ["keyword"]})
    parts = params.parts.model_copy(update={"keyword": "xylophone"})
    only_held_out = pairs.copy()
    only_held_out.loc[pairs["split"] == "test", "aligned_completion"] = " xylophone"
    in_prompts = pairs.assign(
        prompt=[f"xylophone {p}"[10 * (i % 2) :] for i, p in enumerate(pairs["prompt"])]
    )
    for index, table in enumerate((pairs, only_held_out, in_prompts)):
        with pytest.raises(UserError, match="no reward can be recovered"):
            fit_in(str(index), settings, table, parts)


def test_weights_that_collapse_are_one_line(fit_in: FitIn, irl: Irl) -> None:
    settings = irl.model_copy(update={"lr": 1e30})
    with pytest.raises(UserError, match=r"lower irl\.lr"):
        fit_in("runs", settings)


def _changed(pairs: pd.DataFrame, split: str) -> pd.DataFrame:
    """The pairs with base and aligned swapped in a split, and a word that no other text has."""
    inside = pairs["split"] == split
    swapped = pairs.copy()
    swapped.loc[inside, "base_completion"] = pairs["aligned_completion"] + " zebra"
    swapped.loc[inside, "aligned_completion"] = pairs["base_completion"] + " zebra"
    return swapped


@pytest.mark.parametrize(
    "changes", [{}, {"features": ["ngram"], "solver": "exact", "loss": "hinge"}], ids=str
)
def test_test_texts_decide_nothing(
    pairs: pd.DataFrame, fit_in: FitIn, irl: Irl, changes: dict[str, Any]
) -> None:
    settings = irl.model_copy(update={"epochs": 4, **changes})
    found = [
        fit_in(str(index), settings, table)
        for index, table in enumerate((pairs, _changed(pairs, "test")))
    ]
    cards = [fitted.reward.reading.model_dump() for fitted in found]
    for key in ("mean", "std", "thresholds"):
        assert cards[1][key] == pytest.approx(cards[0][key], rel=1e-4, abs=1e-5)
    assert [card["run"] for card in cards] == [cards[0]["run"]] * 2
    assert found[0].runs["selected"].tolist() == found[1].runs["selected"].tolist()
    scores = [fitted.reward.score([*TEXTS, "a zebra"]) for fitted in found]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


def test_valid_texts_choose_and_fit_nothing(pairs: pd.DataFrame, fit_in: FitIn, irl: Irl) -> None:
    new = {"features": ["ngram"], "solver": "exact", "loss": "hinge"}
    settings = irl.model_copy(update={**new, "reward": 0})
    plain, other = (
        fit_in(str(index), settings, table).reward
        for index, table in enumerate((pairs, _changed(pairs, "valid")))
    )
    np.testing.assert_array_equal(plain.score(TEXTS), other.score(TEXTS))
    cards = plain.reading, other.reading
    assert isinstance(cards[0], RewardCard)
    assert isinstance(cards[1], RewardCard)
    assert (cards[0].mean, cards[0].std) == (cards[1].mean, cards[1].std)
    assert cards[0].thresholds != cards[1].thresholds
    assert cards[0].valid_discrimination > cards[1].valid_discrimination
    assert list(cards[0].thresholds) == list(THRESHOLDS)
    assert cards[0].thresholds["midpoint"] != cards[0].thresholds["otsu"]
