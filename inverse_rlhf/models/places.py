"""Where a model lies that a folder stands for, or is an adapter of; told from its files alone."""

import json
import os
from pathlib import Path

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import read_json

ADAPTER = "adapter_config.json"
MANIFEST = "manifest.json"


def place_of(source: Path | str) -> Path:
    """The folder that a manifest stands for, without the check of `followed`, which takes long."""
    path = Path(source) / MANIFEST
    if not path.is_file():
        return Path(source)
    return Path(json.loads(path.read_text(encoding="utf-8"))["source"])


def is_local(name: str) -> bool:
    """Whether a name can be a folder's and no hub id."""
    return name.startswith((".", "/", "~")) or name.count("/") > 1


def stays(source: Path | str) -> bool:
    """Whether a model that a param names is left where it is: a whole one in a folder, which a
    manifest stands for; adapters are merged, and what is on the hub is copied.
    """
    return Path(source).is_dir() and not (Path(source) / ADAPTER).is_file()


def base_of(folder: Path | str, name: str) -> Path | str | None:
    """The folder or the hub id of the model that an adapter in a folder is of.

    The adapter names a folder from the working directory, as peft reads it, or from its own.

    Args:
        name: of the adapter, for messages.

    Returns:
        A path, a hub id, or None where there is no adapter or it names no model.

    Raises:
        UserError: it names itself, a folder that is not there, or one of several: a model that the
            name leads to from a folder above may be the one that it was trained from.
    """
    folder = Path(folder)
    base = read_json(folder / ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        return None
    set_it = f"set base_model_name_or_path in its {ADAPTER} to"
    near = (Path(os.path.expanduser(base)), folder / base)
    places = {path.resolve(): path for path in near if path.is_dir()}
    if folder.resolve() in places:
        raise UserError(
            f"{name} names itself as its base model: {set_it} the model that it was trained from"
        )
    above = _from_above(folder, base)
    if above and places and above.resolve() not in places:
        places = {above.resolve(): above} | places
    if len(found := list(places.values())) > 1:
        raise UserError(
            f"{name}: its base model {base} is {found[0]} or {found[1]}: {set_it} the absolute path"
        )
    if above and not places:
        raise UserError(
            f"{name}: its base model {base} is no folder here, but {above} is one: {set_it} the "
            "absolute path, or work where it was trained"
        )
    if not places and is_local(base):
        raise UserError(
            f"{name}: its base model {base} is not a folder: {set_it} one, or to a hub id"
        )
    return next(iter(places.values()), base)


def _from_above(folder: Path, base: str) -> Path | None:
    """The model that a name leads to from the nearest of the folders that a folder is in, itself
    left out: it was trained there, if it was trained in one of them.
    """
    if ".." in Path(base).parts:
        return None
    files = ("config.json", MANIFEST)
    for above in folder.absolute().parents:
        path = above / base
        if any((path / file).is_file() for file in files) and path.resolve() != folder.resolve():
            return path
    return None


def base_revision(folder: Path | str, name: str) -> str | None:
    """The commit, tag or branch of its base that an adapter in a folder names.

    Args:
        name: of the adapter, for messages.

    Raises:
        UserError: it is no text.
    """
    revision = read_json(Path(folder) / ADAPTER).get("revision")
    if revision is not None and not isinstance(revision, str):
        raise UserError(
            f"{name}: revision is {revision!r} in its {ADAPTER}: set it to a commit, tag or branch "
            "of its base model, or to null"
        )
    return revision or None
