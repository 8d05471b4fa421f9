"""Push to a DVC remote and see that all of it has arrived, which `dvc push` takes for granted.

    python -m inverse_rlhf.push [REMOTE]

DVC takes the files of a folder for pushed where the list of them is on the remote, and remembers
what it has seen there. After a push that was interrupted this may be wrong, and every later push
ends well without sending what is lacking. So each object is fetched into an empty folder and
hashed, and sent again where it is lacking or damaged: from the cache or, where that has it no
longer whole, from the workspace.
"""

import argparse
import contextlib
import errno
import getpass
import inspect
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inverse_rlhf.errors import UserError, first_line, one_line, say
from inverse_rlhf.files import atomic, digest_of


@dataclass(frozen=True)
class _Copy:
    """Where the workspace should have an object's content.

    Attributes:
        out: DVC's output that it is of.
        path: the file; of a list the folder.
    """

    out: Any
    path: Path


def push_verified(remote: str | None) -> str:
    """Push what the workspace's dvc.lock names, and check every object on the remote.

    What the cache lacks or has damaged is taken from the workspace or, if it is a list of files,
    from the remote, and the cache then has it whole.

    Args:
        remote: its name; None: the default one.

    Returns:
        A line that says how many objects there are, and how many had to be sent again.

    Raises:
        UserError: there is no remote, it cannot be reached or takes no more, an output has no
            entry in dvc.lock, or an object is nowhere whole.
    """
    from dvc.exceptions import DvcException, UploadError
    from dvc.repo import Repo

    for library in ("dvc", "dvc_data"):  # what they tell of is counted here
        logging.getLogger(library).setLevel(logging.CRITICAL)
    warnings.simplefilter("error", getpass.GetPassWarning)  # it would ask where nobody is
    try:
        with Repo() as repo:
            store, cache = _store(repo, remote), repo.cache.local
            outs = list(_outs(repo))
            lists = {out.hash_info.value: [_Copy(out, Path(out.fs_path))] for out in outs}
            lists = {oid: copies for oid, copies in lists.items() if oid.endswith(".dir")}
            # DVC reads these, and must not take a damaged one for the whole.
            lost = {oid for oid in lists if _md5(store, oid) not in (None, _name(oid))}
            for oid, copies in lists.items():
                _heal_list(cache, store, oid, copies[0])
            _send(cache, store, lost)
            with contextlib.suppress(UploadError), _reached(store):  # what failed is sent below
                repo.push(remote=remote)
            objects = _objects(cache, outs)
            lacking = {oid for oid in objects if not _whole(store, oid)}
            for oid in lacking:
                _heal(cache, oid, objects[oid])
            _send(cache, store, lacking)
            damaged = [oid for oid in lacking if not _whole(store, oid)]
    except DvcException as error:
        raise UserError(f"nothing is verified: {' '.join(str(error).split())}") from None
    if damaged:
        raise UserError(
            f"{len(damaged)} of {len(objects)} objects arrive damaged at the remote, such as "
            f"{damaged[0]} of {objects[damaged[0]][0].out}: see to its disk or network"
        )
    sent = len(lost | lacking)
    again = f", {sent} of them sent again" if sent else ""
    return f"all {len(objects)} objects are on the remote as they should be{again}"


def _store(repo: Any, remote: str | None) -> Any:
    try:
        return repo.cloud.get_remote_odb(remote, "push")
    except ImportError as error:  # a kind of remote whose library is not installed
        raise UserError(
            f"nothing is verified: {' '.join(str(error).split())}: install what the remote needs, "
            "such as `pip install dvc-s3`, or name another"
        ) from None


def _outs(repo: Any) -> Iterator[Any]:
    """The outputs that DVC pushes."""
    for out in repo.index.outs:
        if not out.use_cache or not out.can_push or out.stage.is_repo_import:
            continue
        if not out.hash_info:
            name = out.stage.addressing
            raise UserError(
                f"{name} has no hash of {out}: run `dvc commit --force {name}`"
                if out.stage.is_data_source
                else f"{name} has no entry of {out} in dvc.lock: run `dvc repro`"
            )
        yield out


def _objects(cache: Any, outs: list[Any]) -> dict[str, list[_Copy]]:
    """Every object's hash, with its copies; folders have a list and their files."""
    from dvc_data.hashfile.tree import Tree

    found: dict[str, list[_Copy]] = {}
    for out in outs:
        path = Path(out.fs_path)
        found.setdefault(out.hash_info.value, []).append(_Copy(out, path))
        if out.hash_info.isdir:
            for parts, _, hash_info in Tree.load(cache, out.hash_info):
                found.setdefault(hash_info.value, []).append(_Copy(out, path.joinpath(*parts)))
    return found


def _send(cache: Any, store: Any, oids: set[str]) -> None:
    for oid in oids:
        with _reached(store):
            store.add(cache.oid_to_path(oid), cache.fs, oid, check_exists=False)


