"""A posterior over the reward's weights, learnt in rounds, and what it knows of its own errors.

After arXiv 2510.06096, with a full covariance: under a mean-field approximation the volume of the
posterior shrinks almost by construction. Shrinking alone proves nothing in either case, so the same
is done with shuffled sides beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit, xlogy
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from torch import Tensor

from inverse_rlhf.irl.heads import Heads, given_heads
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Bayes, Irl

Differences = Float[np.ndarray, "_ features"]
Probabilities = Float[np.ndarray, " _"]
_BINS = 10
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(32)


@dataclass(frozen=True)
class Posterior:
    """A Gaussian over weights: mean (features,), covariance (features, features)."""

    mean: Float[np.ndarray, " features"]
    covariance: Float[np.ndarray, "features features"]

    @property
    def log_det(self) -> float:
        """log det of the covariance, nats."""
        return float(np.linalg.slogdet(self.covariance)[1])

    def margins(self, deltas: Differences) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the reward differences, each of shape (pairs,)."""
        variance = (deltas @ self.covariance * deltas).sum(axis=1)
        return deltas @ self.mean, np.maximum(variance, 0.0)

    def draw(self, count: int, seed: int | Sequence[int]) -> Float[np.ndarray, "draws features"]:
        """Independent draws of the weights."""
        return np.random.default_rng(seed).multivariate_normal(
            self.mean, self.covariance, count, method="cholesky"
        )


@dataclass(frozen=True)
class Prediction:
    """Per pair, arrays of shape (pairs,).

    Attributes:
        mean, variance: of the margin, in units of reward and their square.
        probability: that the first text is the preferred one, averaged over the posterior.
        total: entropy of that probability, nats.
        mutual_information: between label and weights, nats: what more pairs could tell (Houlsby et
            al. 2011); the rest of the entropy is noise in the pairs themselves.
    """

    mean: np.ndarray
    variance: np.ndarray
    probability: Probabilities
    total: np.ndarray
    mutual_information: np.ndarray


def prior(features: int, params: Bayes) -> Posterior:
    """Independent weights of mean 0."""
    return Posterior(np.zeros(features), params.prior_std**2 * np.eye(features))


def update(before: Posterior, deltas: Differences) -> Posterior:
    """Laplace's approximation after more pairs, of Bradley-Terry likelihood sigmoid(w.delta).

    The mode is found by Newton's method; the covariance is the inverse Hessian there.
    """
    precision = np.linalg.inv(before.covariance)

    def objective(weight: np.ndarray) -> tuple[float, np.ndarray]:
        shift = weight - before.mean
        value = -log_expit(deltas @ weight).sum() + 0.5 * shift @ precision @ shift
        return float(value), precision @ shift - deltas.T @ expit(-deltas @ weight)

    def hessian(weight: np.ndarray) -> np.ndarray:
        chance = expit(deltas @ weight)
        return precision + (deltas * (chance * (1 - chance))[:, None]).T @ deltas

    options = {"gtol": 1e-6 * max(1, len(deltas))}
    found = minimize(
        objective, before.mean, jac=True, hess=hessian, method="trust-exact", options=options
    )
    factor = cho_factor(hessian(found.x))
    covariance = cho_solve(factor, np.eye(len(found.x)))
    return Posterior(found.x, (covariance + covariance.T) / 2)


def learn_in_rounds(deltas: Differences, params: Bayes, *, seed: int) -> list[Posterior]:
    """The posterior after each of `params.rounds` disjoint random batches of the pairs."""
    order = np.random.default_rng(seed).permutation(len(deltas))
    posteriors = [prior(deltas.shape[1], params)]
    for rows in np.array_split(order, params.rounds):
        posteriors.append(update(posteriors[-1], deltas[rows]))
    return posteriors[1:]


def predict(posterior: Posterior, deltas: Differences) -> Prediction:
    """What the posterior says of each pair; averages by Gauss-Hermite quadrature."""
    mean, variance = posterior.margins(deltas)
    chances = expit(mean[:, None] + np.sqrt(variance)[:, None] * _NODES)
    weights = _WEIGHTS / _WEIGHTS.sum()
    probability = chances @ weights
    total = _entropy(probability)
    information = np.maximum(total - _entropy(chances) @ weights, 0.0)
    return Prediction(mean, variance, probability, total, information)


