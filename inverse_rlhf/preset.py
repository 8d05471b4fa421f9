"""Presets are overlays on params.yaml: print one as DVC flags, or write it into params.yaml.

python -m inverse_rlhf.preset --list
dvc exp run $(python -m inverse_rlhf.preset pythia-70m) -S irl.lr=1e-5
python -m inverse_rlhf.preset pythia-70m --write && dvc repro
"""

import argparse
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic
from inverse_rlhf.params import parse_params, read_yaml

PRESETS = Path("presets")
PARAMS = Path("params.yaml")


def read_preset(name: str) -> dict[str, Any]:
    """The overlay presets/NAME.yaml.

    Raises:
        UserError: there is no such preset.
    """
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(file.stem for file in _files())
        raise UserError(f"there is no preset {name!r}; there are: {names}")
    overlay = read_yaml(path)
    if not isinstance(overlay, dict):
        raise UserError(f"{path} holds no params: write them as in params.yaml")
    return overlay


def listed() -> str:
    """A line for each preset: its name, and the first sentence of what its file says."""
    lines = []
    for file in _files():
        comment = itertools.takewhile(
            lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines()
        )
        said = " ".join(line.removeprefix("#").strip() for line in comment)
        lines.append(f"{file.stem:<18}{re.split(r': |[.] (?=[A-Z])', said)[0].rstrip('.')}")
    return "\n".join(lines)


def merge(content: Any, overlay: dict[str, Any]) -> None:
    """Put the overlay's values into nested mappings, in place; other keys stay."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            merge(content[key], value)
        else:
            content[key] = value


def flags(overlay: dict[str, Any]) -> list[str]:
    """The overlay as arguments of `dvc exp run`: -S group.key=value ..."""
    return [part for key, value in _leaves(overlay) for part in ("-S", f"{key}={_text(value)}")]


def write(overlay: dict[str, Any], path: Path = PARAMS) -> None:
    """Merge the overlay into a params file; comments and order stay."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.representer.add_representer(
        list, lambda dumper, row: dumper.represent_sequence("tag:yaml.org,2002:seq", row, True)
    )
    content = yaml.load(path.read_text(encoding="utf-8"))
    merge(content, overlay)
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        yaml.dump(content, stream)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("name", nargs="?", help="a file of presets/, without .yaml")
    which.add_argument("--list", action="store_true", help="all presets, and what they are for")
    parser.add_argument("--write", action="store_true", help="merge into params.yaml")
    options = parser.parse_args(arguments)
    if options.list:
        if options.write:
            parser.error("--write takes a preset's name")
        print(listed())
        return 0
    try:
        overlay = read_preset(options.name)
        merged = read_yaml(PARAMS)
        merge(merged, overlay)
        parse_params(merged, f"presets/{options.name}.yaml on params.yaml")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.write:
        write(overlay)
    else:
        print(*flags(overlay))
    return 0


def _files() -> list[Path]:
    return sorted(PRESETS.glob("*.yaml"))


def _leaves(overlay: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in overlay.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"  # no spaces: the shell splits at them
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