def _fetch(store: Any, oid: str, path: Path) -> bool:
    """Put a copy of an object at a path; whether there is one."""
    with _reached(store):
        try:
            store.fs.get_file(store.oid_to_path(oid), str(path))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == errno.ENOSPC:  # of this disk, not of the remote's
                folder = path.parent.parent
                raise UserError(
                    f"{folder}: no space is left on the disk for a copy of {oid}: free some, or "
                    "set TMPDIR to a folder with more"
                ) from None
            raise
    return True


@contextlib.contextmanager
def _reached(store: Any) -> Iterator[None]:
    """One line where a remote, or the way to it, fails.

    Each kind of remote has a library with errors of its own, such as botocore's and asyncssh's:
    whatever is not Python's own or is the system's tells of the remote. The rest are bugs.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except (UserError, DvcException):
        raise
    except Exception as error:
        if type(error).__module__ == "builtins" and not isinstance(error, OSError | EOFError):
            raise
        place = store.fs.unstrip_protocol(store.path)
        raise UserError(f"nothing is verified: {place}: {_words(error)}") from error


def _words(error: Exception) -> str:
    """What is wrong with a remote, and what to do."""
    words = (getattr(error, "strerror", None) or first_line(error)).rstrip(".")
    refused = isinstance(error, PermissionError) or "permission" in words.lower()
    if isinstance(error, EOFError | getpass.GetPassWarning):
        words, refused = "a password is wrong or missing, and nobody is here to be asked", True
    if refused or "credentials" in words:
        return (
            f"{words}: give the right credentials, by the environment or `dvc remote modify "
            "--local`, never in git, and see that they may write there"
        )
    if isinstance(error, FileNotFoundError):
        return f"{words}: make the bucket or folder, or mend the remote's url"
    return (
        f"{words}: see that it can be reached and has space left, and run this again: what has "
        "arrived is kept"
    )


def _heal_list(cache: Any, store: Any, oid: str, copy: _Copy) -> None:
    """See that the cache has a folder's list, from the remote or made of the workspace's files."""
    if _whole(cache, oid):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "list")
        if _whole(store, oid):
            _fetch(store, oid, path)
        elif copy.path.is_dir():
            path.write_bytes(_list_of(copy))
        if not path.is_file() or digest_of(path, "md5") != _name(oid):
            raise UserError(_of_nowhere(cache, oid, copy))
        _into(cache, oid, path)


def _list_of(copy: _Copy) -> bytes:
    """The list of the files that a folder has now."""
    from dvc_data.hashfile.build import build

    out = copy.out
    ignore = out.dvcignore
    tree = build(out.cache, out.fs_path, out.fs, out.hash_name, ignore=ignore, dry_run=True)[-1]
    return bytes(tree.as_bytes())


def _heal(cache: Any, oid: str, copies: list[_Copy]) -> None:
    """See that the cache has an object, from the workspace where its own is not whole."""
    if _whole(cache, oid):
        return
    for copy in copies:
        if copy.path.is_file() and digest_of(copy.path, "md5") == _name(oid):
            _into(cache, oid, copy.path)
            return
    raise UserError(_of_nowhere(cache, oid, copies[0]))


def _into(cache: Any, oid: str, source: Path) -> None:
    """Put a copy in the place of an object, at once, and protected as DVC does it."""
    place = cache.oid_to_path(oid)
    with atomic(place) as temporary:
        shutil.copyfile(source, temporary)
    cache.protect(place)


def _name(oid: str) -> str:
    return oid.removesuffix(".dir")


def _whole(store: Any, oid: str) -> bool:
    """Whether an object can be fetched and is what its name, an MD5, says."""
    return _md5(store, oid) == _name(oid)


def _md5(store: Any, oid: str) -> str | None:
    """Of what is fetched; None: there is no such object."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "object")
        return digest_of(path, "md5") if _fetch(store, oid, path) else None


def _of_nowhere(cache: Any, oid: str, copy: _Copy) -> str:
    """What to do; DVC takes what the cache has for whole, so that it has to go from there first."""
    out, place = copy.out, cache.oid_to_path(oid)
    name = out.stage.addressing
    moved = f"move {place} away, then " if Path(place).exists() else ""
    remedy = (
        f"put a whole copy of {out} back into the workspace and `dvc commit --force {name}`"
        if out.stage.is_data_source
        else f"`dvc repro --force --single-item {name}` makes it anew"
    )
    return (
        f"{oid} of {out} is whole neither on the remote nor in the cache nor in the workspace: "
        f"{moved}{remedy}"
    )


def main() -> None:
    """The command line."""
    description = inspect.getdoc(sys.modules[__name__])
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("remote", nargs="?", help="its name; none: the default remote")
    remote = parser.parse_args().remote
    with one_line():
        say(push_verified(remote))


if __name__ == "__main__":
    main()
