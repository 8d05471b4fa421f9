"""What makes a run: its initial weights, order of pairs, resample and shuffled labels."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inverse_rlhf.params import Irl


@dataclass(frozen=True)
class Run:
    """One fit.

    Attributes:
        number: from 0; runs and shuffled runs are counted apart.
        shuffled: a control, fitted with base and aligned swapped in a random half of the pairs.
        seed: of the whole pipeline.
    """

    number: int
    shuffled: bool
    seed: int

    def generator(self, purpose: int) -> torch.Generator:
        """A CPU generator that no other run or purpose shares."""
        entropy = np.random.SeedSequence([self.seed, self.number, self.shuffled, purpose])
        return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    def initial_head(self, features: int) -> Float[Tensor, " features"]:
        """Initial weights with an expected norm of 0.1."""
        return 0.1 * torch.randn(features, generator=self.generator(0)) / features**0.5

    def resample(self, pairs: int, params: Irl) -> Int[Tensor, " pairs"]:
        """Row numbers of the pairs to fit on: all of them, or as many drawn with replacement."""
        if not params.bootstrap:
            return torch.arange(pairs)
        return torch.randint(pairs, (pairs,), generator=self.generator(1))

    def orders(self, pairs: int, params: Irl) -> Int[Tensor, "epochs pairs"]:
        """The order of the pairs in each epoch."""
        generator = self.generator(2)
        return torch.stack(
            [torch.randperm(pairs, generator=generator) for _ in range(params.epochs)]
        )

    def signs(self, pairs: int, purpose: int) -> Float[Tensor, " pairs"]:
        """+1 for a pair as it is, -1 for a swapped one: exactly half of a shuffled run's pairs."""
        signs = torch.ones(pairs)
        if self.shuffled:
            swapped = torch.randperm(pairs, generator=self.generator(purpose))[: pairs // 2]
            signs[swapped] = -1
        return signs


def plan_runs(params: Irl, *, seed: int) -> list[Run]:
    """All runs of a stage: `irl.runs` on the pairs as they are, `irl.shuffled_runs` controls."""
    fits = [Run(number, False, seed) for number in range(params.runs)]
    return fits + [Run(number, True, seed) for number in range(params.shuffled_runs)]
