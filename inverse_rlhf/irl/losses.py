"""The four losses on margins, delta = R(x, y_aligned) - R(x, y_base) (design, section 3)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import leaky_relu, softplus

from inverse_rlhf.params import Irl


def pair_loss(delta: Float[Tensor, "*pairs"], params: Irl) -> Float[Tensor, "*pairs"]:
    """The loss of each pair, in units of reward (squared: its square; logistic: nats).

    max_margin: -p(delta) with p(d) = d where d >= 0, else 2d (Ng & Russell 2000, section 5);
    hinge: max(0, m - d); logistic: softplus(-d / T) (Bradley & Terry 1952); squared: (m - d)^2.
    """
    match params.loss:
        case "max_margin":
            return -leaky_relu(delta, 2.0)
        case "hinge":
            return torch.relu(params.margin - delta)
        case "logistic":
            return softplus(-delta / params.temperature)
        case "squared":
            return (params.margin - delta) ** 2


def head_penalty(weight: Float[Tensor, "*runs features"], params: Irl) -> Float[Tensor, "*runs"]:
    """The penalty on the head's weights: l2 * ||w||^2 with hinge and logistic, else 0."""
    if params.loss not in ("hinge", "logistic"):
        return weight.new_zeros(weight.shape[:-1])
    return params.l2 * (weight**2).sum(-1)


def constrained(
    weight: Float[Tensor, "*runs features"], params: Irl
) -> Float[Tensor, "*runs features"]:
    """The head that free weights stand for: scaled to norm 1 at most where max_margin is unbounded.

    The scaling is part of what is minimised. Projecting after each step of Adam instead
    would not find the minimum: its steps have the gradient's signs, not its direction.
    """
    if params.loss != "max_margin":
        return weight
    return weight / weight.norm(dim=-1, keepdim=True).clamp(min=1.0)
