"""Training without chance: what is compared has to be the same whenever it is read."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn


@contextlib.contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Within it, `module.train()` trains the model as `eval()` reads it.

    Dropout, dropped layers and noisy routers are all bound to the training mode, so no part of the
    model goes into it, though the model itself says that it does. Activation checkpointing works in
    that mode only: blocks that do it go, without the probabilities of their own.
    """
    parts = list(module.modules())
    chances = [
        (part, name, value)
        for part in parts
        for name, value in vars(part).items()
        if isinstance(value, float) and "drop" in name
    ]

    def train(mode: bool = True) -> nn.Module:
        for part in parts:
            part.training = mode and (part is module or _checkpoints(part))
        return module

    mode = module.training
    for part, name, _ in chances:
        setattr(part, name, 0.0)
    module.train = train  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.train
        for part, name, value in chances:
            setattr(part, name, value)
        module.train(mode)


def _checkpoints(part: Any) -> bool:
    return bool(getattr(part, "gradient_checkpointing", False))
