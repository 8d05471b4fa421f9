"""Many heads on frozen features, fitted together as one matrix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from inverse_rlhf.irl.losses import constrained, discrimination, head_penalty, pair_loss
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Irl

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
}


@dataclass(frozen=True)
class Heads:
    """Fitted heads.

    Attributes:
        weight: (runs, features), each run at its chosen epoch.
        epoch: (runs,), the chosen epoch, from 1.
        loss: (runs, epochs), mean training loss within the epoch.
        valid_discrimination: (runs, epochs), after the epoch.
    """

    weight: Float[Tensor, "runs features"]
    epoch: Tensor
    loss: Float[Tensor, "runs epochs"]
    valid_discrimination: Float[Tensor, "runs epochs"]


def fit_heads(
    train: Float[Tensor, "pairs features"],
    valid: Float[Tensor, "valid_pairs features"],
    runs: Sequence[Run],
    params: Irl,
) -> Heads:
    """Fit one head a run by minibatch Adam; but for rounding, a run does not depend on the others.

    The epoch with the highest discrimination on `valid` is kept, the first of equals.

    Args:
        train, valid: aligned minus base features of each pair.
    """
    device = train.device
    weight = torch.stack([run.initial_head(train.shape[1]) for run in runs]).to(device)
    weight.requires_grad_()
    rows = torch.stack([run.resample(len(train), params) for run in runs]).to(device)
    orders = torch.stack([run.orders(len(train), params) for run in runs], dim=1).to(device)
    signs = torch.stack([run.signs(len(train), 3) for run in runs]).to(device)
    valid_signs = torch.stack([run.signs(len(valid), 4) for run in runs]).to(device)
    optimizer = OPTIMIZERS[params.optimizer](
        [weight], lr=params.lr, weight_decay=params.weight_decay
    )
    best = torch.empty_like(weight)
    losses, discriminations = [], []
    for order in orders:
        losses.append(_epoch(weight, train, rows.gather(1, order), signs, optimizer, params))
        with torch.no_grad():
            head = constrained(weight, params)
            discriminations.append(discrimination(head @ valid.T * valid_signs))
            keep_best(best, head, discriminations)
    history = torch.stack(discriminations, dim=1)
    return Heads(best, history.argmax(1) + 1, torch.stack(losses, dim=1), history)


def pair_margins(
    head: Float[Tensor, "runs features"],
    deltas: Float[Tensor, "pairs features"],
    rows: Int[Tensor, "runs batch"],
) -> Float[Tensor, "runs batch"]:
    """Each run's margins of its own pairs, which may repeat."""
    # `embedding` gathers the rows in a fifth of the time that indexing takes. A run alone is read
    # twice: another kernel would round it otherwise than beside others, as when it is resumed.
    if len(head) == 1:
        return pair_margins(head.expand(2, -1), deltas, rows.expand(2, -1))[:1]
    return torch.bmm(embedding(rows, deltas), head.unsqueeze(2)).squeeze(2)


def all_margins(
    head: Float[Tensor, "runs features"], deltas: Float[Tensor, "pairs features"]
) -> Float[Tensor, "runs pairs"]:
    """Each run's margins of all pairs.

    One by one: a product of several heads rounds by their number, and a resumed fit has fewer.
    """
    return torch.stack([deltas @ weight for weight in head])


def keep_best(
    best: Float[Tensor, "runs features"],
    head: Float[Tensor, "runs features"],
    discriminations: list[Tensor],
) -> None:
    """Copy into `best` the heads of the runs that are better now than in every earlier epoch."""
    now, *earlier = reversed(discriminations)
    better = now > torch.stack(earlier).amax(0) if earlier else torch.ones_like(now).bool()
    best[better] = head[better]


def clip_rows(weight: Float[Tensor, "runs features"], max_norm: float) -> None:
    """Clip the gradient of each run by itself."""
    assert weight.grad is not None
    norm = weight.grad.norm(dim=1, keepdim=True)
    weight.grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0))


def random_heads(
    train: Float[Tensor, "pairs features"],
    valid: Float[Tensor, "valid_pairs features"],
    runs: Sequence[Run],
    params: Irl,
) -> Heads:
    """Initial heads to which nothing is fitted: a control. Same result as `fit_heads`."""
    weight = torch.stack([run.initial_head(train.shape[1]) for run in runs])
    return given_heads(weight.to(train.device), train, valid, params)


def given_heads(
    weight: Float[Tensor, "runs features"],
    train: Float[Tensor, "pairs features"],
    valid: Float[Tensor, "valid_pairs features"],
    params: Irl,
) -> Heads:
    """Weights that no epochs led to, as `Heads` with one epoch; pairs as in `fit_heads`."""
    loss = pair_loss(all_margins(weight, train), params).mean(1)
    found = discrimination(all_margins(weight, valid))
    return Heads(weight, torch.ones(len(weight), dtype=torch.int64), loss[:, None], found[:, None])


def _epoch(
    weight: Float[Tensor, "runs features"],
    train: Float[Tensor, "pairs features"],
    rows: Tensor,
    signs: Float[Tensor, "runs pairs"],
    optimizer: torch.optim.Optimizer,
    params: Irl,
) -> Float[Tensor, " runs"]:
    """One pass over each run's rows, in their order; the mean loss of each run."""
    total = torch.zeros(len(weight), device=weight.device)
    signed = signs.gather(1, rows).split(params.batch_size, dim=1)
    for batch, sign in zip(rows.split(params.batch_size, dim=1), signed, strict=True):
        head = constrained(weight, params)
        delta = pair_margins(head, train, batch) * sign
        loss = pair_loss(delta, params).mean(1) + head_penalty(head, params)
        optimizer.zero_grad()
        loss.sum().backward()
        clip_rows(weight, params.max_grad_norm)
        optimizer.step()
        total += loss.detach() * batch.shape[1]
    return total / rows.shape[1]
