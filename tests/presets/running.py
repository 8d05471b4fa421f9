"""The stages in this process, one after the other, as `dvc repro` runs them in their own."""

from inverse_rlhf.stage import params_class

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from inverse_rlhf import preset
from inverse_rlhf.params import for_stage, load_params, read_yaml

ROOT = Path(__file__).parent.parent.parent
STAGES = list(read_yaml(ROOT / "dvc.yaml")["stages"])


def write_params(name: str, settings: dict[str, Any], folder: Path) -> None:
    """The params of a preset in a folder, with values of keys such as `irl.runs` that differ."""
    target = folder / "params.yaml"
    target.write_text((ROOT / "params.yaml").read_text())
    overlay: dict[str, Any] = read_yaml(ROOT / "presets" / f"{name}.yaml")
    for key, value in settings.items():
        group = overlay
        *groups, last = key.split(".")
        for part in groups:
            group = group.setdefault(part, {})
        group[last] = value
    preset.write(overlay, target)


def run_stages(stages: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Run stages in the working directory; of each its name and the lines that it ends with.

    Each has to have written all that dvc.yaml says it does.
    """
    declared = read_yaml(ROOT / "dvc.yaml")["stages"]
    for name in stages:
        params = load_params()
        torch.manual_seed(params.seed)
        main = importlib.import_module(f"stages.{name}").main
        lines = main(for_stage(params, params_class(main)))
        outs = declared[name]["outs"] + declared[name].get("metrics", [])
        paths = [out if isinstance(out, str) else next(iter(out)) for out in outs]
        assert [path for path in paths if not Path(path).exists()] == []
        yield name, lines
