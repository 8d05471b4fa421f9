"""Heads on frozen features: together = one by one, and what controls learn."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from inverse_rlhf.irl.heads import fit_heads, pair_margins
from inverse_rlhf.irl.losses import discrimination
from inverse_rlhf.irl.runs import Run, plan_runs
from inverse_rlhf.params import Irl


def separable(pairs: int = 60, features: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    delta = torch.randn(pairs, features, generator=generator)
    delta[:, 0] = delta[:, 0].abs() + 0.5
    return delta


@pytest.mark.parametrize("runs", [1, 3])
def test_margins_are_of_each_runs_own_rows(runs: int) -> None:
    generator = torch.Generator().manual_seed(3)
    deltas = torch.randn(20, 7, generator=generator, dtype=torch.float64)
    rows = torch.randint(20, (runs, 20), generator=generator)  # some twice, in no order
    head = torch.randn(runs, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = torch.einsum("rf,rbf->rb", head, deltas[rows])
    torch.testing.assert_close(pair_margins(head, deltas, rows), expected)
    assert torch.autograd.gradcheck(lambda weight: pair_margins(weight, deltas, rows), head)


def test_heads_together_are_heads_one_by_one(short: Irl) -> None:
    delta = separable()
    runs = [run for run in plan_runs(short, seed=7) if run.kind != "random_head"]
    together = fit_heads(delta, delta[:20], runs, short)
    for index, run in enumerate(runs):
        alone = fit_heads(delta, delta[:20], [run], short)
        torch.testing.assert_close(together.weight[index], alone.weight[0])
        assert together.epoch[index] == alone.epoch[0]
        torch.testing.assert_close(together.loss[index], alone.loss[0])


def test_max_margin_solution_does_not_depend_on_the_seed(short: Irl) -> None:
    settings = short.model_copy(
        update={"epochs": 200, "bootstrap": False, "lr": 0.01, "batch_size": 60}
    )
    delta = torch.randn(60, 6, generator=torch.Generator().manual_seed(5)) + 0.3
    gaps = delta.double().numpy()
    heads = fit_heads(delta, delta, plan_runs(settings, seed=0)[:4], settings)
    assert heads.weight.norm(dim=1).max() <= 1 + 1e-6
    optimum = minimize(
        lambda w: -np.minimum(gaps @ w, 2 * gaps @ w).mean(),
        gaps.mean(0) / 10,
        constraints={"type": "ineq", "fun": lambda w: 1 - w @ w},
    ).fun
    np.testing.assert_allclose(heads.loss[:, -1], optimum, atol=2e-3)


def test_shuffled_runs_learn_nothing(short: Irl) -> None:
    settings = short.model_copy(update={"epochs": 20})
    delta = separable(400, 3)
    fits = [Run(number, kind, 1) for kind in ("fit", "shuffled") for number in range(6)]
    heads = fit_heads(delta, delta, fits, settings)
    found = discrimination(heads.weight @ delta.T)
    assert found[:6].min() > 0.95
    assert abs(found[6:].mean() - 0.5) < 0.35
    signs = Run(0, "shuffled", 1).signs(401, 3)
    assert (signs == -1).sum() == 200


def test_heads_are_fitted_on_the_resample(short: Irl) -> None:
    delta, run = separable(60, 3), [Run(0, "fit", 3)]
    whole = short.model_copy(update={"bootstrap": False})
    drawn = delta[run[0].resample(60, short)]
    resampled = fit_heads(delta, delta, run, short)
    assert not torch.allclose(resampled.weight, fit_heads(delta, delta, run, whole).weight)
    torch.testing.assert_close(resampled.weight, fit_heads(drawn, delta, run, whole).weight)
