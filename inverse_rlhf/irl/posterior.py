"""Method `bayes`: runs are draws from the posterior of the weights, with a report on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inverse_rlhf.irl.bayes import Posterior, calibration, learn_in_rounds, predict, prior
from inverse_rlhf.irl.linear import Heads, given_heads
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Irl


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
