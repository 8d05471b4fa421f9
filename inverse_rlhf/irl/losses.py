"""The losses of a reward (design, section 3): a registry.

All but one are of margins, delta = R(x, y_aligned) - R(x, y_base); see `log_ratio` for that one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import leaky_relu, softplus

from inverse_rlhf.params import Irl


@dataclass(frozen=True)
class Loss:
    """One loss.

    Attributes:
        of_pairs: (margins, params) -> the loss of each pair, in units of reward (squared: its
            square; logistic: nats). None: it is no function of margins, but compares rewards with
            what both policies say.
        bounded: unbounded below by itself, so that the head's norm is held to 1.
        penalised: l2 * ||w||^2 is added.
        reads: which of the settings margin, temperature and l2 it reads.
    """

    of_pairs: Callable[[Tensor, Irl], Tensor] | None
    bounded: bool = False
    penalised: bool = False
    reads: tuple[str, ...] = ()

    @property
    def needs_policies(self) -> bool:
        """Whether it takes both policies, not their completions alone."""
        return self.of_pairs is None


LOSSES = {
    # -p(d) with p(d) = d where d >= 0, else 2d (Ng & Russell 2000, section 5)
    "max_margin": Loss(lambda d, params: -leaky_relu(d, 2.0), bounded=True),
    # max(0, m - d)
    "hinge": Loss(
        lambda d, params: torch.relu(params.margin - d), penalised=True, reads=("margin", "l2")
    ),
    # softplus(-d / T) (Bradley & Terry 1952)
    "logistic": Loss(
        lambda d, params: softplus(-d / params.temperature),
        penalised=True,
        reads=("temperature", "l2"),
    ),
    # (m - d)^2
    "squared": Loss(lambda d, params: (params.margin - d) ** 2, reads=("margin",)),
    # (centred R - centred log pi_aligned / pi_base)^2 (Rafailov et al. 2023, equation 5)
    "log_ratio": Loss(None, penalised=True, reads=("l2",)),
}
"""Every loss by its name in `irl.loss`."""


def pair_loss(delta: Float[Tensor, "*pairs"], params: Irl) -> Float[Tensor, "*pairs"]:
    """The loss of each pair; see `LOSSES`."""
    of_pairs = LOSSES[params.loss].of_pairs
    assert of_pairs is not None, f"{params.loss} is no loss of margins"
    return of_pairs(delta, params)


def head_penalty(weight: Float[Tensor, "*runs features"], params: Irl) -> Float[Tensor, "*runs"]:
    """The penalty on the head's weights: l2 * ||w||^2 of losses that are penalised, else 0."""
    if not LOSSES[params.loss].penalised:
        return weight.new_zeros(weight.shape[:-1])
    return params.l2 * (weight**2).sum(-1)


def constrained(
    weight: Float[Tensor, "*runs features"], params: Irl
) -> Float[Tensor, "*runs features"]:
    """The head that free weights stand for: scaled to norm 1 at most where the loss asks for it.

    The scaling is part of what is minimised. Projecting after each step of Adam instead
    would not find the minimum: its steps have the gradient's signs, not its direction.
    """
    if not LOSSES[params.loss].bounded:
        return weight
    return weight / weight.norm(dim=-1, keepdim=True).clamp(min=1.0)


def discrimination(delta: Float[Tensor, "*runs pairs"]) -> Float[Tensor, "*runs"]:
    """The share of pairs in which the aligned completion has the higher reward."""
    return (delta > 0).float().mean(-1)
