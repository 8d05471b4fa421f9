"""Outputs appear whole or not at all: they are written under a temporary name and renamed."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path to write a file or a folder to, renamed to `path` when the block succeeds.

    What a killed run left under the temporary name is removed first.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove(temporary)
    try:
        yield temporary
        if path.is_dir():  # only a file can be replaced in one step
            remove(path)
        temporary.replace(path)
    except Exception as error:
        error.add_note(str(path))  # libraries say that a disk is full, and not where
        raise
    finally:
        remove(temporary)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def to_disk(path: Path) -> None:
    """Wait until a file is on the disk, and not only in memory."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def write_json(content: Any, path: Path | str) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused, absent numbers must be None."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_json(path: Path | str) -> dict[str, Any]:
    """What `write_json` wrote; nothing where there is no such file."""
    try:
        return dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def missing(path: Path) -> str:
    """What to say of a file or folder of the user that is not there."""
    here = Path.cwd()
    if path.is_absolute() or ".dvc/tmp/exps" not in here.as_posix():
        return f"{path} does not exist"
    return (
        f"{path} does not exist in the temporary folder of this experiment, which has only what "
        "git or DVC tracks: `git add` or `dvc add` it, or give its absolute path"
    )


def write_csv(frame: "pd.DataFrame", path: Path | str) -> None:
    """Write a table for DVC's plots, six significant digits, no index."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")
