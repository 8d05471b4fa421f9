"""Which named objectives two sets of completions differ in, beyond chance (design, section 6)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from inverse_rlhf.irl.solvers import solve_logistic

L2_GRID = (0.03, 0.1, 0.3, 1.0, 3.0)
"""Penalties that are compared for the adaptive fit.

Smaller ones, which pairs that can be told apart always would choose, let weights grow without end,
and the null's most of all: the clearer an objective was, the less it would exceed the null.
"""
PLAIN_L2_GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""The same for a plain fit; n-grams are small numbers."""
FOLDS = 5
TOGETHER = 0.8
"""Features whose differences are alike beyond this cannot be told apart by pairs."""
MAIN = 1 / 3
"""Of the largest weight found, what a main objective's has at least: policy training leaves true
but smaller side effects, which were not aimed at (docs/log.md)."""
FIRST_L2 = 0.1
"""Penalty of the plain fit that the adaptive one starts from."""

Deltas = Float[np.ndarray, "pairs features"]


@dataclass(frozen=True)
class Weights:
    """What bootstrap runs and their null say of every feature.

    Attributes:
        runs: nats of log pi_aligned / pi_base for one unit of the feature, (runs, features).
        null: the same with both sides swapped in a random half of the prompts.
        level: the chance that any feature is found where both sides are alike.
        l2: the penalty.
        together: see `told_together`.
    """

    runs: Float[np.ndarray, "runs features"]
    null: Float[np.ndarray, "null_runs features"]
    level: float
    l2: float
    together: Float[np.ndarray, "features features"]

    @property
    def median(self) -> Float[np.ndarray, " features"]:
        """The weights: medians over runs."""
        return np.asarray(np.median(self.runs, axis=0))

    def interval(self) -> Float[np.ndarray, "2 features"]:
        """2.5 and 97.5 percentiles over runs."""
        return _interval(self.runs)

    def null_quantile(self, share: float) -> float:
        """What the largest combined null weight stays below in a share of the null runs."""
        return float(np.quantile(np.abs(self.null @ self.together).max(axis=1), share))

    @property
    def critical(self) -> float:
        """What the largest combined null weight exceeds in a share of `level` of the null runs."""
        return self.null_quantile(1 - self.level)

    def found(self) -> Bool[np.ndarray, " features"]:
        """Whose combined weight is beyond the null's largest, and of one sign over the runs.

        Weights of features that pairs cannot tell apart are combined, since a fit shares out among
        them what they say together; of such features the one of the largest weight is found.

        The null's pairs cannot be told apart, which makes its weights precise; where pairs can be
        told apart almost always, those of minor features are not, and may be beyond `critical` by
        chance. Their interval shows it.
        """
        combined = self.runs @ self.together
        low, high = _interval(combined)
        beyond = np.abs(np.median(combined, axis=0)) > self.critical
        size = np.abs(self.median)
        first = size >= np.where(self.together != 0, size, 0).max(axis=1)
        return beyond & ((low > 0) | (high < 0)) & first & (size > 0)

    def main(self) -> Bool[np.ndarray, " features"]:
        """Which of those found have weights of a size with the largest."""
        size = np.abs(self.median) * self.found()
        return (size > 0) & (size >= MAIN * size.max())


def _interval(runs: Float[np.ndarray, "runs features"]) -> Float[np.ndarray, "2 features"]:
    return np.asarray(np.quantile(runs, [0.025, 0.975], axis=0))


def told_together(deltas: Deltas) -> Float[np.ndarray, "features features"]:
    """Cosines between features' differences where these are beyond `TOGETHER`, else 0; 1 to itself.

    The cosine and not the correlation: no intercept is fitted, so that differences that are always
    the same size count as alike.
    """
    size = np.linalg.norm(deltas, axis=0)
    unit = deltas / np.where(size == 0, 1, size)
    cosines = unit.T @ unit
    together = np.where(np.abs(cosines) > TOGETHER, cosines, 0)
    np.fill_diagonal(together, 1)
    return together


