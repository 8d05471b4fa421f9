"""Unfinished work: where a stage keeps it for its next run, whose it is, and whether it is whole.

It lies in a folder that no dvc.yaml declares and git ignores, so that DVC's run cache goes on
working. The folder's name is a digest of all that the result depends on: work of other settings,
inputs, code, libraries or devices is never gone on with. Nothing but time is lost with it.
"""

import contextlib
import fcntl
import functools
import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd
import torch

from inverse_rlhf.digests import versions
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic, digest_of, read_json, remove, to_disk
from inverse_rlhf.models import processes
from inverse_rlhf.models.places import base_of
from inverse_rlhf.params import Group

KEPT = Path(".resume")
_ROOT = Path(__file__).parent.parent
# They check, say or show, and no result follows from them.
_NO_RESULT = ("show/", "explore/", "params.py", "errors.py", "progress.py")
_SEAL = "sealed.json"


def resumed(
    *inputs: str,
) -> Callable[[Callable[[Any, Path], list[str]]], Callable[[Any], list[str]]]:
    """Hands the `main` of a stage, beside its params, the folder of `unfinished`.

    Args:
        inputs: the files and folders that the stage reads.
    """

    def decorated(main: Callable[[Any, Path], list[str]]) -> Callable[[Any], list[str]]:
        file = Path(inspect.getfile(main)).relative_to(_ROOT / "stages")
        stage = file.with_suffix("").as_posix()

        @functools.wraps(main)
        def whole(params: Group) -> list[str]:
            with unfinished(stage, params, inputs) as kept:
                return main(params, kept)

        return whole

    return decorated


@contextlib.contextmanager
def unfinished(
    stage: str, params: Group, inputs: Sequence[str], *, within: Path = KEPT
) -> Iterator[Path]:
    """The folder of what a stage has done so far, which is this process's alone within the block.

    A run that ends well needs it no more: it is removed, and the outputs are to be in place by
    then. A run that is killed leaves it to the next of the same key.

    Args:
        stage: its name.
        params: all of its params.
        inputs: the files and folders that it reads.
        within: the folder of all stages'.

    Raises:
        UserError: another process is at work on the same.
    """
    own = stage_key(stage, params, inputs) if processes.first() else ""
    folder, key = within / stage, processes.of_first(own)
    with own_folder(folder, key) as kept:
        yield kept
    if processes.first():
        with _opening(folder):
            _forget(folder / key)


def stage_key(stage: str, params: Group, inputs: Sequence[str]) -> str:
    """A digest of all that a stage's result depends on, see `unfinished`."""
    settings = params.model_dump(exclude={"checkpoints"})
    package = _ROOT / "inverse_rlhf"
    modules = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    code = {name: modules[name] for name in sorted(modules) if not name.startswith(_NO_RESULT)}
    if (own := _ROOT / "stages" / f"{stage}.py").is_file():  # not of the one command
        code[f"stages/{stage}.py"] = own
    cards = [torch.cuda.get_device_name(card) for card in range(torch.cuda.device_count())]
    sums = os.environ.get("MKL_CBWR")  # see `stage`
    machine = (versions(), torch.get_num_threads(), sums, cards, processes.engine())
    given = {name: path for source in inputs for name, path in _files(Path(source)).items()}
    return digest(repr((settings, machine)), files=code | given)


def _files(source: Path) -> dict[str, Path]:
    """A file, or all files of a folder, by their paths; of an adapter also those of its base."""
    base = base_of(source, str(source))
    found: list[Path] = []
    for place in (source, base):
        if isinstance(place, Path):
            found += sorted(place.rglob("*")) if place.is_dir() else [place]
    return {path.as_posix(): path for path in found if path.is_file()}


def digest(
    settings: str, *, tables: Mapping[str, pd.DataFrame] = {}, files: Mapping[str, Path]
) -> str:
    """A digest of settings, tables and files, and of the names of the latter: 16 characters."""
    found = hashlib.sha256(settings.encode())
    for name, table in tables.items():
        kinds = [(str(column), str(kind)) for column, kind in table.dtypes.items()]
        found.update(repr((name, len(table), kinds)).encode())
        found.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    for name, path in files.items():
        found.update(name.encode() + bytes.fromhex(digest_of(path)))
    return found.hexdigest()[:16]


@contextlib.contextmanager
def own_folder(folder: Path, key: str) -> Iterator[Path]:
    """The folder of a key within another one, which is this process's alone within the block.

    Those of other keys are forgotten, unless another process is at work in them: of one stage the
    work of one setting is kept. Processes that share a stage share the folder.

    Args:
        folder: of all keys.

    Raises:
        UserError: another process is at work in it.
    """
    own = folder / key
    with _locked(own) if processes.first() else contextlib.nullcontext():
        processes.barrier()
        yield own
        processes.barrier()


@contextlib.contextmanager
def _locked(own: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        # One process at a time opens and forgets: no lock is looked for in a folder that goes.
        with _opening(own.parent):
            own.mkdir(exist_ok=True)
            if not _taken(held.enter_context((own / "lock").open("a"))):
                raise UserError(f"{own}: another process is at work on this: wait until it ends")
            for other in own.parent.iterdir():
                if other != own:
                    _forget(other)
        yield


@contextlib.contextmanager
def _opening(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _forget(own: Path) -> None:
    if not own.is_dir():
        return
    with (own / "lock").open("a") as lock:
        if _taken(lock):
            remove(own)


def _taken(lock: IO[str]) -> bool:
    """Take a lock that lasts until its file is closed; False where another process has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def seal(folder: Path, **facts: Any) -> None:
    """Say that a folder within one of `own_folder` is whole, once it is on the disk.

    Args:
        facts: JSON values that `sealed` gives back.
    """
    checksums = {}
    for path in _inside(folder):
        to_disk(path)
        checksums[path.relative_to(folder).as_posix()] = digest_of(path)
    content = {"key": folder.parent.name, "sha256": checksums, "facts": facts}
    with processes.apart(), atomic(folder / _SEAL) as temporary:
        temporary.write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
        to_disk(temporary)
    to_disk(folder)


def sealed(folder: Path) -> dict[str, Any] | None:
    """The facts of a folder that `seal` said to be whole; None where it is not, has changed since,
    or is another key's.
    """
    content = read_json(folder / _SEAL)
    checksums = content.get("sha256")
    found = {path.relative_to(folder).as_posix(): digest_of(path) for path in _inside(folder)}
    if content.get("key") != folder.parent.name or checksums != found:
        return None
    facts = content.get("facts")
    return facts if isinstance(facts, dict) else None


def _inside(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path != folder / _SEAL)
