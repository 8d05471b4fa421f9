"""Slow, obvious twins."""

import torch

from inverse_rlhf.models.checkpoints import Model


def slow_ratio(head: list[int], tail: list[int], aligned: Model, base: Model) -> float:
    """Token by token, each from the whole text before it."""
    total = 0.0
    with torch.no_grad():
        for place, token in enumerate(tail):
            ids = torch.tensor([head + tail[:place]])
            for sign, model in ((1, aligned), (-1, base)):
                logits = model.module(ids).logits[0, -1].double()
                total += sign * float(logits.log_softmax(-1)[token])
    return total