def fit_weights(
    deltas: Deltas,
    prompts: Int[np.ndarray, " pairs"],
    *,
    l2: float,
    runs: int,
    null_runs: int,
    level: float,
    seed: int,
) -> Weights:
    """Weights of the logistic loss over bootstrap runs, and over null runs.

    Null runs take each prompt once: what is compared with them is a median over runs, which has
    next to nothing of the noise of a resample.

    Args:
        deltas: aligned minus base features of each pair, in units of the features' spread.
        prompts: of each pair. Pairs of one prompt are not independent: prompts are resampled, and
            swapped, with all they have.
    """
    place = np.unique(prompts, return_inverse=True)[1]
    count = int(place.max()) + 1

    def fit(kind: int, number: int) -> np.ndarray:
        draw = np.random.default_rng([seed, kind, number])
        drawn, signs = np.ones(count, dtype=np.int64), np.ones(count)
        if kind:
            signs[draw.permutation(count)[: count // 2]] = -1
        else:
            drawn = np.bincount(draw.integers(count, size=count), minlength=count)
        rows = np.repeat(np.arange(len(deltas)), drawn[place])
        return solve_adaptive(signs[place[rows], None] * deltas[rows], l2=l2)

    return Weights(
        np.array([fit(0, number) for number in range(runs)]),
        np.array([fit(1, number) for number in range(null_runs)]),
        level,
        l2,
        told_together(deltas),
    )


def solve_adaptive(deltas: Deltas, *, l2: float) -> Float[np.ndarray, " features"]:
    """The logistic loss with a penalty that is small for weights that a first fit found large.

    Mean of softplus(-w.delta), + l2 m^2 sum_j (w_j / v_j)^2, with v a plain fit's weights and m
    the root mean square of those that are not 0: adaptive ridge (Grandvalet 1998), with a first
    fit as the adaptive lasso has it (Zou 2006, section 3). One penalty for all takes from an
    objective that tells nearly all pairs apart what it leaves to dozens that are noise; this one
    tells more held-out pairs apart (docs/log.md).
    """
    return _solve_scaled(deltas, _adaptive_scale(deltas), l2=l2)


def _adaptive_scale(deltas: Deltas) -> Float[np.ndarray, " features"]:
    """The size of each weight of a plain fit over the root mean square of those that are not 0.

    Features without differences have no weight: how many of them there are changes nothing.
    """
    varies = np.any(deltas != 0, axis=0)
    scale = np.zeros(deltas.shape[1])
    if varies.any():
        first = np.abs(solve_logistic(deltas[:, varies], l2=FIRST_L2, newton=True))
        scale[varies] = first / (np.sqrt((first**2).mean()) or 1.0)
    return scale


def _solve_scaled(
    deltas: Deltas, scale: Float[np.ndarray, " features"], *, l2: float
) -> Float[np.ndarray, " features"]:
    weights, used = np.zeros(len(scale)), scale > 0
    if used.any():
        scaled = scale[used] * deltas[:, used]
        weights[used] = scale[used] * solve_logistic(scaled, l2=l2, newton=True)
    return weights


def choose_l2(
    deltas: Deltas | sparse.csr_array,
    prompts: Int[np.ndarray, " pairs"],
    *,
    adaptive: bool,
    seed: int,
) -> float:
    """The penalty under which pairs that a fit has not seen are likeliest, by cross-validation.

    One fifth of the pairs at a time and not `valid` alone: a hundred pairs choose weights that
    differ by a factor of two from split to split. The largest of equals.

    Args:
        deltas: aligned minus base features, dense or sparse, of pairs that nothing is reported of.
        prompts: of each pair; pairs of one prompt are in one fold.
        adaptive: fit by `solve_adaptive`, and not with one penalty for all.
    """
    place = np.unique(prompts, return_inverse=True)[1]
    fold = (np.random.default_rng([seed, 2]).permutation(int(place.max()) + 1) % FOLDS)[place]
    newton = not sparse.issparse(deltas)
    grid = sorted(L2_GRID if adaptive else PLAIN_L2_GRID, reverse=True)
    losses = np.zeros(len(grid))
    for held_out in np.unique(fold):
        seen, unseen = deltas[fold != held_out], deltas[fold == held_out]
        scale = _adaptive_scale(seen) if adaptive else None
        for index, l2 in enumerate(grid):
            weight = (
                solve_logistic(seen, l2=l2, newton=newton)
                if scale is None
                else _solve_scaled(seen, scale, l2=l2)
            )
            losses[index] += np.logaddexp(0, -(unseen @ weight)).sum()
    return grid[int(np.argmin(losses))]
