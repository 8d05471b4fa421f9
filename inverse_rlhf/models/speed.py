"""What a device computes a second, measured in a moment, and the time that work takes at that."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import gelu, layer_norm, linear

from inverse_rlhf.models.work import Work

_SECONDS = 0.15  # of either measurement
# Operations of a turn, of a CPU for each thread; the most numbers of a hidden state, and tokens:
# with more of either a device is hardly faster.
_TURN, _WIDEST, _LONGEST = {"cpu": 1e9, "cuda": 1e12}, {"cpu": 768, "cuda": 4096}, 8192
_COPIED = {"cpu": 2**26, "cuda": 2**29}  # bytes, far more than caches hold


@dataclass(frozen=True)
class Speed:
    """What a device does a second.

    Attributes:
        operations: of the products of a transformer's block, which takes some time for the rest.
        fetched: bytes that come from memory.
    """

    operations: float
    fetched: float

    def seconds(self, works: Sequence[Work]) -> float:
        """For all of it, one after the other."""
        return sum(
            max(work.operations / self.operations, work.fetched / self.fetched) for work in works
        )

    def __str__(self) -> str:
        large = self.operations >= 1e13
        return f"{self.operations / (1e12 if large else 1e9):.0f} {'T' if large else 'G'}FLOP/s"


@torch.inference_mode()
def speed_of(device: torch.device, dtype: torch.dtype, hidden: int) -> Speed:
    """What a device does now, at its best; no random number is drawn.

    Args:
        dtype: that products are computed in.
        hidden: numbers of the model's hidden state.
    """
    width = min(hidden, _WIDEST[device.type])
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    tokens = min(math.ceil(threads * _TURN[device.type] / (24 * width**2)), _LONGEST)

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    text, keys, out = zeros(tokens, width), zeros(3 * width, width), zeros(width, width)
    up, down = zeros(4 * width, width), zeros(width, 4 * width)

    def block() -> torch.Tensor:
        mixed = linear(layer_norm(text, (width,)), keys)[:, :width].contiguous()
        state = text + linear(mixed, out)
        return state + linear(gelu(linear(layer_norm(state, (width,)), up)), down)

    operations = 24 * tokens * width**2 / _least(block, device)
    source = torch.zeros(_COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    fetched = 2 * len(source) / _least(lambda: target.copy_(source), device)
    return Speed(operations, fetched)


def _least(action: Callable[[], object], device: torch.device) -> float:
    """Seconds of an action, the least of several turns: others may be at work here, too. On a CPU
    it is this thread's time, which goes on neither while they are nor while it waits for its like.
    """
    clock = time.thread_time if device.type == "cpu" else time.perf_counter

    def turn() -> float:
        started = clock()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - started

    turn()  # the first one prepares
    found, until = [turn()], time.perf_counter() + _SECONDS
    while time.perf_counter() < until:
        found.append(turn())
    return min(found)


def in_words(seconds: float) -> str:
    """A time from a minute on, in two digits."""
    units = (("day", 86400), ("hour", 3600), ("minute", 60))
    unit, length = next((unit for unit in units if seconds >= 1.5 * unit[1]), units[-1])
    count = float(f"{seconds / length:.2g}")
    return f"{count:g} {unit}{'' if count == 1 else 's'}"
