"""Presets are overlays on params.yaml: print one as DVC flags, or write it into params.yaml.

python -m inverse_rlhf.preset --list
dvc exp run $(python -m inverse_rlhf.preset pythia-70m) -S irl.lr=1e-5
python -m inverse_rlhf.preset pythia-70m --write && dvc repro

Those in presets/audit/ are overlays on audit/params.yaml.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from inverse_rlhf.audit_params import AuditParams, checked
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic
from inverse_rlhf.params import parse_params, read_yaml

PRESETS = Path("presets")
PARAMS = Path("params.yaml")
AUDITS = Path("audit/params.yaml")


@dataclass(frozen=True)
class Preset:
    """An overlay, and the params file that it is laid over.

    Attributes:
        check: raises UserError where the file's content is wrong; its arguments are the content
            and what it is called.
    """

    path: Path
    overlay: dict[str, Any]
    params: Path
    check: Callable[[Any, str], Any]

    def check_merged(self) -> None:
        """Check the params file with the overlay on it.

        Raises:
            UserError: a line for everything that is wrong.
        """
        content = read_yaml(self.params)
        merge(content, self.overlay)
        self.check(content, f"{self.path} on {self.params}")

    def flags(self) -> list[str]:
        """The overlay as arguments of `dvc exp run`: -S group.key=value ...

        A key that the params file lacks, such as the name of an audit, is added by a plus.
        """
        content = read_yaml(self.params)
        file = "" if self.params == PARAMS else f"{self.params}:"
        return [
            part
            for keys, value in _leaves(self.overlay)
            for part in (
                "-S",
                f"{file}{'' if _has(content, keys) else '+'}{'.'.join(keys)}={_text(value)}",
            )
        ]


def read_preset(name: str) -> Preset:
    """The overlay presets/NAME.yaml, or presets/audit/NAME.yaml.

    Raises:
        UserError: there is no such preset.
    """
    path = next((file for file in _files() if file.stem == name), None)
    if path is None:
        names = ", ".join(file.stem for file in _files())
        raise UserError(f"there is no preset {name!r}; there are: {names}")
    overlay = read_yaml(path)
    if not isinstance(overlay, dict):
        raise UserError(f"{path} holds no params: write them as in params.yaml")
    if path.parent == PRESETS:
        return Preset(path, overlay, PARAMS, parse_params)
    return Preset(path, overlay, AUDITS, partial(checked, AuditParams))


def listed() -> str:
    """A line for each preset: its name, and the first sentence of what its file says.

    Raises:
        UserError: there are none.
    """
    lines = []
    for file in _files():
        comment = itertools.takewhile(
            lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines()
        )
        said = " ".join(line.removeprefix("#").strip() for line in comment)
        lines.append(f"{file.stem:<20}{re.split(r': |[.] (?=[A-Z])', said)[0].rstrip('.')}")
    return "\n".join(lines)


def merge(content: Any, overlay: dict[str, Any]) -> None:
    """Put the overlay's values into nested mappings, in place; other keys stay."""
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            merge(content[key], value)
        else:
            content[key] = value


def write(overlay: dict[str, Any], path: Path) -> None:
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
    which.add_argument(
        "name", nargs="?", help="its file in presets/ or presets/audit/, without .yaml"
    )
    which.add_argument("--list", action="store_true", help="all presets, and what they are for")
    parser.add_argument("--write", action="store_true", help="merge into its params file")
    options = parser.parse_args(arguments)
    if options.list and options.write:
        parser.error("--write takes a preset's name")
    try:
        if options.list:
            print(listed())
            return 0
        preset = read_preset(options.name)
        preset.check_merged()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.write:
        write(preset.overlay, preset.params)
    else:
        print(*preset.flags())
    return 0


def _files() -> list[Path]:
    found = sorted(PRESETS.glob("*.yaml")) + sorted(PRESETS.glob("audit/*.yaml"))
    if not found:
        raise UserError(f"there are no presets in {PRESETS}/ here: run from the project's root")
    return found


def _leaves(overlay: dict[str, Any], outer: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """The keys that lead to each value, and the value."""
    for key, value in overlay.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*outer, key))
        else:
            yield (*outer, key), value


def _has(content: Any, keys: tuple[str, ...]) -> bool:
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            return False
        content = content[key]
    return True


def _text(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"  # no spaces: the shell splits at them
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
