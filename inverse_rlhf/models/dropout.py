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
    that mode only: blocks that do it go, without the probabilities that they or their
    configurations have.
    """
    parts = list(module.modules())
    configs = {id(part.config): part.config for part in parts if hasattr(part, "config")}
    chances = [
        (holder, name, value)
        for holder in (*parts, *configs.values())
        for name, value in vars(holder).items()
        if isinstance(value, float) and "drop" in name
    ]

    def train(mode: bool = True) -> nn.Module:
        for part in parts:
            part.training = mode and (part is module or _checkpoints(part))
        return module

    mode = module.training
    for holder, name, _ in chances:
        setattr(holder, name, 0.0)
    module.train = train  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.train
        for holder, name, value in chances:
            setattr(holder, name, value)
        module.train(mode)


def _checkpoints(part: Any) -> bool:
    return bool(getattr(part, "gradient_checkpointing", False))
