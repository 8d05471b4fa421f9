"""Finished parts of a long result on disk, so that a stage that is killed loses one of them."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from inverse_rlhf.files import atomic, to_disk
from inverse_rlhf.models import processes


class Shards:
    """The parts of one result, by their numbers.

    A file that is damaged, or is another part's or another result's, counts as none.

    Args:
        folder: of a stage's unfinished work, see `resume.unfinished`; None: nothing is kept.
        of: what the result depends on beside what that folder is named after, written out.
    """

    def __init__(self, folder: Path | None, *of: Any) -> None:
        self._key = hashlib.sha256(repr(of).encode()).hexdigest()[:16]
        self._folder = None if folder is None else folder / self._key

    def part(self, number: int, compute: Callable[[], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """The arrays of a part: those that are kept, or else what is computed, which is kept."""
        if self._folder is None:
            return list(compute())
        path = self._folder / f"{number}.safetensors"
        found = self._read(path, number)
        if found is None:
            found = list(compute())
            named = {str(place): np.ascontiguousarray(array) for place, array in enumerate(found)}
            with processes.apart(), atomic(path) as temporary:
                save_file(named, temporary, self._marks(number, found))
                to_disk(temporary)
        return found

    def _read(self, path: Path, number: int) -> list[np.ndarray] | None:
        try:
            with safe_open(path, "numpy") as file:
                names = sorted(file.keys(), key=int)
                arrays = [file.get_tensor(name) for name in names]
                marks = file.metadata()
        except (OSError, SafetensorError, ValueError):
            return None
        return arrays if marks == self._marks(number, arrays) else None

    def _marks(self, number: int, arrays: Sequence[np.ndarray]) -> dict[str, str]:
        """What a file says of itself: whose it is, and a checksum of its content."""
        content = hashlib.sha256()
        for array in arrays:
            content.update(f"{array.dtype} {array.shape}".encode())
            content.update(np.ascontiguousarray(array).data)
        return {"key": self._key, "part": str(number), "sha256": content.hexdigest()}
