"""Exact solutions of the convex problems: a linear head on frozen features, to the optimum."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import lstsq
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.heads import Heads
from inverse_rlhf.irl.losses import discrimination, head_penalty, pair_loss
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Irl

Differences = Float[np.ndarray, "pairs features"]


def solve_heads(
    train: Float[Tensor, "pairs features"],
    valid: Float[Tensor, "valid_pairs features"],
    runs: Sequence[Run],
    params: Irl,
) -> Heads:
    """The optimal head of every run, on its resample and with its swapped pairs.

    Same arguments and result as `fit_heads`, with one epoch; loss is the objective at the optimum.
    """
    deltas = train.cpu()
    weights, losses = [], []
    for run in runs:
        rows = run.resample(len(deltas), params)
        signed = (run.signs(len(deltas), 3)[rows, None] * deltas[rows]).double().numpy()
        weight = solve(signed, params)
        weights.append(torch.from_numpy(weight))
        losses.append(objective(signed, weights[-1], params))
    heads = torch.stack(weights)
    signs = torch.stack([run.signs(len(valid), 4) for run in runs])
    found = discrimination(heads @ valid.cpu().double().T * signs)
    return Heads(
        heads.float().to(train.device),
        torch.ones(len(runs), dtype=torch.int64),
        torch.tensor(losses)[:, None],
        found[:, None],
    )


def objective(deltas: Differences, weight: Tensor, params: Irl) -> float:
    """Mean loss of the pairs plus the penalty."""
    margins = torch.from_numpy(deltas) @ weight
    return float(pair_loss(margins, params).mean() + head_penalty(weight, params))


def solve(deltas: Differences, params: Irl) -> Float[np.ndarray, " features"]:
    """The weights that minimise the objective of `params.loss` on aligned-minus-base features.

    Raises:
        UserError: the problem has no solution (an unpenalised logistic loss on separable pairs), or
            it is not reached.
    """
    return SOLVERS[params.loss](deltas, params)


def _max_margin(deltas: Differences, params: Irl) -> Float[np.ndarray, " features"]:
    """Max-margin under ||w|| <= 1, by its dual.

    -min(d, 2d) is the largest of -a d over a in [1, 2], so the problem is the minimum over w of
    the maximum over a of -w.g(a), with g(a) the mean of a_i delta_i. By the minimax theorem that
    is -min ||g(a)||: a least-squares problem in a box, and w = g / ||g||. Where pairs
    cancel (shuffled ones) the least norm is 0 and the minimum w = 0, a constant reward: then w is
    the direction of what the solver leaves of g, of no more meaning than such pairs have.
    """
    count = len(deltas)

    def half_square(a: np.ndarray) -> tuple[float, np.ndarray]:
        g = a @ deltas / count
        return float(g @ g) * count / 2, deltas @ g

    start = np.full(count, 1.5)
    # Some 40 steps reach the optimum; shuffled pairs, whose g can be nearly 0, would go on.
    options = {"maxiter": 500, "maxfun": 1000, "ftol": 1e-12, "gtol": 1e-10}
    found = minimize(
        half_square, start, jac=True, bounds=[(1, 2)] * count, method="L-BFGS-B", options=options
    )
    g = found.x @ deltas / count
    weights: np.ndarray = g / max(np.linalg.norm(g), np.finfo(np.float64).tiny)
    return weights


def _alternated(deltas: Differences) -> tuple[np.ndarray, np.ndarray]:
    """Every other pair the other way round, with label -1: classifiers refuse a single class."""
    labels = np.where(np.arange(len(deltas)) % 2, -1, 1)
    return labels[:, None] * deltas, labels


def _support_vectors(deltas: Differences, params: Irl) -> Float[np.ndarray, " features"]:
    """The soft-margin SVM through the origin; LinearSVC has margin 1, hence w / m."""
    penalty = 2 * params.l2 * params.margin * len(deltas)
    machine = LinearSVC(
        loss="hinge",
        C=1 / max(penalty, 1e-9),
        fit_intercept=False,
        tol=1e-8,
        max_iter=1_000_000,
        random_state=0,
    )
    weights: np.ndarray = params.margin * _fitted(machine, deltas, params)
    return weights


def _logistic(deltas: Differences, params: Irl) -> Float[np.ndarray, " features"]:
    scaled = deltas / params.temperature
    penalty = 2 * params.l2 * len(deltas)
    model = LogisticRegression(
        C=1 / penalty if penalty else np.inf, fit_intercept=False, tol=1e-8, max_iter=10_000
    )
    weights = _fitted(model, scaled, params)
    # With no margin below 0, larger weights never cost more: the solver stopped anywhere.
    if not penalty and (scaled @ weights >= 0).all():
        raise UserError("irl.l2 is 0 and the pairs can be separated: raise it or take another loss")
    return weights


def _squared(deltas: Differences, params: Irl) -> Float[np.ndarray, " features"]:
    # Hidden states after a layer norm are linearly dependent, but for rounding errors.
    weights: np.ndarray = lstsq(deltas, np.full(len(deltas), params.margin), cond=1e-5)[0]
    return weights


SOLVERS = {
    "max_margin": _max_margin,
    "hinge": _support_vectors,
    "logistic": _logistic,
    "squared": _squared,
}
"""The losses with an exact solution; another one is fitted by Adam."""


def _fitted(
    model: LinearSVC | LogisticRegression, deltas: Differences, params: Irl
) -> Float[np.ndarray, " features"]:
    """The model's weights, or one line where it did not reach the optimum."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            weights: np.ndarray = model.fit(*_alternated(deltas)).coef_[0]
        except ConvergenceWarning:
            raise UserError(
                f"irl.solver exact does not reach the optimum of loss {params.loss} with irl.l2 "
                f"{params.l2:g}: raise it or take solver adam"
            ) from None
    return weights
