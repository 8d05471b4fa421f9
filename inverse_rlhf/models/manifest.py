"""Models of the user's stay where they are: a stage keeps where, and the digest of each file."""

import json
from pathlib import Path

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import digest_of, model_files
from inverse_rlhf.models.places import MANIFEST


def write_manifest(source: Path, folder: Path, *, key: str) -> None:
    """Make a folder that stands for a model in another one, of which nothing is copied.

    The path is kept as it was given: in a workspace of another place it is that place's.

    Args:
        key: the param that names the source, for messages.
    """
    folder.mkdir(parents=True)
    content = {"key": key, "source": str(source), "sha256": _digests(source)}
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def followed(source: str | Path) -> str | Path:
    """The folder that a manifest stands for, after a check that it is as it was; else `source`.

    Raises:
        UserError: a file of it has changed, has gone or is new, or the manifest is broken.
    """
    path = Path(source) / MANIFEST
    if not path.is_file():
        return source
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        key, place = str(content["key"]), Path(content["source"])
        kept = dict(content["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is broken: {error!r}: run the stage that writes it") from None
    if not place.is_dir():
        raise UserError(
            f"{key}: {source} stands for the model in {place}, which is not a folder here: bring "
            f"it to that path, or name another one as {key} in params.yaml"
        )
    found = _digests(place)
    for name in sorted(kept.keys() | found.keys()):
        if kept.get(name) != found.get(name):
            what = "is gone" if name not in found else "is new" if name not in kept else "changed"
            raise UserError(
                f"{key}: {place / name} {what} since {source} was written for this model: bring "
                "back what it was, or run the stage again that takes the model (dvc repro -f STAGE)"
            )
    return place


def _digests(folder: Path) -> dict[str, str]:
    """sha256 by the file's name within the folder."""
    return {name: digest_of(path) for name, path in model_files(folder).items()}
