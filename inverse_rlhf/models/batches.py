"""Batches without gradients that become smaller where they do not fit in memory."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from accelerate.utils import find_executable_batch_size
from accelerate.utils.memory import should_reduce_batch_size

from inverse_rlhf.errors import say

Result = TypeVar("Result")


class Batches:
    """Runs batches, and halves them from the first on that memory is short for.

    Args:
        size: rows of a batch, `compute.batch_size`.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def run(self, work: Callable[[np.ndarray], Result], rows: np.ndarray) -> list[Result]:
        """What `work` gives for the rows, or for parts of them one after the other.

        Raises:
            RuntimeError: not even one row fits.
        """
        found: list[Result] = []
        done = 0

        def go_on(size: int) -> None:
            nonlocal done
            self._size = size
            while done < len(rows):
                found.append(work(rows[done : done + size]))
                done += size

        # accelerate collects garbage at every call, which takes longer than most batches.
        if not _fits(go_on, self._size):
            self._halve()
            find_executable_batch_size(
                go_on, starting_batch_size=self._size, reduce_batch_size_fn=self._halve
            )()
        return found

    def _halve(self) -> int:
        if half := self._size // 2:
            say(f"compute.batch_size {self._size} does not fit in memory: going on with {half}")
        self._size = half
        return half


def _fits(work: Callable[[int], None], size: int) -> bool:
    try:
        work(size)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        return False  # and with the error go the tensors that its frames hold
    return True
