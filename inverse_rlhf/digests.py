"""What DVC does not see of inputs: anyone's files, commits of the hub, versions of libraries."""

import json
import os
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import (
    atomic,
    digest_of,
    kind_of,
    missing,
    model_files,
    read_json,
    tables_in,
    write_json,
)
from inverse_rlhf.models.places import ADAPTER, base_of, base_revision, is_local

# Those that decide numbers.
LIBRARIES = (
    *("accelerate", "datasets", "emoji", "numpy", "pandas", "peft", "pyarrow", "pyphen"),
    *("safetensors", "scikit-learn", "scipy", "tokenizers", "torch", "transformers", "trl"),
    "vaderSentiment",
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_MADE_HERE = {
    "data.source": ("embedded",),
    "base_policy.source": ("scratch",),
    "true_reward.source": ("scratch",),
    "irl.body": ("base", "none"),
}
_SECONDS = 5.0  # for the hub's answer


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that decide numbers.

    Builds of one release, as torch 2.13.0+cpu, are the same here: an index gives each machine its.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python} | {name: version(name).partition("+")[0] for name in LIBRARIES}


@dataclass(frozen=True)
class Source:
    """A setting that names a file, a folder or a hub id.

    Attributes:
        key: the setting, for messages.
        name: its value.
        revision: of the hub id.
        kind: of what it names; a file is none of the hub.
    """

    key: str
    name: str | None
    revision: str | None
    kind: Literal["model", "dataset", "file"] = "model"

    @property
    def made_here(self) -> bool:
        """Whether nothing of anyone's is named."""
        return self.name is None or self.name in _MADE_HERE.get(self.key, ())


class Digests:
    """sha256 of files; one that is as it was is not read again.

    Args:
        memory: a file with what was found before.
    """

    def __init__(self, memory: Path) -> None:
        self._memory = memory
        self._new: dict[str, Any] = {}
        try:
            self._known = dict(json.loads(memory.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self._known = {}

    def of_file(self, path: Path) -> str:
        """A file's digest, in hexadecimal."""
        status, name = path.stat(), str(path.absolute())
        # The inode's own time goes on with every writing, whatever the file's time says.
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = self._known.get(name)
        if isinstance(known, list) and known[:1] == [state]:
            self._new[name] = known
            return str(known[1])
        digest = digest_of(path)
        if time.time_ns() - max(state[1:3]) > 2e9:  # else it may change again within a clock's tick
            self._new[name] = [state, digest]
        return digest

    def save(self) -> None:
        """Remember those that were asked for, and others that are still there."""
        kept = {name: known for name, known in self._known.items() if os.path.exists(name)}
        if (found := kept | self._new) != self._known:
            with atomic(self._memory) as temporary:
                temporary.write_text(json.dumps(found), encoding="utf-8")

    def of(self, source: Source, before: dict[str, Any]) -> dict[str, Any]:
        """Digests of the files that a setting names, or the commit of a hub id.

        Args:
            before: what it returned the last time.

        Raises:
            UserError: it is not there, and no hub id.
        """
        name, revision = source.name, source.revision
        if name is None or source.made_here:
            return {"files": {}}
        path = Path(name)
        if path.is_file():
            return {"files": {path.name: self.of_file(path)}}
        if path.is_dir():
            if source.kind == "model":
                return self._of_model(source, path, before)
            tables = tables_in(path, source.key)
            return {"files": {table.name: self.of_file(table) for table in tables}}
        local = source.kind == "file" or is_local(name)
        if revision is None or local:
            hub = (
                ""
                if local or kind_of(name) or path.is_symlink()
                else "; for a hub id set a revision: a commit, tag or branch"
            )
            raise UserError(f"{source.key}: {missing(path)}{hub}")
        found = of_hub(name, revision, source.kind, before)
        if source.kind != "model" or found["commit"] is None:
            return found
        adapter = _adapter_of_hub(name, found["commit"])
        if adapter is not None:
            return found | self._of_base(source, adapter, before)
        return before if before.items() >= found.items() else found

    def _of_model(self, source: Source, path: Path, before: dict[str, Any]) -> dict[str, Any]:
        """The files of a model's folder, and what is known of the base that an adapter names."""
        return {"files": self._model_files(path)} | self._of_base(source, path, before)

    def _of_base(self, source: Source, adapter: Path, before: dict[str, Any]) -> dict[str, Any]:
        name = f"{source.key}: {source.name}"
        base, revision = base_of(adapter, name), base_revision(adapter, name)
        if base is None:
            return {}
        if isinstance(base, Path):
            return {"base": {"files": self._model_files(base)}}
        return {"base": of_hub(base, revision or "main", "model", before.get("base", {}))}

    def _model_files(self, folder: Path) -> dict[str, str]:
        return {name: self.of_file(path) for name, path in model_files(folder).items()}


def write_changed(found: Mapping[str, dict[str, Any]]) -> list[str]:
    """Write those of the digests that are not as their file has them, and say which.

    Args:
        found: digests by the file that keeps them.
    """
    changed = [
        path
        for path, content in found.items()
        if not Path(path).exists() or content != read_json(path)  # of nothing there is {}
    ]
    for path in changed:
        write_json(found[path], path)
    return [f"{path} is new or changed" for path in changed]


def unknown_commits(found: Mapping[str, Any]) -> list[str]:
    """The hub ids among digests, by anything, whose commit is not known."""
    hubs = [one for part in found.values() for one in (part, part.get("base", {})) if "hub" in one]
    return [one["hub"] for one in hubs if one["commit"] is None]


def of_hub(name: str, revision: str, kind: str, before: dict[str, Any]) -> dict[str, Any]:
    """The commit that a revision of a hub id is now.

    Where the hub cannot be asked it is the one in the hub's local cache, which is then loaded, else
    the one of before; None: it is not known.

    Args:
        kind: model or dataset.
        before: what this function returned the last time.
    """
    given: dict[str, Any] = {"hub": name, "revision": revision}
    if _COMMIT.fullmatch(revision):
        return given | {"commit": revision}
    commit = _asked(name, revision, kind) or _cached(name, revision, kind)
    if commit is None and before.items() >= given.items():
        commit = before.get("commit")
    return given | {"commit": commit}


def _asked(name: str, revision: str, kind: str) -> str | None:
    from huggingface_hub import HfApi  # late: it takes a while

    try:
        info = HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=_SECONDS)
    except Exception:  # whatever a network raises; what is wrong with a name, its loading says
        return None
    return info.sha


def _adapter_of_hub(name: str, commit: str) -> Path | None:
    """The folder of the hub's local cache with the settings of an adapter; None: it is none, or it
    cannot be told.
    """
    from huggingface_hub import hf_hub_download

    try:
        settings = hf_hub_download(name, ADAPTER, revision=commit, etag_timeout=_SECONDS)
    except Exception:  # whatever a network raises, too
        return None
    return Path(settings).parent


def _cached(name: str, revision: str, kind: str) -> str | None:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type=kind))
    try:
        return (folder / "refs" / revision).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
