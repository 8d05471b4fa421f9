"""Whether a project's outputs are there, whole, and of the params that stand in params.yaml.

`dvc status` says so too, but takes longer than the explorer to start.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import digest_of
from inverse_rlhf.params import read_yaml

_LARGE = 256 * 2**20  # bytes; larger folders are known by their size and number of files
_MAKE = "run `make repro`"


def check_made(project: Path, stages: tuple[str, ...], outs: tuple[str, ...]) -> None:
    """Check outputs against dvc.lock, and what dvc.lock says against params.yaml.

    Where models run (`compute`) does not count, nor what the last of the stages reports.

    Args:
        stages: that the outputs come from, in their order.
        outs: which, relative to the project.

    Raises:
        UserError: a stage has not run, its params or inputs have changed since, or an output is
            missing or another one.
    """
    path = project / "dvc.lock"
    if not path.is_file():
        raise UserError(f"{path} does not exist: {_MAKE} first")
    locked = (read_yaml(path) or {}).get("stages", {})
    for stage in stages:
        if stage not in locked:
            raise UserError(f"{path} has no stage {stage}: {_MAKE} first")
    content = read_yaml(project / "params.yaml")
    for stage in stages[:-1]:
        for key, then, now in _changed(locked[stage].get("params", {}), content):
            raise UserError(
                f"{key} is {now} in params.yaml, but stage {stage} ran with {then}: {_MAKE}, or "
                "set it back"
            )
    made = {out["path"]: out for stage in stages for out in locked[stage].get("outs", [])}
    for stage in stages:
        for read in locked[stage].get("deps", []):
            if read["path"] in made and read.get("md5") != made[read["path"]].get("md5"):
                raise UserError(f"stage {stage} ran before {read['path']} changed: {_MAKE}")
    for out in outs:
        if not (project / out).exists():
            raise UserError(f"{project / out} does not exist: {_MAKE} first")
        if out not in made or not _is(project / out, made[out]):
            raise UserError(f"{project / out} is not what dvc.lock says: {_MAKE}")


def _changed(params: dict[str, Any], content: Any) -> Iterator[tuple[str, Any, Any]]:
    """Key, value then and value now of params that are others now."""
    for key, then in params.get("params.yaml", {}).items():
        now = content
        for part in key.split("."):
            now = now.get(part) if isinstance(now, dict) else None
        if key != "compute":
            yield from _leaves(key, then, now)


def _leaves(key: str, then: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(then, dict) and isinstance(now, dict):
        for name in dict.fromkeys([*then, *now]):
            yield from _leaves(f"{key}.{name}", then.get(name), now.get(name))
    elif then != now:
        yield key, then, now


def _is(path: Path, entry: dict[str, Any]) -> bool:
    """Whether a file or folder is what an entry of dvc.lock describes."""
    if path.is_file():
        return digest_of(path, "md5") == entry.get("md5")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    size = sum(file.stat().st_size for file in files)
    if (len(files), size) != (entry.get("nfiles"), entry.get("size")):
        return False
    if size > _LARGE:
        return True
    # DVC's name of a folder: the digest of the list of its files.
    listed = [
        {"md5": digest_of(file, "md5"), "relpath": file.relative_to(path).as_posix()}
        for file in files
    ]
    listed.sort(key=lambda row: row["relpath"])
    return f"{hashlib.md5(json.dumps(listed).encode()).hexdigest()}.dir" == entry.get("md5")
