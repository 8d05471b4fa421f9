"""The exported reward, whatever it reads and whichever run it is of, scores what was fitted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.irl.fit import FittedRewards
from inverse_rlhf.models.blocks import blocks
from inverse_rlhf.params import Irl, Params
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.reading import read_card
from inverse_rlhf.rewards.recovered import load_irl_reward
from inverse_rlhf.rewards.thresholds import THRESHOLDS


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["ngram"]},
        {"features": ["sentiment", "keyword", "length_target", "questions"], "reward": "ensemble"},
        {"features": ["hidden_state", "ngram"], "reward": 1},
        {"reward": "ensemble"},
        {"blocks": 1},
        {"solver": "exact", "loss": "hinge"},
        {"method": "bayes", "reward": "ensemble"},
        {"method": "failure_aware"},
    ],
    ids=str,
)
def test_what_is_exported_scores_what_was_fitted(
    changes: dict[str, Any],
    pairs: pd.DataFrame,
    fit_in: Callable[..., FittedRewards],
    irl: Irl,
    params: Params,
    tmp_path: Path,
) -> None:
    settings = irl.model_copy(update=changes | {"epochs": 4, "batch_size": 16})
    fitted = fit_in("runs", settings)
    fitted.reward.save(tmp_path / "reward")
    loaded = load_irl_reward(tmp_path / "reward", params.compute)
    card = read_card(tmp_path / "reward", RewardCard)
    test = pairs[pairs["split"] == "test"]
    found = loaded.score((test["prompt"] + test["aligned_completion"]).tolist())
    scores = fitted.scores[fitted.scores["kind"] == "fit"]
    scores = scores[(scores["source"] == "aligned") & (scores["split"] == "test")]
    wide = scores.pivot(index="prompt_id", columns="run", values="irl_reward")
    chosen = fitted.runs[(fitted.runs["kind"] == "fit") & fitted.runs["selected"]].set_index("run")
    if card.run is None:
        expected = (wide / chosen["std"]).mean(axis=1)
    else:
        expected = wide[card.run]
        cuts = chosen.loc[card.run, [f"threshold_{name}" for name in THRESHOLDS]]
        assert card.thresholds == dict(zip(THRESHOLDS, cuts, strict=True))
        assert (card.mean, card.std) == tuple(chosen.loc[card.run, ["mean", "std"]])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert set(card.thresholds) == set(THRESHOLDS)
    if settings.features == ["hidden_state"]:
        assert not (tmp_path / "reward/linear.json").exists()
        assert card.body == "sequence_classifier"
    else:  # no classifier of transformers reads text features
        assert card.body == ("body" if "hidden_state" in settings.features else "none")
    assert card.pairs == 50
    readme = (tmp_path / "reward/README.md").read_text()
    assert ("pipeline(" in readme) == (card.body == "sequence_classifier")
    assert f"method {settings.method}" in readme
    assert "50 pairs of completions" in readme
    if "blocks" in changes:
        assert loaded.body is not None
        assert len(blocks(loaded.body.module)) == 1
    if settings.method == "bayes":
        _check_bayes(fitted, test)
    if settings.method == "failure_aware":
        kinds = fitted.runs.loc[fitted.runs["selected"], "kind"].value_counts()
        assert kinds["plain"] == kinds["fit"] == 3


def _check_bayes(fitted: FittedRewards, test: pd.DataFrame) -> None:
    report = fitted.facts["bayes"]
    assert all(np.diff(report["fit"]["log_det"]) < 0)
    assert report["fit"]["discrimination"] > report["shuffled"]["discrimination"]
    assert set(fitted.facts["outliers"]) == {"inside", "marker", "other_domain"}
    inside = fitted.outliers[fitted.outliers["kind"] == "inside"]
    assert sorted(inside["text"]) == sorted(test["prompt"] + test["base_completion"])
    assert inside["flagged"].mean() == fitted.facts["outliers"]["inside"]["flagged_share"]
