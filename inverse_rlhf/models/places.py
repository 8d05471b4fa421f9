"""Where a model lies that a folder stands for, or is an adapter of; told from its files alone."""

import json
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


def base_of(folder: Path | str, name: str) -> Path | str | None:
    """The folder or the hub id of the model that an adapter in a folder is of.

    The adapter names a folder from the working directory, as peft reads it, or from its own.

    Args:
        name: of the adapter, for messages.

    Returns:
        A path, a hub id, or None where there is no adapter or it names no model.

    Raises:
        UserError: it names itself, or a folder that is not there, or either of two.
    """
    folder = Path(folder)
    base = read_json(folder / ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        return None
    set_it = f"set base_model_name_or_path in its {ADAPTER} to"
    places = {
        path.resolve(): path for path in (Path(base).expanduser(), folder / base) if path.is_dir()
    }
    if folder.resolve() in places:
        raise UserError(
            f"{name} names itself as its base model: {set_it} the model that it was trained from"
        )
    if len(places) > 1:
        first, second = places.values()
        raise UserError(
            f"{name}: its base model {base} is {first} or {second}: {set_it} the absolute path"
        )
    if not places and is_local(base):
        raise UserError(
            f"{name}: its base model {base} is not a folder: {set_it} one, or to a hub id"
        )
    return next(iter(places.values()), base)
