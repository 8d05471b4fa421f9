"""Heads of all runs by exact solutions: the same arguments and results as those of Adam."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from inverse_rlhf.irl.heads import Heads
from inverse_rlhf.irl.losses import discrimination, head_penalty, pair_loss
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.irl.solvers import solve
from inverse_rlhf.params import Irl


def solve_heads(
    train: Float[Tensor, "pairs features"],
    valid: Float[Tensor, "valid_pairs features"],
    runs: Sequence[Run],
    params: Irl,
) -> Heads:
    """The optimal head of every run, on its resample and with its swapped pairs.

    Same arguments and result as `fit_heads`, with one epoch; loss is the objective at the optimum.
    """
    deltas = train.cpu()
    weights, losses = [], []
    for run in runs:
        rows = run.resample(len(deltas), params)
        signed = (run.signs(len(deltas), 3)[rows, None] * deltas[rows]).double().numpy()
        weight = solve(signed, params)
        weights.append(torch.from_numpy(weight))
        losses.append(objective(signed, weights[-1], params))
    return as_heads(weights, losses, valid, runs)


def as_heads(
    weights: Sequence[Float[Tensor, " features"]],
    losses: Sequence[float],
    valid: Float[Tensor, "valid_pairs features"],
    runs: Sequence[Run],
) -> Heads:
    """Each run's weights, float64 on the CPU, as heads of one epoch on the device of `valid`."""
    heads = torch.stack(list(weights))
    signs = torch.stack([run.signs(len(valid), 4) for run in runs])
    found = discrimination(heads @ valid.cpu().double().T * signs)
    return Heads(
        heads.float().to(valid.device),
        torch.ones(len(runs), dtype=torch.int64),
        torch.tensor(losses)[:, None],
        found[:, None],
    )


def objective(
    deltas: Float[np.ndarray, "pairs features"], weight: Float[Tensor, " features"], params: Irl
) -> float:
    """Mean loss of the pairs plus the penalty."""
    margins = torch.from_numpy(deltas) @ weight
    return float(pair_loss(margins, params).mean() + head_penalty(weight, params))
