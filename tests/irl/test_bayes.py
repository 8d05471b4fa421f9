"""The posterior on problems whose answer is known, its calibration, and its draws."""

import numpy as np
import pytest
import torch
from scipy.special import expit

from inverse_rlhf.irl.bayes import (
    calibration,
    calibration_error,
    fit_posterior,
    learn_in_rounds,
    predict,
    prior,
    update,
)
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Irl, Params


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