def calibration(
    valid: Probabilities, test: Probabilities, *, seed: int
) -> dict[str, dict[str, float]]:
    """Calibration on test pairs, before and after Platt scaling (Platt 1999) on valid pairs.

    Args:
        valid, test: probabilities that the aligned completion is the preferred one. Each pair is
            turned round at random, so that both labels occur.

    Returns:
        `raw` and `platt`, each with ece (10 bins of equal width) and brier.
    """
    generator = np.random.default_rng(seed)
    turned = [_turned(values, generator) for values in (valid, test)]
    (known, labels), (found, truth) = turned
    scaled = logit(np.clip([*known, *found], 1e-6, 1 - 1e-6))[:, None]
    # Turned at random, pairs prefer neither side: no intercept.
    platt = LogisticRegression(C=np.inf, fit_intercept=False).fit(scaled[: len(known)], labels)
    after = platt.predict_proba(scaled[len(known) :])[:, 1]
    return {
        name: {"ece": calibration_error(values, truth), "brier": brier_score_loss(truth, values)}
        for name, values in (("raw", found), ("platt", after))
    }


def calibration_error(probability: Probabilities, label: np.ndarray) -> float:
    """Expected calibration error (Naeini et al. 2015): the mean gap of 10 equal-width bins."""
    share, confidence = calibration_curve(label, probability, n_bins=_BINS)
    edges = np.linspace(0, 1, _BINS + 1)[1:-1]
    counts = np.bincount(np.searchsorted(edges, probability))  # calibration_curve's own bins
    counts = counts[counts > 0]
    return float((counts * np.abs(share - confidence)).sum() / counts.sum())


def _turned(
    probability: Probabilities, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    label = generator.permutation(np.arange(len(probability)) % 2)
    return np.where(label == 1, probability, 1 - probability), label


def _entropy(probability: np.ndarray) -> np.ndarray:
    entropy: np.ndarray = -xlogy(probability, probability) - xlogy(1 - probability, 1 - probability)
    return entropy


@dataclass(frozen=True)
class BayesianFit:
    """Posteriors after each round, of the pairs as they are and of half-swapped ones.

    Attributes:
        scale: (features,), the spread of every feature; posteriors are over weights of features
            divided by it.
        rounds, shuffled: posteriors by round.
        params: for the loss that is reported.
        seed: of the draws.
    """

    scale: np.ndarray
    rounds: list[Posterior]
    shuffled: list[Posterior]
    params: Irl
    seed: int

    def draws(self, runs: Sequence[Run], train: Tensor, valid: Tensor) -> Heads:
        """A head a run, drawn from the last posterior of its kind; its number says which draw.

        Shuffled runs are draws from the posterior of one shuffle: their spread is not that over
        shuffles.
        """
        control = runs[0].kind == "shuffled"
        posterior = (self.shuffled if control else self.rounds)[-1]
        numbers = [run.number for run in runs]
        drawn = posterior.draw(max(numbers) + 1, [self.seed, control])[numbers] / self.scale
        weight = torch.from_numpy(drawn).float().to(train.device)
        return given_heads(weight, train, valid, self.params)


def fit_posterior(
    deltas: dict[str, Tensor], scale: Tensor, params: Irl, *, seed: int
) -> BayesianFit:
    """Learn from the irl pairs in rounds, and again with base and aligned swapped in half of them.

    Args:
        deltas: aligned minus base features of the irl pairs, (pairs, features), under `irl`.
        scale: the spread of every feature, (features,).
    """
    scale_array = scale.cpu().double().numpy()
    scale_array = np.where(scale_array > 0, scale_array, 1.0)
    train = deltas["irl"].cpu().double().numpy() / scale_array
    swapped = train * Run(0, "shuffled", seed).signs(len(train), 3)[:, None].numpy()
    learnt, control = (
        learn_in_rounds(pairs, params.bayes, seed=seed) for pairs in (train, swapped)
    )
    return BayesianFit(scale_array, learnt, control, params, seed)


def posterior_report(fitted: BayesianFit, deltas: dict[str, Tensor]) -> dict[str, Any]:
    """What the posterior knows: its volume by round, and its predictions on held-out pairs.

    Args:
        deltas: features as in `fit_posterior`, under `irl`, `valid` and `test`.

    Returns:
        log_det by round with its shuffled control (nats; the prior's is round 0); on the test pairs
        the means of the margin's predictive mean and variance, of the predictive entropy and of the
        mutual information (nats), and the calibration.
    """
    held_out = {
        split: deltas[split].cpu().double().numpy() / fitted.scale for split in ("valid", "test")
    }
    start = prior(len(fitted.scale), fitted.params.bayes).log_det
    report: dict[str, Any] = {}
    for name, rounds in (("fit", fitted.rounds), ("shuffled", fitted.shuffled)):
        found = {split: predict(rounds[-1], pairs) for split, pairs in held_out.items()}
        report[name] = {
            "log_det": [start, *(posterior.log_det for posterior in rounds)],
            "margin_mean": float(found["test"].mean.mean()),
            "margin_variance": float(found["test"].variance.mean()),
            "entropy": float(found["test"].total.mean()),
            "mutual_information": float(found["test"].mutual_information.mean()),
            "discrimination": float((found["test"].probability > 0.5).mean()),
            "calibration": calibration(
                found["valid"].probability, found["test"].probability, seed=fitted.seed
            ),
        }
    return report
