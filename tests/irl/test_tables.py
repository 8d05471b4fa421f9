"""The tables of the runs: what each row says, and that every threshold of the registry is there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.fit import FittedRewards
from inverse_rlhf.irl.problem import all_texts
from inverse_rlhf.irl.rows import runs_table, scores_table
from inverse_rlhf.irl.runs import Fit, Run
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES, OUTLIERS
from inverse_rlhf.params import Irl, parse_params
from inverse_rlhf.parquet import read_table, write_table
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.thresholds import THRESHOLDS


@pytest.fixture
def texts(pairs: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    return all_texts(pairs, prompts)


@pytest.fixture
def rewards(texts: pd.DataFrame) -> np.ndarray:
    return np.random.default_rng(0).normal(size=len(texts)).astype(np.float32)


def test_the_chosen_epoch_says_what_the_reward_is(texts: pd.DataFrame, rewards: np.ndarray) -> None:
    fit = Fit(Run(4, "fit", 0), [3.0, 2.0, 1.0], [0.5, 0.9, 0.7], 2, rewards)
    table = runs_table([fit], texts)
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["selected"].tolist() == [False, True, False]
    described = table.drop(columns=["kind", "run", "epoch", "loss", "valid_discrimination"])
    assert described[~table["selected"]].drop(columns="selected").isna().all(axis=None)
    row = table[table["selected"]].iloc[0]
    fitted = rewards[texts["fitted"]].astype(np.float64)
    assert (row["mean"], row["std"]) == (fitted.mean(), fitted.std())
    base = rewards[(texts["source"] == "base") & (texts["split"] == "valid")]
    assert row["threshold_median"] == np.median(base.astype(np.float64))
    human = rewards[(texts["source"] == "human") & (texts["split"] != "test")]
    assert row["threshold_human_median"] == np.median(human.astype(np.float64))


def test_scores_are_of_texts_that_were_not_fitted(texts: pd.DataFrame, rewards: np.ndarray) -> None:
    fits = [Fit(Run(n, "fit", 0), [1.0], [0.5], 1, (n + 1) * rewards) for n in range(2)]
    table = scores_table(fits, texts)
    kept = texts[~texts["fitted"]]
    assert len(table) == 2 * len(kept)
    assert not ((table["split"] == "irl") & (table["source"] != "human")).any()
    second = table[table["run"] == 1]
    np.testing.assert_array_equal(second["irl_reward"], 2 * rewards[kept.index])


@pytest.mark.parametrize("broken", ["loss", "rewards"])
def test_a_run_that_is_not_finite_is_one_line(
    texts: pd.DataFrame, rewards: np.ndarray, broken: str
) -> None:
    values: dict[str, Any] = {"loss": [np.inf, 1.0], "rewards": np.full_like(rewards, np.nan)}
    good = {"loss": [2.0, 1.0], "rewards": rewards}
    found: dict[str, Any] = good | {broken: values[broken]}
    fit = Fit(Run(3, "shuffled", 0), found["loss"], [0.5, 0.5], 1, found["rewards"])
    with pytest.raises(UserError, match=r"run shuffled-3 is not finite: lower irl\.lr"):
        runs_table([fit], texts)


def test_tables_are_as_their_schemas_have_them(
    fit_in: Callable[..., FittedRewards], irl: Irl, tmp_path: Path
) -> None:
    fitted = fit_in("runs", irl.model_copy(update={"method": "bayes"}))
    for name, schema in (("runs", IRL_RUNS), ("scores", IRL_SCORES), ("outliers", OUTLIERS)):
        table = getattr(fitted, name)
        assert set(table.columns) == set(schema.names)
        write_table(table, tmp_path / name, schema)
        assert len(read_table(tmp_path / name, schema)) == len(table)


def test_a_new_threshold_is_a_line_in_the_registry(
    fit_in: Callable[..., FittedRewards],
    irl: Irl,
    raw_params: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def content(name: str) -> dict[str, Any]:
        return raw_params | {"evaluate": raw_params["evaluate"] | {"threshold": name}}

    with pytest.raises(UserError) as caught:
        parse_params(content("lowest"))
    known = "otsu, mixture, median, midpoint, positive_unlabelled or human_median"
    line = f"evaluate.threshold is 'lowest' in params.yaml: it must be {known}"
    assert str(caught.value) == line
    monkeypatch.setitem(THRESHOLDS, "lowest", lambda base, aligned, human: float(aligned.min()))
    for name in THRESHOLDS:
        assert parse_params(content(name)).evaluate.threshold == name
    fitted = fit_in("runs", irl.model_copy(update={"epochs": 1}))
    card = fitted.reward.reading
    assert isinstance(card, RewardCard)
    own = fitted.scores[(fitted.scores["kind"] == "fit") & (fitted.scores["run"] == card.run)]
    aligned = own[(own["source"] == "aligned") & (own["split"] == "valid")]
    assert card.thresholds["lowest"] == aligned["irl_reward"].min()
    assert "threshold" not in fitted.runs
    cuts = {name.removeprefix("threshold_") for name in fitted.runs if "threshold_" in name}
    assert cuts == set(THRESHOLDS)
