"""What makes a run: its kind, initial weights, order of pairs and resample."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from inverse_rlhf.params import Irl

Kind = Literal["fit", "shuffled", "random_head", "plain"]


@dataclass(frozen=True)
class Run:
    """One fit, or a control.

    Attributes:
        number: from 0, within its kind.
        kind: fit: what `irl.method` fits. Controls: shuffled, fitted with base and aligned swapped
            in a random half of the pairs; random_head, initial weights that nothing was fitted to.
            plain: the standard fit from the same start as the failure-aware run of this number.
        seed: of the whole pipeline.
    """

    number: int
    kind: Kind
    seed: int

    @property
    def name(self) -> str:
        """Unique within a pipeline."""
        return f"{self.kind}-{self.number}"

    def generator(self, purpose: int) -> torch.Generator:
        """A CPU generator that no other run or purpose shares; plain runs share their fit's."""
        kind = {"fit": 0, "plain": 0, "shuffled": 1, "random_head": 2}[self.kind]
        entropy = np.random.SeedSequence([self.seed, self.number, kind, purpose])
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
        if self.kind == "shuffled":
            swapped = torch.randperm(pairs, generator=self.generator(purpose))[: pairs // 2]
            signs[swapped] = -1
        return signs


def plan_runs(params: Irl, *, seed: int) -> list[Run]:
    """All runs of a stage: `irl.runs` fits and `irl.control_runs` of each control."""
    fits = [Run(number, "fit", seed) for number in range(params.runs)]
    plain = [Run(number, "plain", seed) for number in range(params.runs)]
    controls = [
        Run(number, kind, seed)
        for kind in ("shuffled", "random_head")
        for number in range(params.control_runs)
    ]
    return fits + (plain if params.method == "failure_aware" else []) + controls


@dataclass(frozen=True)
class Fit:
    """One finished run.

    Attributes:
        run: which one.
        loss, valid_discrimination: by epoch.
        epoch: the chosen one, from 1.
        rewards: of all texts, float32 of shape (texts,).
    """

    run: Run
    loss: list[float]
    valid_discrimination: list[float]
    epoch: int
    rewards: np.ndarray


def median_run(discriminations: dict[int, float]) -> int:
    """The number of the run of median discrimination, of two middle ones the lower; ties go to the
    first. The true reward has no say in it.
    """
    order = sorted(discriminations, key=lambda run: (discriminations[run], run))
    return order[(len(order) - 1) // 2]
