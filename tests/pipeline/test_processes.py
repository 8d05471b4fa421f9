"""Several processes that share a stage do what one does, in less time."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.pipeline import several
from tests.pipeline.projects import ROOT as PROJECT
from tests.pipeline.projects import execute
from tests.presets.running import run_stages, write_params

SMALL = {
    "compute.device": "cpu",
    "compute.batch_size": 8,
    "data.comments": 240,
    "data.splits.rl": 12,
    "data.splits.irl": 24,
    "data.splits.valid": 12,
    "data.splits.test": 12,
    "base_policy.scratch.epochs": 1,
    "true_reward.scratch.epochs": 1,
    "rlhf.steps": 2,
    "rlhf.batch_size": 4,
    "rlhf.max_new_tokens": 10,
    "pairs.max_new_tokens": 10,
    "irl.epochs": 2,
}
Result = subprocess.CompletedProcess[str]


def _torchrun(folder: Path, *words: str, count: int = 2, check: bool = True) -> Result:
    return execute(
        folder,
        *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(count)),
        *words,
        check=check,
        PYTHONPATH=str(PROJECT),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What one process made, and what two made of the same, a folder for each stage."""
    folder = tmp_path_factory.mktemp("processes")
    world, one, two = folder / "world", folder / "one", folder / "two"
    world.mkdir()
    with contextlib.chdir(world):
        write_params("smoke", SMALL, world)
        list(run_stages(["prepare_data", "base_policy", "true_reward"]))
        for stage in several.STAGES:
            several.run(stage, **several.FEW.get(stage, {}))
    shutil.rmtree(world / ".irl_runs")
    for name in [*several.STAGES, *several.IRL]:
        for place in (one, two):
            shutil.copytree(world, place / name)
    several.more(one)
    _torchrun(two, "-m", "tests.pipeline.several", ".")
    return one, two


def _same_tables(one: Path, two: Path, *names: str) -> None:
    for name in names:
        found, expected = pd.read_parquet(two / name), pd.read_parquet(one / name)
        pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-5, obj=name)


def _same_weights(one: Path, two: Path, name: str) -> None:
    file = f"{name}/model.safetensors"
    found, expected = load_file(two / file), load_file(one / file)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert torch.allclose(found[key], values, rtol=0, atol=1e-4), key


@pytest.mark.parametrize(
    ("stage", "policy"), [("rlhf_train", "rlhf"), ("rerl_with_irl_rm", "rerl")]
)
def test_policies_are_trained_alike(folders: tuple[Path, Path], stage: str, policy: str) -> None:
    one, two = (folder / stage for folder in folders)
    _same_weights(one, two, f"models/{policy}")
    moved = load_file(two / f"models/{policy}/model.safetensors")
    base = load_file(two / "models/base/model.safetensors")
    assert max(float((moved[key] - base[key]).abs().max()) for key in base) > 3e-4
    curves = [pd.read_csv(folder / f"metrics/curves/{policy}.csv") for folder in (one, two)]
    pd.testing.assert_frame_equal(*curves, rtol=0, atol=1e-4)


def test_several_updates_of_a_batch_in_parts_are_alike(folders: tuple[Path, Path]) -> None:
    _same_weights(*folders, "grpo")


def test_completions_are_the_same(folders: tuple[Path, Path]) -> None:
    one, two = (pd.read_parquet(f / "generate_pairs/data/pairs.parquet") for f in folders)
    pd.testing.assert_frame_equal(two, one)


@pytest.mark.parametrize("name", ["maxmargin_irl", *several.IRL])
def test_rewards_are_recovered_alike(folders: tuple[Path, Path], name: str) -> None:
    one, two = (folder / name for folder in folders)
    _same_tables(one, two, "data/irl_runs.parquet", "data/irl_scores.parquet")
    _same_weights(one, two, "models/irl_reward")


def test_evaluation_is_the_same(folders: tuple[Path, Path]) -> None:
    one, two = (folder / "evaluate" for folder in folders)
    _same_tables(one, two, "data/scores.parquet", "data/word_credits.parquet")
    reports = [json.loads((folder / "metrics/policies.json").read_text()) for folder in (one, two)]
    for policy, report in reports[0].items():
        for key, value in report.items():
            assert reports[1][policy][key] == pytest.approx(value, abs=1e-5), (policy, key)


def test_no_file_is_written_twice(folders: tuple[Path, Path]) -> None:
    first, second = (
        (folders[1] / f"written-{number}.txt").read_text().splitlines() for number in (0, 1)
    )
    written = first + second
    assert len(set(written)) == len(written)
    for kept in ("/.irl_runs/", "/.resume/"):
        assert any(kept in path for path in second), "nothing was shared out"
    assert all("/.irl_runs/" in path or "/.resume/" in path for path in second)
    assert len([path for path in written if "networks/.irl_runs/" in path]) == 7
    assert not list(folders[1].rglob("*.tmp"))


def test_trl_takes_several_processes_by_itself(folders: tuple[Path, Path]) -> None:
    """With weights whole or spread over the processes, of which the first has all at the end."""
    plain, spread = (
        load_file(folders[1] / f"{name}/model.safetensors") for name in ("plain", "spread")
    )
    assert all(torch.allclose(spread[key], plain[key], rtol=0, atol=1e-4) for key in plain)
