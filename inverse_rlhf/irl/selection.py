"""Choices made without the true reward: epoch and run."""

from jaxtyping import Float
from torch import Tensor


def discrimination(delta: Float[Tensor, "*runs pairs"]) -> Float[Tensor, "*runs"]:
    """The share of pairs in which the aligned completion has the higher reward."""
    return (delta > 0).float().mean(-1)


def median_run(discriminations: list[float]) -> int:
    """The run of median discrimination (of two middle ones the lower; ties go to the first)."""
    order = sorted(range(len(discriminations)), key=lambda run: (discriminations[run], run))
    return order[(len(order) - 1) // 2]
