"""Exact solutions: no other weights are better, and Adam comes near them."""

import subprocess
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl import solvers
from inverse_rlhf.irl.exact import objective, solve_heads
from inverse_rlhf.irl.heads import fit_heads
from inverse_rlhf.irl.losses import LOSSES, Loss
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.irl.solvers import SOLVERS, solve, solve_logistic, solve_ridge
from inverse_rlhf.params import Irl, parse_params


def noisy(pairs: int = 400, features: int = 8, noise: float = 1.0) -> torch.Tensor:
    """Differences whose mean lies along the first axis."""
    delta = noise * torch.randn(pairs, features, generator=torch.Generator().manual_seed(1))
    delta[:, 0] += 0.8
    return delta


def test_every_solver_is_of_a_loss() -> None:
    assert set(SOLVERS) <= set(LOSSES)
    assert {"max_margin", "hinge", "logistic", "squared"} <= set(SOLVERS)


@pytest.mark.parametrize("loss", SOLVERS)
def test_exact_is_the_minimum(irl: Irl, loss: str) -> None:
    settings = irl.model_copy(update={"loss": loss, "margin": 1.5, "temperature": 0.7})
    deltas = noisy().double().numpy()
    weight = solve(deltas, settings)
    best = objective(deltas, torch.from_numpy(weight), settings)
    generator = np.random.default_rng(0)
    for size in (1e-3, 1e-2, 0.3):
        for _ in range(200):
            other = weight + size * generator.normal(size=len(weight))
            if LOSSES[loss].bounded:
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


@pytest.mark.parametrize("loss", SOLVERS)
def test_adam_agrees_with_the_exact_solution_and_is_never_below_it(irl: Irl, loss: str) -> None:
    changes = {"loss": loss, "epochs": 1, "batch_size": 1200, "bootstrap": False, "l2": 0.05}
    settings = irl.model_copy(update=changes)
    delta, runs = noisy(), [Run(number, "fit", 3) for number in range(3)]
    # One long epoch, so that the weights are those at its end and not the best-ranking ones.
    adam = fit_heads(delta.repeat(1500, 1), delta, runs, settings)
    exact = solve_heads(delta, delta, runs, settings)
    assert torch.cosine_similarity(adam.weight, exact.weight).min() >= 0.99
    values = [
        objective(delta.double().numpy(), weight.double(), settings) for weight in adam.weight
    ]
    assert min(values) >= exact.loss.max().item() - 1e-6


@pytest.mark.parametrize(
    ("loss", "kind"),
    [case for case in product(SOLVERS, ("fit", "shuffled")) if case != ("max_margin", "shuffled")],
)
def test_no_epoch_of_adam_is_below_the_exact_solution(irl: Irl, loss: str, kind: Any) -> None:
    changes = {"loss": loss, "epochs": 5, "batch_size": 50, "margin": 1.3, "temperature": 0.6}
    settings = irl.model_copy(update=changes)
    delta, run = noisy(), Run(0, kind, 3)
    rows = run.resample(len(delta), settings)
    signed = (run.signs(len(delta), 3)[rows, None] * delta[rows]).double().numpy()
    best = solve_heads(delta, delta, [run], settings).loss.item()
    for epochs in range(1, settings.epochs + 1):
        adam = fit_heads(delta, delta, [run], settings.model_copy(update={"epochs": epochs}))
        assert objective(signed, adam.weight[0].double(), settings) >= best - 1e-6


def test_max_margin_on_pairs_that_cancel_is_some_direction(irl: Irl) -> None:
    """No head of norm 1 has a loss below that of no head at all."""
    delta, run = noisy(), Run(0, "shuffled", 3)
    exact = solve_heads(delta, delta, [run], irl.model_copy(update={"loss": "max_margin"}))
    assert exact.weight.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert exact.loss.item() > 0


def test_a_loss_without_an_exact_solution_is_one_line(
    raw_params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOSSES, "cubic", Loss(lambda d, params: (params.margin - d).abs() ** 3))
    settings = raw_params["irl"] | {"loss": "cubic", "solver": "exact"}
    with pytest.raises(UserError, match="solver exact has no solution for loss cubic"):
        parse_params(raw_params | {"irl": settings})


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

    monkeypatch.setattr(solvers, "LogisticRegression", hasty)
    deltas = np.random.default_rng(0).normal(size=(50, 4)) + 1
    settings = irl.model_copy(update={"loss": "logistic", "l2": 1e-4})
    with pytest.raises(UserError, match=r"does not reach .* irl\.l2 0\.0001: raise it"):
        solve(deltas, settings)


def test_exact_solutions_see_the_swapped_pairs(irl: Irl) -> None:
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(60, 3, generator=generator) + torch.tensor([1.0, 0.5, 0.0])
    run = Run(0, "shuffled", 1)
    settings = irl.model_copy(update={"loss": "hinge", "solver": "exact", "bootstrap": False})
    signed = (run.signs(60, 3)[:, None] * delta).double().numpy()
    found = solve_heads(delta, delta, [run], settings).weight[0]
    np.testing.assert_allclose(found, solve(signed, settings), rtol=1e-4, atol=1e-6)


def test_logistic_is_the_same_of_sparse_differences_and_by_newtons_method() -> None:
    deltas = np.maximum(noisy(300, 6).double().numpy() - 0.5, 0)
    for l2, temperature in ((1e-2, 1.0), (1e-4, 0.6)):
        settings = {"l2": l2, "temperature": temperature}
        dense = solve_logistic(deltas, **settings)
        for other in (deltas, sparse.csr_array(deltas)):
            for newton in (False, True):
                found = solve_logistic(other, **settings, newton=newton)
                np.testing.assert_allclose(found, dense, atol=1e-4)


def test_ridge_counts_rows_as_often_as_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "_BLOCK", 7)
    generator = np.random.default_rng(0)
    features, targets = generator.normal(size=(60, 5)), generator.normal(size=60)
    counts = generator.integers(0, 4, 60).astype(float)
    drawn = np.repeat(np.arange(60), counts.astype(int))
    model = Ridge(alpha=0.03 * len(drawn), fit_intercept=False)
    expected = model.fit(features[drawn], targets[drawn]).coef_
    found = solve_ridge(features.astype(np.float32), targets, counts, l2=0.03)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_ridge_of_features_that_depend_on_each_other_needs_more_penalty() -> None:
    features = np.repeat(np.random.default_rng(0).normal(size=(50, 2)) * 1e6, 3, axis=1)
    with pytest.raises(UserError, match=r"irl\.l2 is 1e-30: too small"):
        solve_ridge(features, np.ones(50), np.ones(50), l2=1e-30)


def test_solvers_do_not_load_torch() -> None:
    command = "import sys, inverse_rlhf.irl.solvers; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)
