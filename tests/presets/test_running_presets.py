"""Presets run: `smoke` whole, Pythia's on models of the real shapes with random weights."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from ruamel.yaml import YAML
from safetensors import safe_open
from transformers import GPTNeoXForCausalLM

from benchmarks.planned import line
from inverse_rlhf import preset
from tests.presets.running import STAGES, run_stages, write_params
from tests.presets.shapes import PYTHIA, pythia_config, save_comments, save_pythia

# What it takes for a step each of a preset to fit a test; `benchmarks/presets.py` has more.
FEW = {
    "compute.bf16": False,
    "compute.batch_size": 8,
    "data.splits.rl": 4,
    "data.splits.irl": 10,
    "data.splits.valid": 10,
    "data.splits.test": 10,
    "rlhf.steps": 1,
    "rlhf.batch_size": 2,
    "rlhf.generations": 2,
    "rlhf.warmup_steps": 0,
    "rlhf.lr": 1e-3,  # one step of the preset's changes no token of a greedy text
    "rlhf.max_new_tokens": 12,
    "pairs.max_new_tokens": 12,
    "irl.runs": 1,
    "irl.control_runs": 1,
    "irl.epochs": 1,
    "base_policy.revision": None,
    "true_reward.revision": None,
    "data.revision": None,
}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, gone at the end: models of real shapes are large."""
    with TemporaryDirectory() as name:
        monkeypatch.chdir(name)
        yield Path(name)
        monkeypatch.undo()


def test_smoke_runs_every_stage(folder: Path) -> None:
    """Some 15 seconds of one core, without the start of a process for each stage."""
    write_params("smoke", {}, folder)
    said = dict(run_stages(STAGES))
    assert list(said) == STAGES
    assert any("too few steps to judge by" in line for line in said["rlhf_train"])
    summary = json.loads((folder / "metrics/summary.json").read_text())
    assert 0 <= summary["roc_auc"] <= 1
    assert (folder / "metrics/report.html").stat().st_size > 100_000


@pytest.mark.parametrize("name", sorted(PYTHIA))
def test_shapes_have_the_parameters_that_the_presets_reckon_with(name: str) -> None:
    with torch.device("meta"):
        count = GPTNeoXForCausalLM(pythia_config(name)).num_parameters()
    assert f"P = {count:,} parameters" in " ".join(
        line.removeprefix("# ") for line in _text(name).splitlines()
    )


@pytest.mark.parametrize("name", sorted(PYTHIA))
def test_memory_in_their_comments_is_what_is_planned(name: str) -> None:
    said = " ".join(line.removeprefix("#").strip() for line in _text(name).splitlines())
    found = re.findall(
        r"(?:24|80) GB((?:, [\w.]+ \w+)*): (rlhf_train .*?; \.irl_runs [\d.]+)\.", said
    )
    assert found
    for settings, figures in found:
        pairs = (setting.split() for setting in settings.split(", ")[1:])
        changes = {key: YAML(typ="safe", pure=True).load(value) for key, value in pairs}
        assert figures == line(name, changes)


def test_pythia_70m_takes_a_step_of_everything_that_trains(folder: Path) -> None:
    """Some 30 seconds of one core."""
    settings = {
        "data.source": "comments.parquet",
        "base_policy.source": str(save_pythia("pythia-70m", folder / "pythia")),
        "true_reward.source": str(folder / "roberta"),
    }
    save_comments(folder / "comments.parquet", folder / "roberta", 48)
    write_params("pythia-70m", FEW | settings, folder)
    said = dict(run_stages(STAGES[: STAGES.index("rerl_with_irl_rm")]))
    assert any("10" in line for line in said["prepare_data"])
    with safe_open(folder / "models/rlhf/model.safetensors", "pt") as aligned:
        assert aligned.get_slice("embed_out.weight").get_shape() == [50_304, 512]
    with safe_open(folder / "models/irl_reward/model.safetensors", "pt") as reward:
        assert reward.get_slice("score.weight").get_shape() == [1, 512]


def _text(name: str) -> str:
    root = Path(preset.__file__).parent.parent
    return (root / "presets" / f"{name}.yaml").read_text()
