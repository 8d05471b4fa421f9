"""The white-box teacher: a reward regressed on what both policies say of each completion.

Under KL-regularised RL, r(x, y) = beta log pi_aligned(y|x) / pi_base(y|x) + beta log Z(x) (Rafailov
et al. 2023, equation 5): among completions of one prompt the log-ratio is the reward in units of
beta, but for an offset. Both sides are therefore taken relative to their mean over all completions
of the prompt, of both policies.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import sparse
from torch import Tensor

from inverse_rlhf.irl.exact import as_heads
from inverse_rlhf.irl.heads import Heads
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.irl.solvers import solve_ridge
from inverse_rlhf.params import Irl


@dataclass(frozen=True)
class Teacher:
    """What a reward is regressed on, for each pair's aligned and base completion.

    Attributes:
        features: (pairs, 2, features), relative to the prompt's mean.
        log_ratios: (pairs, 2), nats, relative to the prompt's mean.
    """

    features: Float[np.ndarray, "pairs 2 features"]
    log_ratios: Float[np.ndarray, "pairs 2"]

    def heads(
        self,
        valid: Float[Tensor, "valid_pairs features"],
        runs: Sequence[Run],
        params: Irl,
    ) -> Heads:
        """Each run's head of least squares, on its resample of pairs, or its random one.

        The penalty is on weights for nats: the smaller a feature's scale, the more it is held back.
        In shuffled runs the log-ratios of the two completions of half of the pairs change places.

        Returns:
            Heads like those of `solve_heads`; loss is the mean squared error, nats squared.
        """
        weights, losses = [], []
        for run in runs:
            targets, counts = self._targets(run), self._counts(run, params)
            if run.kind == "random_head":
                weight = run.initial_head(self.features.shape[2]).double().numpy()
            else:
                rows = self.features.reshape(counts.size, -1)
                weight = solve_ridge(rows, targets.ravel(), counts.ravel(), l2=params.l2)
            error = (self.features @ weight.astype(self.features.dtype) - targets) ** 2
            weights.append(torch.from_numpy(weight))
            losses.append(float(np.average(error, weights=counts)))
        return as_heads(weights, losses, valid, runs)

    def _targets(self, run: Run) -> Float[np.ndarray, "pairs 2"]:
        swapped = run.signs(len(self.log_ratios), 3).numpy() < 0
        return np.where(swapped[:, None], self.log_ratios[:, ::-1], self.log_ratios)

    def _counts(self, run: Run, params: Irl) -> Float[np.ndarray, "pairs 2"]:
        """How often each completion is in the run's resample."""
        pairs = len(self.log_ratios)
        if run.kind == "random_head":
            return np.ones((pairs, 2))
        drawn = np.bincount(run.resample(pairs, params).numpy(), minlength=pairs)
        return np.repeat(drawn[:, None], 2, axis=1).astype(np.float64)


def make_teacher(
    features: Float[np.ndarray, "pairs 2 features"],
    log_ratios: Float[np.ndarray, "pairs 2"],
    prompts: Int[np.ndarray, " pairs"],
) -> Teacher:
    """The teacher of pairs, from features and log-ratios as they are.

    Args:
        prompts: of each pair, any number that names it.
    """
    return Teacher(within_prompts(features, prompts), within_prompts(log_ratios, prompts))


def within_prompts(
    values: Float[np.ndarray, "pairs 2 *columns"], prompts: Int[np.ndarray, " pairs"]
) -> Float[np.ndarray, "pairs 2 *columns"]:
    """The values minus their mean over all completions of their prompt."""
    place, count = np.unique(prompts, return_inverse=True, return_counts=True)[1:]
    share = (1 / (2 * count))[place].astype(values.dtype)
    averaging = sparse.csr_array((share, (place, np.arange(len(place)))))
    means = averaging @ values.sum(axis=1)
    centred: np.ndarray = values - means[place][:, None]
    return centred
