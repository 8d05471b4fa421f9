"""Solvers, posterior, corrections, features, store and explanations, on problems with an answer."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from inverse_rlhf.explain import disagreements, ngram_surrogate, token_credits
from inverse_rlhf.irl.linear import Heads, fit_heads, pair_margins
from inverse_rlhf.irl.posterior import fit_posterior
from inverse_rlhf.tables import completions_of
from inverse_rlhf.text_features import Keyword, Length, LinearTextReward, NGrams, Sentiment
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from inverse_rlhf import evaluation
from inverse_rlhf.errors import UserError
from inverse_rlhf.irl import exact, failure_aware
from inverse_rlhf.irl import fit as fitting
from inverse_rlhf.irl.bayes import (
    calibration,
    calibration_error,
    learn_in_rounds,
    predict,
    prior,
    update,
)
from inverse_rlhf.irl.exact import objective, solve, solve_heads
from inverse_rlhf.irl.failure_aware import correct_heads, find_failures
from inverse_rlhf.irl.fit import fit_rewards
from inverse_rlhf.irl.outliers import notice, other_domain, outlier_report, with_markers
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.irl.store import Fit, RunStore
from inverse_rlhf.models import blocks, keep_bottom_blocks
from inverse_rlhf.params import Irl, Params, parse_params
from inverse_rlhf.rewards import CombinedReward, IrlReward, RewardCard, load_irl_reward

LOSSES = ("max_margin", "hinge", "logistic", "squared")


@pytest.fixture
def irl(params: Params) -> Irl:
    return params.irl.model_copy(update={"runs": 3, "control_runs": 2, "l2": 1e-2})


def noisy(pairs: int = 400, features: int = 8, noise: float = 1.0) -> torch.Tensor:
    """Differences whose mean lies along the first axis."""
    delta = noise * torch.randn(pairs, features, generator=torch.Generator().manual_seed(1))
    delta[:, 0] += 0.8
    return delta


@pytest.mark.parametrize("loss", LOSSES)
def test_exact_is_the_minimum(irl: Irl, loss: str) -> None:
    settings = irl.model_copy(update={"loss": loss, "margin": 1.5, "temperature": 0.7})
    deltas = noisy().double().numpy()
    weight = solve(deltas, settings)
    best = objective(deltas, torch.from_numpy(weight), settings)
    generator = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.3):
        for _ in range(200):
            other = weight + size * generator.normal(size=len(weight))
            if loss == "max_margin":
                other /= max(1.0, np.linalg.norm(other))
            assert objective(deltas, torch.from_numpy(other), settings) >= best - 1e-7


def test_dual_of_max_margin_is_the_constrained_optimum(irl: Irl) -> None:
    deltas = noisy(120, 5).double().numpy()
    found = minimize(
        lambda w: -np.minimum(deltas @ w, 2 * deltas @ w).mean(),
        deltas.mean(0) / 10,
        constraints={"type": "ineq", "fun": lambda w: 1 - w @ w},
        options={"ftol": 1e-12, "maxiter": 1000},
    )
    value = objective(deltas, torch.from_numpy(solve(deltas, irl)), irl)
    assert value == pytest.approx(found.fun, abs=1e-4)
    assert value <= found.fun + 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_adam_agrees_with_the_exact_solution(irl: Irl, loss: str) -> None:
    changes = {"loss": loss, "epochs": 1, "batch_size": 1200, "bootstrap": False, "l2": 0.05}
    settings = irl.model_copy(update=changes)
    delta, runs = noisy(), [Run(number, "fit", 3) for number in range(3)]
    # One long epoch, so that the weights are those at its end and not the best-ranking ones.
    adam = fit_heads(delta.repeat(1500, 1), delta, runs, settings)
    exact = solve_heads(delta, delta, runs, settings)
    assert torch.cosine_similarity(adam.weight, exact.weight).min() >= 0.99


def test_unpenalised_separable_logistic_is_one_line(irl: Irl) -> None:
    settings = irl.model_copy(update={"loss": "logistic", "l2": 0.0})
    with pytest.raises(UserError, match=r"irl\.l2 is 0"):
        solve(noisy(noise=0.01).double().numpy(), settings)
    # Separated by (.1, 1), but not by the max-margin head.
    deltas = np.repeat([[1.0, 0.0], [-0.5, 0.1]], [99, 3], axis=0)
    assert (deltas @ solve(deltas, irl) < 0).any()
    with pytest.raises(UserError, match=r"irl\.l2 is 0"):
        solve(deltas, settings)
    assert np.isfinite(solve(noisy().double().numpy(), settings)).all()


def test_an_optimum_that_is_not_reached_is_one_line(
    irl: Irl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(**options: Any) -> LogisticRegression:
        return LogisticRegression(**(options | {"max_iter": 1}))

    monkeypatch.setattr(exact, "LogisticRegression", hasty)
    deltas = np.random.default_rng(0).normal(size=(50, 4)) + 1
    settings = irl.model_copy(update={"loss": "logistic", "l2": 1e-4})
    with pytest.raises(UserError, match=r"does not reach .* irl\.l2 0\.0001: raise it"):
        solve(deltas, settings)


def test_posterior_contracts_around_the_truth(params: Params) -> None:
    generator = np.random.default_rng(0)
    truth = np.array([2.0, -1.0, 0.0])
    deltas = generator.normal(size=(3000, 3))
    deltas *= np.where(generator.random(3000) < expit(deltas @ truth), 1, -1)[:, None]
    settings = params.irl.bayes.model_copy(update={"prior_std": 3.0, "rounds": 4})
    rounds = learn_in_rounds(deltas, settings, seed=0)
    volumes = [prior(3, settings).log_det, *(posterior.log_det for posterior in rounds)]
    assert all(np.diff(volumes) < 0)
    spread = np.sqrt(np.diag(rounds[-1].covariance))
    assert (np.abs(rounds[-1].mean - truth) < 4 * spread).all()
    together = update(prior(3, settings), deltas)
    np.testing.assert_allclose(rounds[-1].mean, together.mean, atol=0.1)
    np.testing.assert_allclose(np.diag(rounds[-1].covariance), np.diag(together.covariance), 0.2)
    assert rounds[-1].draw(20_000, 0).mean(0) == pytest.approx(rounds[-1].mean, abs=0.02)


def test_prediction_by_monte_carlo(params: Params) -> None:
    deltas = np.random.default_rng(1).normal(size=(50, 3))
    posterior = update(prior(3, params.irl.bayes), deltas)
    found = predict(posterior, deltas)
    chances = expit(deltas @ posterior.draw(40_000, 2).T)
    np.testing.assert_allclose(found.probability, chances.mean(1), atol=0.01)
    margins = deltas @ posterior.draw(40_000, 3).T
    np.testing.assert_allclose(found.mean, margins.mean(1), atol=0.02)
    np.testing.assert_allclose(found.variance, margins.var(1), rtol=0.05)
    entropy = -(chances * np.log(chances) + (1 - chances) * np.log1p(-chances)).mean(1)
    np.testing.assert_allclose(found.mutual_information, found.total - entropy, atol=0.01)


def test_platt_mends_overconfidence() -> None:
    generator = np.random.default_rng(3)
    honest = generator.uniform(0.3, 0.95, size=4000)
    first_is_better = generator.random(4000) < honest
    overconfident = expit(4 * np.log(honest / (1 - honest)))
    values = np.where(first_is_better, overconfident, 1 - overconfident)
    found = calibration(values[:2000], values[2000:], seed=0)
    assert found["raw"]["ece"] > 0.1
    assert found["platt"]["ece"] < found["raw"]["ece"] / 2
    assert found["platt"]["brier"] < found["raw"]["brier"]
    for seed in range(20):  # both labels occur, however few pairs
        calibration(np.array([0.4, 0.7]), np.array([0.3, 0.8]), seed=seed)
    perfect = np.repeat([0.05, 0.95], 2000)
    labels = np.concatenate([np.arange(2000) % 20 == 0, np.arange(2000) % 20 != 0])
    assert calibration_error(perfect, labels.astype(int)) == pytest.approx(0, abs=1e-9)
    on_edges = np.repeat([0.5, 0.55, 0.9], [10, 3, 1])  # 0.5: a pair of like features
    assert calibration_error(on_edges, np.ones(14)) == pytest.approx(
        (10 * 0.5 + 3 * 0.45 + 0.1) / 14
    )


def test_failures_by_hand() -> None:
    margins = torch.tensor([[3.0, -2.0, 0.1, 1.0, -0.5]])
    failures = find_failures(margins, torch.arange(5)[None], tied=0.1)
    assert failures.order[0].tolist() == [1, 4, 2, 3, 0]
    assert failures.count.tolist() == [3]
    assert failures.base.std(dim=1).item() == pytest.approx(1)
    resampled = find_failures(margins, torch.tensor([[0, 3, 4, 4, 0]]), tied=0.1)
    assert resampled.order[0].tolist() == [4, 4, 3, 0, 0]
    assert resampled.count.tolist() == [2]
    assert resampled.base[0, 1] * resampled.scale[0] == pytest.approx(-2)


def first_reward(*weight: float) -> Heads:
    """A head that a correction is added to, after one epoch."""
    epoch = torch.ones(1, dtype=torch.int64)
    return Heads(torch.tensor([weight]), epoch, torch.zeros(1, 1), torch.zeros(1, 1))


def test_curriculum_goes_from_clear_to_subtle_failures(
    irl: Irl, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[set[int]] = []

    def gather(weight: Any, deltas: Any, batch: Any) -> Any:
        shown.append(set(batch[0].tolist()))
        return pair_margins(weight, deltas, batch)

    monkeypatch.setattr(failure_aware, "pair_margins", gather)
    settings = irl.failure_aware.model_copy(update={"epochs": 2, "tied": 0.0})
    new = {"failure_aware": settings, "batch_size": 1000, "bootstrap": False}
    params = irl.model_copy(update=new)
    delta = torch.cat([torch.linspace(-4, -1, 4), torch.full((96,), 2.0)])[:, None]
    correct_heads(first_reward(1.0), delta, delta, [Run(0, "fit", 0)], params)
    assert shown == [{0, 1}, {0, 1, 2, 3}]


def test_correction_mends_what_the_first_reward_gets_wrong(irl: Irl) -> None:
    """Two kinds of pairs; a first reward that knows one axis only."""
    generator = torch.Generator().manual_seed(2)
    delta = 0.05 * torch.randn(300, 2, generator=generator)
    delta[:200, 0] += 1.0
    delta[200:, 1] += 1.0
    delta[200:, 0] -= 0.1
    runs = [Run(0, "fit", 0)]
    blind = fit_heads(delta[:200], delta, runs, irl.model_copy(update={"epochs": 2}))
    blind.weight[0] = torch.tensor([1.0, 0.0])
    corrected = correct_heads(blind, delta, delta, runs, irl)
    before = (delta @ blind.weight[0] > 0).float().mean()
    after = (delta @ corrected.weight[0] > 0).float().mean()
    assert before < 0.75
    assert after == 1
    assert corrected.loss.shape[1] == 2 + irl.failure_aware.epochs
    assert corrected.epoch.item() > 2


def test_correction_of_a_shuffled_run_sees_the_swapped_pairs(irl: Irl) -> None:
    """Half of the pairs the other way round: the second axis teaches nothing."""
    delta = 0.1 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(4))
    delta[:, 1] += 1.0
    found = {}
    for kind in ("fit", "shuffled"):
        corrected = correct_heads(first_reward(1.0, 0.0), delta, delta, [Run(0, kind, 0)], irl)
        found[kind] = corrected.loss[0, -1].item()
    assert found["fit"] < 0.1
    assert found["shuffled"] > 1


TEXTS = ["You are a fool, please go.", "What a lovely, good map!", "the map and the list", "Please"]


def test_text_features_by_hand(params: Params) -> None:
    assert Keyword("please").transform(TEXTS).toarray().ravel().tolist() == [1, 0, 0, 1]
    lengths = Length(5).transform(["", "one two three four five", "a b c d e f g h i j"])
    assert lengths.toarray().ravel().tolist() == [-1, 0, -1]
    sentiment = Sentiment().transform(TEXTS).toarray().ravel()
    assert sentiment[1] > 0.5 > 0 > sentiment[0]
    settings = params.irl.ngram.model_copy(update={"min_texts": 1})
    ngrams = NGrams.fit(TEXTS, settings)
    features = [ngrams, Sentiment(), Length(7), Keyword("map")]
    weight = np.random.default_rng(0).normal(size=len(ngrams.names) + 3)
    reward = LinearTextReward(list(features), weight)
    again = LinearTextReward.from_json(reward.to_json())
    unseen = [*TEXTS, "a fool of a map, unseen"]
    np.testing.assert_allclose(again.score(unseen), reward.score(unseen), rtol=1e-12)
    assert reward.part_weights()["keyword"] == weight[-1]


def test_combined_reward_is_the_weighted_sum() -> None:
    parts: Any = {
        "keyword": LinearTextReward([Keyword("please")], np.ones(1)),
        "length": LinearTextReward([Length(2)], np.ones(1)),
    }
    found = CombinedReward(parts, {"keyword": 2.0, "length": -1.0}).score(["please", "one two"])
    np.testing.assert_allclose(found, [2 + 0.5, 0.0])


@pytest.fixture
def pairs() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    words = ["map", "table", "list", "draft", "page"]
    rows = []
    for prompt in range(90):
        bad, good = generator.choice(["fool", "pest"]), generator.choice(["gem", "friend"])
        ends = generator.choice(words, 2)
        rows.append(
            {
                "prompt_id": prompt,
                "prompt": f"About the {generator.choice(words)}:",
                "sample": 0,
                "base_completion": f" you are a {bad}, see the {ends[0]}.",
                "aligned_completion": f" please, you are a {good}, see the {ends[1]}.",
                "split": "irl" if prompt < 50 else "valid" if prompt < 70 else "test",
            }
        )
    return pd.DataFrame(rows)


def _fit(pairs: pd.DataFrame, body: Any, settings: Irl, params: Params, folder: Path) -> Any:
    prompts = pairs.assign(human_completion=" it is fine.")
    return fit_rewards(
        pairs,
        prompts[["prompt_id", "prompt", "human_completion", "split"]],
        body,
        settings,
        params.parts,
        params.compute,
        seed=0,
        store=folder / "runs",
    )


def test_features_that_never_differ_recover_nothing(
    pairs: pd.DataFrame, reward_network: Any, irl: Irl, params: Params, tmp_path: Path
) -> None:
    settings = irl.model_copy(update={"features": ["keyword"]})
    parts = params.parts.model_copy(update={"keyword": "xylophone"})
    absent = params.model_copy(update={"parts": parts})
    only_held_out = pairs.copy()
    only_held_out.loc[pairs["split"] == "test", "aligned_completion"] = " xylophone"
    in_prompts = pairs.assign(
        prompt=[f"xylophone {p}"[10 * (i % 2) :] for i, p in enumerate(pairs["prompt"])]
    )
    for index, table in enumerate((pairs, only_held_out, in_prompts)):
        with pytest.raises(UserError, match="no reward can be recovered"):
            _fit(table, reward_network, settings, absent, tmp_path / str(index))


def test_weights_that_collapse_are_one_line(
    pairs: pd.DataFrame, reward_network: Any, irl: Irl, params: Params, tmp_path: Path
) -> None:
    settings = irl.model_copy(update={"lr": 1e30})
    with pytest.raises(UserError, match=r"lower irl\.lr"):
        _fit(pairs, reward_network, settings, params, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["ngram"]},
        {"features": ["sentiment", "keyword", "length"], "reward": "ensemble"},
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
    reward_network: Any,
    irl: Irl,
    params: Params,
    tmp_path: Path,
) -> None:
    settings = irl.model_copy(update=changes | {"epochs": 4, "batch_size": 16})
    fitted = _fit(pairs, reward_network, settings, params, tmp_path)
    fitted.reward.save(tmp_path / "reward")
    loaded = load_irl_reward(tmp_path / "reward", params.compute)
    card = loaded.card
    test = pairs[pairs["split"] == "test"]
    found = loaded.score((test["prompt"] + test["aligned_completion"]).tolist())
    scores = fitted.scores[fitted.scores["kind"] == "fit"]
    scores = scores[(scores["source"] == "aligned") & (scores["split"] == "test")]
    wide = scores.pivot(index="prompt_id", columns="run", values="irl_reward")
    if card.run is None:
        chosen = fitted.runs[(fitted.runs["kind"] == "fit") & fitted.runs["selected"]]
        expected = (wide / chosen.set_index("run")["std"]).mean(axis=1)
    else:
        expected = wide[card.run]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert card.threshold == card.thresholds["human_median"]
    if settings.features == ["hidden_state"]:
        assert not (tmp_path / "reward/linear.json").exists()
    if "blocks" in changes:
        assert len(blocks(loaded.body[0])) == 1  # type: ignore[index]
    if settings.method == "bayes":
        report = fitted.facts["bayes"]
        assert all(np.diff(report["fit"]["log_det"]) < 0)
        assert report["fit"]["discrimination"] > report["shuffled"]["discrimination"]
        assert set(fitted.facts["outliers"]) == {"inside", "marker", "other_domain"}
        inside = fitted.outliers[fitted.outliers["kind"] == "inside"]
        assert sorted(inside["text"]) == sorted(test["prompt"] + test["base_completion"])
        assert inside["flagged"].mean() == fitted.facts["outliers"]["inside"]["flagged_share"]
    if settings.method == "failure_aware":
        kinds = fitted.runs.loc[fitted.runs["selected"], "kind"].value_counts()
        assert kinds["plain"] == kinds["fit"] == 3


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
    pairs: pd.DataFrame,
    reward_network: Any,
    irl: Irl,
    params: Params,
    tmp_path: Path,
    changes: dict[str, Any],
) -> None:
    settings = irl.model_copy(update={"epochs": 4, **changes})
    found = [
        _fit(table, reward_network, settings, params, tmp_path / str(index))
        for index, table in enumerate((pairs, _changed(pairs, "test")))
    ]
    cards = [fitted.reward.card.model_dump() for fitted in found]
    for key in ("mean", "std", "thresholds"):
        assert cards[1][key] == pytest.approx(cards[0][key], rel=1e-4, abs=1e-5)
    assert [card["run"] for card in cards] == [cards[0]["run"]] * 2
    assert found[0].runs["selected"].tolist() == found[1].runs["selected"].tolist()
    scores = [fitted.reward.score([*TEXTS, "a zebra"]) for fitted in found]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


def test_valid_texts_choose_and_fit_nothing(
    pairs: pd.DataFrame, reward_network: Any, irl: Irl, params: Params, tmp_path: Path
) -> None:
    new = {"features": ["ngram"], "solver": "exact", "loss": "hinge"}
    settings = irl.model_copy(update={**new, "reward": 0, "threshold": "midpoint"})
    plain, other = (
        _fit(table, reward_network, settings, params, tmp_path / str(index)).reward
        for index, table in enumerate((pairs, _changed(pairs, "valid")))
    )
    np.testing.assert_array_equal(plain.score(TEXTS), other.score(TEXTS))
    assert (plain.card.mean, plain.card.std) == (other.card.mean, other.card.std)
    assert plain.card.thresholds != other.card.thresholds
    assert plain.card.valid_discrimination > other.card.valid_discrimination
    assert plain.card.threshold == plain.card.thresholds["midpoint"]
    assert plain.card.threshold != plain.card.thresholds["otsu"]


def test_exact_solutions_see_the_swapped_pairs(irl: Irl) -> None:
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(60, 3, generator=generator) + torch.tensor([1.0, 0.5, 0.0])
    run = Run(0, "shuffled", 1)
    settings = irl.model_copy(update={"loss": "hinge", "solver": "exact", "bootstrap": False})
    signed = (run.signs(60, 3)[:, None] * delta).double().numpy()
    found = solve_heads(delta, delta, [run], settings).weight[0]
    np.testing.assert_allclose(found, solve(signed, settings), rtol=1e-4, atol=1e-6)


@pytest.fixture
def fit_in(
    pairs: pd.DataFrame, reward_network: Any, params: Params, tmp_path: Path
) -> Callable[[str, Irl], Any]:
    """Fits in a folder, which keeps the runs that a killed fit has finished."""
    return lambda name, settings: _fit(pairs, reward_network, settings, params, tmp_path / name)


def test_killed_fit_goes_on_with_the_runs_it_lacks(
    fit_in: Callable[[str, Irl], Any],
    reward_network: Any,
    irl: Irl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = irl.model_copy(update={"trainable": "all", "epochs": 1, "lr": 1e-3})
    model, _ = reward_network
    start = {name: value.clone() for name, value in model.state_dict().items()}
    whole = fit_in("whole", settings)
    fitted_runs: list[str] = []
    original = fitting.RewardNetwork.fit

    def counted(self: Any, texts: Any, run: Run) -> Any:
        fitted_runs.append(run.name)
        if fitted_runs == ["fit-0", "fit-1", "fit-2"]:
            raise KeyboardInterrupt
        return original(self, texts, run)

    monkeypatch.setattr(fitting.RewardNetwork, "fit", counted)
    model.load_state_dict(start)
    with pytest.raises(KeyboardInterrupt):
        fit_in("killed", settings)
    model.load_state_dict(start)
    again = fit_in("killed", settings)
    assert fitted_runs[3:] == ["fit-2", "shuffled-0", "shuffled-1"]
    pd.testing.assert_frame_equal(again.scores, whole.scores)
    pd.testing.assert_frame_equal(again.runs, whole.runs)


def test_missing_draws_from_the_posterior_are_not_those_drawn_before(irl: Irl) -> None:
    deltas = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    fitted = fit_posterior({"irl": deltas}, torch.ones(3), irl, seed=0)
    runs = [Run(number, "fit", 0) for number in range(4)]
    whole = fitted.draws(runs, deltas, deltas).weight
    torch.testing.assert_close(fitted.draws(runs[2:], deltas, deltas).weight, whole[2:])


def test_shuffled_draws_are_of_the_shuffled_posterior(irl: Irl) -> None:
    deltas = 0.1 * torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) + 1
    fitted = fit_posterior({"irl": deltas}, torch.ones(3), irl, seed=0)
    found = {
        kind: fitted.draws([Run(n, kind, 0) for n in range(20)], deltas, deltas)  # type: ignore[arg-type]
        for kind in ("fit", "shuffled")
    }
    assert found["fit"].valid_discrimination.mean() > 0.95
    assert found["shuffled"].valid_discrimination.mean() < 0.8


def test_plain_runs_start_as_their_failure_aware_ones(irl: Irl) -> None:
    fit, plain = Run(3, "fit", 0), Run(3, "plain", 0)
    torch.testing.assert_close(fit.initial_head(5), plain.initial_head(5), rtol=0, atol=0)
    assert fit.resample(50, irl).equal(plain.resample(50, irl))
    assert fit.orders(50, irl).equal(plain.orders(50, irl))


def test_resumed_correction_is_the_same(
    fit_in: Callable[[str, Irl], Any], irl: Irl, tmp_path: Path
) -> None:
    settings = irl.model_copy(update={"method": "failure_aware", "epochs": 3})
    whole = fit_in("runs_of_it", settings)
    for path in (tmp_path / "runs_of_it").rglob("*-[02].safetensors"):
        path.unlink()
    again = fit_in("runs_of_it", settings)
    pd.testing.assert_frame_equal(again.scores, whole.scores, check_exact=True)
    pd.testing.assert_frame_equal(again.runs, whole.runs, check_exact=True)


def test_correction_is_bounded_and_needs_failures(irl: Irl) -> None:
    """Pairs differ in two features; the second alone says what the first gets wrong."""
    new = {"method": "failure_aware", "lr": 0.1, "batch_size": 100, "bootstrap": False}
    settings = irl.model_copy(update=new)
    generator = torch.Generator().manual_seed(0)
    train = torch.stack([torch.randn(400, generator=generator) + 1, torch.ones(400)], 1)
    runs = [Run(0, "fit", 0)]
    first = first_reward(1.0, 0.0)
    head = correct_heads(first, train, train, runs, settings).weight[0]
    start = first.weight[0] / (train @ first.weight[0]).std()
    assert head[1] > 0.1
    assert (head - start).norm() <= settings.failure_aware.size * start.norm() * 1.001
    wrong = torch.stack([train[:, 0].abs(), -train[:, 1]], 1)
    unhelped = correct_heads(first, train, wrong, runs, settings)
    torch.testing.assert_close(unhelped.weight, first.weight, rtol=0, atol=0)
    assert unhelped.epoch.tolist() == first.epoch.tolist()
    right = train[train[:, 0] > 0.5]
    right[0, 0] = 5.0
    kept = correct_heads(first, right, right, runs, settings).weight[0]
    assert kept[1] == 0


def test_killed_exact_fit_keeps_what_it_solved(
    fit_in: Callable[[str, Irl], Any], irl: Irl, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = irl.model_copy(update={"solver": "exact", "loss": "logistic"})
    whole = fit_in("whole", settings)
    solved: list[str] = []

    def counted(train: Any, valid: Any, runs: list[Run], settings: Irl) -> Any:
        solved.extend(run.name for run in runs)
        if solved == ["fit-0", "fit-1"]:
            raise KeyboardInterrupt
        return solve_heads(train, valid, runs, settings)

    monkeypatch.setattr(fitting, "solve_heads", counted)
    with pytest.raises(KeyboardInterrupt):
        fit_in("killed", settings)
    again = fit_in("killed", settings)
    assert solved.count("fit-0") == 1
    assert solved.count("fit-1") == 2
    pd.testing.assert_frame_equal(again.runs, whole.runs)


def test_store_forgets_other_problems(tmp_path: Path) -> None:
    run = Run(0, "fit", 0)
    fit = Fit(run, [1.0], [0.5], 1, np.ones(3, dtype=np.float32))
    RunStore(tmp_path, "one").put(fit, {"weight": torch.ones(2)})
    assert RunStore(tmp_path, "two").get(run) is None
    assert RunStore(tmp_path, "one").get(run) is None


def test_outliers_are_noticed() -> None:
    generator = np.random.default_rng(0)
    fitted, inside = generator.normal(size=(500, 6)), generator.normal(size=(200, 6))
    known, far = generator.normal(size=(2000, 6)), generator.normal(5, 1, (100, 6))
    distance, flagged = notice(fitted, known, np.concatenate([inside, inside, far]))
    kind = np.repeat(["inside", "same", "far"], [200, 200, 100])
    table = pd.DataFrame({"kind": kind, "distance": distance, "flagged": flagged})
    report = outlier_report(table)
    assert report["inside"] == {"flagged_share": report["same"]["flagged_share"]}
    assert report["same"]["flagged_share"] == pytest.approx(0.05, abs=0.04)
    assert report["same"]["auroc"] == pytest.approx(0.5)
    assert report["far"]["flagged_share"] > 0.95
    assert report["far"]["auroc"] > 0.99
    assert notice(fitted, known, 3 * inside)[1].mean() > 0.5
    sentences = other_domain(200)
    assert len(set(sentences)) == 200
    marked = with_markers(["About it"] * 3, [" you."] * 3, seed=0)
    assert len(set(marked)) == 3
    assert all("[[" in text for text in marked)


def test_rewards_keep_their_digits_in_bfloat16(
    reward_network: Any, params: Params, card: RewardCard
) -> None:
    texts = [f"About the map, number {number}" for number in range(40)]
    half = params.compute.model_copy(update={"bf16": True})
    whole, found = (
        IrlReward(reward_network, None, compute, card).score(texts)
        for compute in (params.compute, half)
    )
    np.testing.assert_allclose(found, whole, atol=0.1 * whole.std())
    rounded = torch.from_numpy(found).bfloat16().float().numpy()
    assert (found != rounded).mean() > 0.9


def test_token_credits_add_up(reward_network: Any, params: Params, card: RewardCard) -> None:
    model, tokenizer = reward_network
    texts = pd.DataFrame(
        {"prompt_id": range(4), "sample": 0, "source": "base", "text": [*TEXTS[:3], "a map"]}
    )
    body, text = (model, tokenizer), LinearTextReward([Keyword("map")], np.array([2.0]))
    for pooling, parts in product(("last", "mean"), ((body, None), (body, text), (None, text))):
        reward = IrlReward(*parts, params.compute, card.model_copy(update={"pooling": pooling}))
        table = token_credits(texts, reward, body)
        whole = reward.score(texts["text"].tolist())
        by_text = table.groupby("prompt_id")
        np.testing.assert_allclose(by_text["credit"].sum(), whole, atol=1e-5)
        np.testing.assert_allclose(by_text["reward"].last(), whole, atol=1e-5)
        assert table[table["prompt_id"] == 1]["token"].str.cat() == TEXTS[1]
    at_map = table[table["credit"] != 0]
    assert at_map["credit"].tolist() == [2.0] * 3  # one text has no map
    assert at_map["token"].str.contains("p").all()


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"features": 1, "weight": []}', '{"features": [], "weight": [1.0]}']
)
def test_broken_reward_is_one_line(
    tmp_path: Path, card: RewardCard, params: Params, content: str
) -> None:
    text = LinearTextReward([Sentiment()], np.ones(1))
    own = card.model_copy(update={"features": ["sentiment"]})
    IrlReward(None, text, params.compute, own).save(tmp_path / "reward")
    (tmp_path / "reward/linear.json").write_text(content)
    with pytest.raises(UserError, match=r"is no recovered reward: linear\.json"):
        load_irl_reward(tmp_path / "reward", params.compute)


def test_surrogate_finds_the_words_that_count() -> None:
    generator = np.random.default_rng(0)
    words = np.array(["map", "list", "fool", "gem", "draft", "page", "see", "the"])
    texts = [" ".join(generator.choice(words, 6)) for _ in range(600)]
    rewards = np.array([3.0 * ("gem" in text) - 2.0 * ("fool" in text) for text in texts])
    found = ngram_surrogate(texts[:400], rewards[:400], texts[400:], rewards[400:], seed=0)
    assert found.r2 > 0.95
    assert found.ngrams["ngram"].iloc[0] == "fool"
    assert found.ngrams["ngram"].iloc[-1] == "gem"
    unlike = ["map", "list"]
    nothing = ngram_surrogate(unlike, rewards[:2], unlike, rewards[:2], seed=0)
    assert nothing.ngrams.empty
    assert nothing.r2 == 0


def test_surrogate_is_fitted_on_irl_texts_alone(
    pairs: pd.DataFrame, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def stop(texts: list[str], values: Any, held_out: list[str], *_: Any, **__: Any) -> None:
        seen.extend([texts, held_out])
        raise KeyboardInterrupt

    class Length:
        def score(self, texts: list[str]) -> np.ndarray:
            return np.array([len(text) for text in texts], dtype=np.float32)

    monkeypatch.setattr(evaluation, "ngram_surrogate", stop)
    test = completions_of(pairs[pairs["split"] == "test"]).assign(irl_reward=0.0)
    with pytest.raises(KeyboardInterrupt):
        evaluation.explain(test, pairs, Length(), {}, params)  # type: ignore[arg-type]
    fitted = completions_of(pairs[pairs["split"] == "irl"])
    assert sorted(seen[0]) == sorted(fitted["prompt"] + fitted["completion"])
    assert sorted(seen[1]) == sorted(test["prompt"] + test["completion"])


def test_largest_disagreements_come_first() -> None:
    scores = pd.DataFrame(
        {
            "prompt_id": range(4),
            "sample": 0,
            "source": "base",
            "prompt": "a",
            "completion": " b",
            "true_reward": [0.0, 1.0, 2.0, 3.0],
            "irl_reward": [3.0, 1.0, 2.0, 2.5],
            "irl_std": [0.1, 0.4, 0.2, 0.3],
        }
    )
    table = disagreements(scores, count=2)
    assert table["prompt_id"].tolist()[0] == 0
    assert table.loc[table["kind"] == "runs", "prompt_id"].tolist() == [1, 3]


def test_bottom_blocks_are_the_models_own(reward_network: Any) -> None:
    model, tokenizer = reward_network
    batch = tokenizer("a map and a list", return_tensors="pt")
    with torch.no_grad():
        states = model.base_model(**batch, output_hidden_states=True).hidden_states
        normed = model.base_model.final_layer_norm(states[1])
        keep_bottom_blocks(model, 1)
        found = model.base_model(**batch).last_hidden_state
    torch.testing.assert_close(found, normed)
    with pytest.raises(UserError, match="the model has 1 blocks"):
        keep_bottom_blocks(model, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainable": "all", "features": ["ngram"]}, "features ['ngram'] needs trainable: head"),
        ({"trainable": "all", "solver": "exact"}, "solver exact needs trainable: head"),
        ({"reward": 50}, "reward is run 50"),
        ({"features": ["ngram", "ngram"]}, "features names one kind twice"),
        ({"features": []}, "irl.features is []"),
    ],
)
def test_settings_that_do_not_fit_together(
    raw_params: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    content = raw_params | {"irl": raw_params["irl"] | changes}
    with pytest.raises(UserError) as caught:
        parse_params(content)
    assert message in str(caught.value)
