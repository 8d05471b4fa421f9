"""Exact solutions of the convex problems: linear weights on frozen features, to the optimum.

Nothing here needs torch. Every objective is a mean over its rows plus a penalty on the weights, so
that l2 means the same whatever the number of pairs.
"""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy import sparse
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lstsq
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Irl

Differences = Float[np.ndarray, "pairs features"]
Weights = Float[np.ndarray, " features"]
_BLOCK = 4096  # rows that are held in double precision at a time


def solve(deltas: Differences, params: Irl) -> Weights:
    """The weights that minimise the objective of `params.loss` on aligned-minus-base features.

    Raises:
        UserError: the problem has no solution (an unpenalised logistic loss on separable pairs), or
            it is not reached.
    """
    return SOLVERS[params.loss](deltas, params)


def solve_max_margin(deltas: Differences) -> Weights:
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


def solve_hinge(deltas: Differences, *, margin: float, l2: float) -> Weights:
    """The soft-margin SVM through the origin: mean of max(0, margin - w.delta), + l2 ||w||^2."""
    penalty = 2 * l2 * margin * len(deltas)
    machine = LinearSVC(  # of margin 1, hence w / margin
        loss="hinge",
        C=1 / max(penalty, 1e-9),
        fit_intercept=False,
        tol=1e-8,
        max_iter=1_000_000,
        random_state=0,
    )
    weights: np.ndarray = margin * _fitted(machine, deltas, "hinge", l2)
    return weights


def solve_logistic(
    deltas: Differences | sparse.csr_array,
    *,
    l2: float,
    temperature: float = 1.0,
    newton: bool = False,
) -> Weights:
    """Bradley & Terry's (1952) model: mean of softplus(-w.delta / temperature), + l2 ||w||^2.

    Args:
        deltas: features of the preferred text minus those of the other one, of each pair.
        newton: by Newton's method, which takes the matrix of second derivatives: the faster and
            the nearer to the optimum for hundreds of features, too large for many thousands.

    Raises:
        UserError: the optimum is not reached, or there is none: l2 is 0 and the pairs are
            separable.
    """
    scaled = deltas / temperature
    penalty = 2 * l2 * deltas.shape[0]
    model = LogisticRegression(
        C=1 / penalty if penalty else np.inf,
        fit_intercept=False,
        tol=1e-8,
        max_iter=10_000,
        solver="newton-cholesky" if newton else "lbfgs",
    )
    weights = _fitted(model, scaled, "logistic", l2)
    # With no margin below 0, larger weights never cost more: the solver stopped anywhere.
    if not penalty and (scaled @ weights >= 0).all():
        raise UserError("irl.l2 is 0 and the pairs can be separated: raise it or take another loss")
    return weights


def solve_squared(deltas: Differences, *, margin: float) -> Weights:
    """Least squares: mean of (margin - w.delta)^2, the solution of least norm."""
    # Hidden states after a layer norm are linearly dependent, but for rounding errors.
    weights: np.ndarray = lstsq(deltas, np.full(len(deltas), margin), cond=1e-5)[0]
    return weights


def solve_ridge(
    features: Float[np.ndarray, "rows features"],
    targets: Float[np.ndarray, " rows"],
    counts: Float[np.ndarray, " rows"],
    *,
    l2: float,
) -> Weights:
    """Ridge regression: mean of (target - w.x)^2, + l2 ||w||^2, by its normal equations.

    Args:
        counts: how often each row counts in the mean.

    Raises:
        UserError: l2 is too small for features that depend on each other.
    """
    shares = counts / counts.sum()
    gram = l2 * np.eye(features.shape[1])
    moment = np.zeros(features.shape[1])
    known = np.flatnonzero(counts)
    for rows in np.array_split(known, -(-len(known) // _BLOCK)):
        block = features[rows].astype(np.float64)
        moment += (shares[rows] * targets[rows]) @ block
        block *= np.sqrt(shares[rows])[:, None]
        gram += block.T @ block
    try:
        weights: np.ndarray = cho_solve(cho_factor(gram), moment)
    except LinAlgError:
        raise UserError(
            f"irl.l2 is {l2:g}: too small for features that depend on each other, raise it"
        ) from None
    return weights


SOLVERS: dict[str, Callable[[Differences, Irl], Weights]] = {
    "max_margin": lambda deltas, params: solve_max_margin(deltas),
    "hinge": lambda deltas, params: solve_hinge(deltas, margin=params.margin, l2=params.l2),
    "logistic": lambda deltas, params: solve_logistic(
        deltas, l2=params.l2, temperature=params.temperature
    ),
    "squared": lambda deltas, params: solve_squared(deltas, margin=params.margin),
}
"""The losses on margins with an exact solution; another one is fitted by Adam."""


def _alternated(
    deltas: Differences | sparse.csr_array,
) -> tuple[Differences | sparse.csr_array, np.ndarray]:
    """Every other pair the other way round, with label -1: classifiers refuse a single class."""
    labels = np.where(np.arange(deltas.shape[0]) % 2, -1, 1)
    if sparse.issparse(deltas):
        return sparse.csr_array(sparse.csr_array(deltas).multiply(labels[:, None])), labels
    return labels[:, None] * deltas, labels


def _fitted(
    model: LinearSVC | LogisticRegression,
    deltas: Differences | sparse.csr_array,
    loss: str,
    l2: float,
) -> Weights:
    """The model's weights, or one line where it did not reach the optimum."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            weights: np.ndarray = model.fit(*_alternated(deltas)).coef_[0]
        except ConvergenceWarning:
            raise UserError(
                f"irl.solver exact does not reach the optimum of loss {loss} with irl.l2 "
                f"{l2:g}: raise it or take solver adam"
            ) from None
    return weights
