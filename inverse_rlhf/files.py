"""Outputs appear whole or not at all: they are written under a temporary name and renamed."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from inverse_rlhf.errors import UserError
from inverse_rlhf.models import processes

if TYPE_CHECKING:
    import pandas as pd

_TABLES = (".parquet", ".csv", ".json", ".jsonl", ".csv.gz", ".json.gz", ".jsonl.gz")
# Of a model's folder: neither weights, which are safetensors, nor anything else that is read.
_UNREAD = {".bin", ".ckpt", ".gguf", ".h5", ".md", ".msgpack", ".onnx", ".pt", ".pth"}


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """A temporary path to write a file or a folder to, renamed to `path` when the block succeeds.

    What a killed run left under the temporary name is removed first. Of several processes the first
    writes, and the others go on when it has; what these write is thrown away.
    """
    if processes.first():
        with _renamed(Path(path)) as temporary:
            yield temporary
    else:
        with tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere) / Path(path).name
    processes.barrier()


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
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
    """Wait until a file, or the names in a folder, are on the disk and not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_of(path: Path, kind: Literal["sha256", "md5"] = "sha256") -> str:
    """A file's digest, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()


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


def read_report(path: Path | str) -> dict[str, Any]:
    """What a stage wrote by `write_json`.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    if not (content := read_json(path)):
        raise UserError(f"{path} is missing or damaged: run `dvc repro`")
    return content


def kind_of(path: Path | str) -> str | None:
    """The format of a table that a file's name says, as ".csv" or ".csv.gz"; none: no table's."""
    name = Path(path).name.lower()
    return next((kind for kind in _TABLES if name.endswith(kind) and name != kind), None)


def tables_in(folder: Path, key: str) -> list[Path]:
    """The .parquet files that the table in a folder is read from, in the order of their names.

    Links to files count as files. Hidden files and what is written beside tables, as _SUCCESS,
    README and .dvc files, do not count.

    Args:
        key: the setting that names the folder, for the messages.

    Raises:
        UserError: there are none, or something is beside them that would go unread.
    """
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    tables = [path for path in found if kind_of(path) == ".parquet" and path.is_file()]
    if not tables:
        raise UserError(f"{key}: {printed(folder)} is a folder without .parquet files")
    for path in found:
        if not _is_beside(path) and not (kind_of(path) == ".parquet" and path.is_file()):
            raise UserError(
                f"{key}: {printed(folder)} has {printed(path.name)}{'/' if path.is_dir() else ''} "
                f"beside {printed(tables[0].name)}, which would not be read: name a folder that "
                "has .parquet files and nothing else"
            )
    return tables


def _is_beside(path: Path) -> bool:
    name = path.name.lower()
    notes = name.endswith((".md", ".dvc")) or name.startswith(("readme", "license"))
    return path.is_file() and (notes or (name.startswith("_") and kind_of(name) is None))


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a folder in hub layout that a model and its tokenizer may be loaded from.

    Returns:
        Files by their names within the folder, in the order of these.
    """
    paths = [*folder.glob("*"), *folder.glob("additional_chat_templates/*")]
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(paths)
        if path.is_file() and path.suffix not in _UNREAD and not path.name.startswith(".")
    }


def printed(path: Path | str) -> str:
    """A name as messages have it, which are of one line; blanks at its ends are seen."""
    name = str(path)
    return name if name.isprintable() and name == name.strip() else repr(name)


def missing(path: Path) -> str:
    """What to say of a file or folder of the user that is not there, or is neither."""
    name, here = printed(path), Path.cwd()
    if (what := _what_is(path)) is not None:
        return f"{name} is {what}: name a file or a folder"
    if path.is_absolute() or ".dvc/tmp/exps" not in here.as_posix():
        return f"{name} does not exist"
    return (
        f"{name} does not exist in the temporary folder of this experiment, which has only what "
        "git or DVC tracks: `git add` or `dvc add` it, or give its absolute path"
    )


def _what_is(path: Path) -> str | None:
    """What a name stands for that is no file, no folder and not nothing."""
    try:
        if os.path.islink(path) and not os.path.exists(path):
            return f"a link to {printed(os.readlink(path))}, which leads nowhere"
        mode = os.stat(path).st_mode
    except (OSError, ValueError):  # a name that is too long, or with NUL
        return None
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))
    special = not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
    return next((f"a {kind}" for is_, kind in kinds if is_(mode)), "a device") if special else None


def write_csv(frame: "pd.DataFrame", path: Path | str) -> None:
    """Write a table for DVC's plots, six significant digits, no index."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")
