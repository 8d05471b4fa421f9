"""Failure-aware IRL: a correction fitted on the pairs that a first reward gets wrong.

After arXiv 2510.06092: failures are pairs that the first reward misclassifies or scores nearly
equal; a correction is trained on them with a larger margin, from the clear to the subtle ones; base
and correction add up to one reward. With linear heads on the same features so do their weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from inverse_rlhf.irl.heads import (
    OPTIMIZERS,
    Heads,
    all_margins,
    clip_rows,
    keep_best,
    pair_margins,
)
from inverse_rlhf.irl.losses import discrimination
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Irl


@dataclass(frozen=True)
class Failures:
    """The failures of every run.

    Attributes:
        order: (runs, drawn), the pairs of a run's resample by ascending margin: clear failures
            first.
        count: (runs,), how many of them are failures.
        base: (runs, pairs), margins of all pairs under the first reward, in units of `scale`.
        scale: (runs, 1), standard deviation of the margins in the resample.
    """

    order: Int[Tensor, "runs drawn"]
    count: Int[Tensor, " runs"]
    base: Float[Tensor, "runs pairs"]
    scale: Float[Tensor, "runs 1"]


def find_failures(
    margins: Float[Tensor, "runs pairs"], rows: Int[Tensor, "runs drawn"], tied: float
) -> Failures:
    """Pairs whose margin is negative or below `tied` standard deviations of the margins.

    Args:
        margins: of all pairs.
        rows: which pairs a run is fitted on.
    """
    drawn = margins.gather(1, rows)
    scale = drawn.std(dim=1, keepdim=True).clamp(min=torch.finfo(margins.dtype).tiny)
    order = rows.gather(1, drawn.argsort(1))
    return Failures(order, (drawn < tied * scale).sum(1), margins / scale, scale)


def correct_heads(
    first: Heads,
    train: Float[Tensor, "pairs features"],
    valid: Float[Tensor, "valid_pairs features"],
    runs: Sequence[Run],
    params: Irl,
) -> Heads:
    """Each head with its correction added, at the epoch of highest discrimination on `valid`; the
    first reward where no epoch has a higher one.

    Args:
        first: the runs' first rewards.
        train, valid: aligned minus base features of each pair.

    Returns:
        Heads whose history goes on from that of the first rewards.
    """
    settings = params.failure_aware
    signs = torch.stack([run.signs(len(train), 3) for run in runs]).to(train.device)
    valid_signs = torch.stack([run.signs(len(valid), 4) for run in runs]).to(train.device)
    drawn = torch.stack([run.resample(len(train), params) for run in runs]).to(train.device)
    failures = find_failures(all_margins(first.weight, train) * signs, drawn, settings.tied)
    scaled_weight = first.weight / failures.scale
    bound = settings.bound * scaled_weight.norm(dim=1, keepdim=True)
    generators = [run.generator(5) for run in runs]
    correction = torch.zeros_like(first.weight, requires_grad=True)
    optimizer = OPTIMIZERS[params.optimizer](
        [correction], lr=params.lr, weight_decay=params.weight_decay
    )
    best = first.weight.clone()
    losses: list[Tensor] = []
    found = [discrimination(best @ valid.T * valid_signs)]
    for epoch in range(settings.epochs):
        shown = (epoch + 1) / settings.epochs  # the curriculum: a growing share of the failures
        rows = _draws(failures, shown, generators)
        losses.append(_epoch(correction, bound, train, rows, signs, failures, optimizer, params))
        with torch.no_grad():
            head = scaled_weight + _bounded(correction, bound)
            found.append(discrimination(head @ valid.T * valid_signs))
            keep_best(best, head, found)
    history = torch.stack(found, dim=1)
    chosen = history.argmax(1)
    return Heads(
        best,
        torch.where(chosen > 0, first.loss.shape[1] + chosen, first.epoch.to(chosen.device)),
        torch.cat([first.loss, torch.stack(losses, dim=1)], dim=1),
        torch.cat([first.valid_discrimination, history[:, 1:]], dim=1),
    )


def _epoch(
    correction: Float[Tensor, "runs features"],
    bound: Float[Tensor, "runs 1"],
    train: Float[Tensor, "pairs features"],
    rows: Int[Tensor, "runs drawn"],
    signs: Float[Tensor, "runs pairs"],
    failures: Failures,
    optimizer: torch.optim.Optimizer,
    params: Irl,
) -> Float[Tensor, " runs"]:
    """One pass over each run's rows; the mean loss of each run."""
    total = torch.zeros(len(rows), device=train.device)
    for batch in rows.split(params.batch_size, dim=1):
        bounded = _bounded(correction, bound)
        delta = pair_margins(bounded, train, batch) * signs.gather(1, batch)
        margin = params.failure_aware.margin - failures.base.gather(1, batch)
        loss = torch.relu(margin - delta).mean(1)
        loss = loss * (failures.count > 0)  # without failures there is nothing to correct
        optimizer.zero_grad()
        loss.sum().backward()
        clip_rows(correction, params.max_grad_norm)
        optimizer.step()
        total += loss.detach() * batch.shape[1]
    return total / rows.shape[1]


def _bounded(
    weight: Float[Tensor, "runs features"], bound: Float[Tensor, "runs 1"]
) -> Float[Tensor, "runs features"]:
    """The weights, scaled to the bound where they exceed it.

    Failures lie on the wrong side of the first reward: fitted on them alone, a correction without
    a bound would turn the reward round.
    """
    return weight * (bound / weight.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)


def _draws(
    failures: Failures, share: float, generators: list[torch.Generator]
) -> Int[Tensor, "runs drawn"]:
    """As many rows a run as there are pairs, drawn from the clearest `share` of its failures."""
    drawn = []
    for order, count, generator in zip(
        failures.order, failures.count.tolist(), generators, strict=True
    ):
        known = max(1, round(share * count))
        drawn.append(order[torch.randint(known, order.shape, generator=generator).to(order.device)])
    return torch.stack(drawn)
