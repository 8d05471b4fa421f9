"""Push to a DVC remote and see that all of it has arrived, which `dvc push` takes for granted.

    python -m inverse_rlhf.push [REMOTE]

DVC takes the files of a folder for pushed where the list of them is on the remote, and remembers
what it has seen there. After a push that was interrupted this may be wrong, and every later push
ends well without sending what is lacking. So each object is fetched into an empty folder and
hashed, and sent again where it is lacking or damaged.
"""

import argparse
import hashlib
import inspect
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

from inverse_rlhf.errors import UserError, one_line, say


def push_verified(remote: str | None) -> str:
    """Push what the workspace's dvc.lock names, and check every object on the remote.

    Args:
        remote: its name; None: the default one.

    Returns:
        A line that says how many objects there are, and how many had to be sent again.

    Raises:
        UserError: there is no remote, it cannot be reached, or objects are nowhere whole.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    for library in ("dvc", "dvc_data"):  # what they warn of is counted here
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        with Repo() as repo:
            repo.push(remote=remote)
            store, cache = repo.cloud.get_remote_odb(remote), repo.cache.local
            objects = _objects(repo)
            lost = [oid for oid in objects if not _whole(store, oid)]
            for oid in lost:
                if not _whole(cache, oid):
                    raise UserError(_of_nowhere(oid, objects[oid], len(objects)))
                store.add(cache.oid_to_path(oid), cache.fs, oid, check_exists=False)
            damaged = [oid for oid in lost if not _whole(store, oid)]
    except DvcException as error:
        raise UserError(f"nothing is verified: {' '.join(str(error).split())}") from None
    if damaged:
        raise UserError(
            f"{len(damaged)} of {len(objects)} objects arrive damaged at the remote, such as "
            f"{damaged[0]} of {objects[damaged[0]]}: see to its disk or network"
        )
    again = f", {len(lost)} of them sent again" if lost else ""
    return f"all {len(objects)} objects are on the remote as they should be{again}"


def _objects(repo: Any) -> dict[str, str]:
    """Every object's hash, with the output that it is of; folders have a list and their files."""
    from dvc_data.hashfile.tree import Tree

    found: dict[str, str] = {}
    for out in repo.index.outs:
        if not out.use_cache or not out.hash_info:
            continue
        found[out.hash_info.value] = str(out)
        if out.hash_info.isdir:
            try:
                tree = Tree.load(repo.cache.local, out.hash_info)
            except FileNotFoundError:
                raise UserError(
                    f"{out} is not in the cache: run `dvc repro` or `dvc pull`"
                ) from None
            found |= {hash_info.value: str(out) for _, _, hash_info in tree}
    return found


def _whole(store: Any, oid: str) -> bool:
    """Whether an object can be fetched and is what its name, an MD5, says."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "object")
        try:
            store.fs.get_file(store.oid_to_path(oid), str(path))
        except FileNotFoundError:
            return False
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest() == oid.removesuffix(".dir")


def _of_nowhere(oid: str, out: str, objects: int) -> str:
    return (
        f"{oid} of {out}, one of {objects} objects, is whole neither on the remote nor in the "
        f"cache: `dvc repro --force --single-item` of the stage that writes {out} makes it anew"
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
