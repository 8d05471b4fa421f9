"""Unfinished work: kept for a run of the same, whole or not at all, and for one process."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inverse_rlhf import resume
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Params
from inverse_rlhf.resume import seal, sealed, stage_key, unfinished
from stages.rlhf_train import StageParams
from tests.pipeline.projects import ROOT

INPUTS = ["prompts.parquet", "base"]


@pytest.fixture
def own(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StageParams:
    """The params of a stage, in a folder with what it reads."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()
    for name in ("prompts.parquet", "base/model.safetensors", "base/config.json"):
        (tmp_path / name).write_text(name)
    content = params.model_dump(include=set(StageParams.model_fields))
    content["true_reward"] = {
        key: content["true_reward"][key]
        for key in ("toxic_label", "higher_is", "neutral", "weights")
    }
    return StageParams.model_validate(content)


def test_what_a_result_depends_on_is_in_its_key(
    own: StageParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(params: StageParams = own, stage: str = "rlhf_train") -> str:
        return stage_key(stage, params, INPUTS)

    usual = key()
    assert key() == usual
    found = {usual, key(own.model_copy(update={"seed": 1})), key(stage="rerl_with_irl_rm")}
    lower = own.rlhf.model_copy(update={"lr": 1e-5})
    found.add(key(own.model_copy(update={"rlhf": lower})))
    for name in ("prompts.parquet", "base/config.json", "base/new.json"):
        (tmp_path / name).write_text("other")
        found.add(key())
    (tmp_path / "base/new.json").rename(tmp_path / "base/newer.json")
    found.add(key())
    monkeypatch.setenv("WORLD_SIZE", "2")
    found.add(key())
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    found.add(key())
    (tmp_path / "adapted").mkdir()
    adapter = json.dumps({"base_model_name_or_path": str(tmp_path / "adapted")})
    (tmp_path / "base/adapter_config.json").write_text(adapter)
    found.add(key())
    (tmp_path / "adapted/model.safetensors").write_text("of the model that it adapts")
    found.add(key())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    found.add(key())
    monkeypatch.setattr(resume, "versions", lambda: {"torch": "1.0"})
    found.add(key())
    assert len(found) == 14


@pytest.mark.parametrize(
    ("module", "differs"),
    [("policies/decoding.py", True), ("show/closing.py", False), ("params.py", False)],
)
def test_the_key_is_of_the_code(
    module: str,
    differs: bool,
    own: StageParams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("inverse_rlhf", "stages"):
        shutil.copytree(ROOT / name, tmp_path / "code" / name)
    monkeypatch.setattr(resume, "_ROOT", tmp_path / "code")
    before = stage_key("rlhf_train", own, INPUTS)
    with (tmp_path / "code/inverse_rlhf" / module).open("a") as stream:
        stream.write("# more\n")
    assert (stage_key("rlhf_train", own, INPUTS) != before) == differs


def killed(params: StageParams, **files: str) -> Path:
    """The folder of a run that ended before its time, and what it wrote into it."""
    with contextlib.suppress(KeyboardInterrupt), unfinished("rlhf_train", params, INPUTS) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
        raise KeyboardInterrupt
    return folder


def test_work_stays_until_a_run_ends_well(own: StageParams) -> None:
    folder = killed(own, step="7")
    with unfinished("rlhf_train", own, INPUTS) as again:
        assert again == folder
        assert (folder / "step").read_text() == "7"
        with unfinished("rerl_with_irl_rm", own, INPUTS) as other:
            assert other.parent != folder.parent
        with (
            pytest.raises(UserError, match="another process is at work on this: wait until"),
            unfinished("rlhf_train", own, INPUTS),
        ):
            pass
        assert (folder / "step").exists()
    assert not folder.exists()


def test_another_setting_takes_the_place_of_the_former(own: StageParams) -> None:
    folder = killed(own)
    with unfinished("rlhf_train", own.model_copy(update={"seed": 1}), INPUTS):
        assert not folder.exists()


def test_a_killed_process_leaves_what_it_sealed(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        with resume.own_folder(tmp_path, "key") as own:
            for name in ("one", "two"):
                (own / name).mkdir()
                (own / name / "weights").write_text(name)
                if name == "two":
                    os.kill(os.getpid(), signal.SIGKILL)
                seal(own / name, step=1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    with resume.own_folder(tmp_path, "key") as own:
        assert sealed(own / "one") == {"step": 1}
        assert sealed(own / "two") is None


Change = Callable[[Path], Any]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "a").write_text("Content"),
        lambda folder: (folder / "a").unlink(),
        lambda folder: (folder / "inner/more").write_text(""),
        lambda folder: (folder / "inner/b").rename(folder / "b"),
        lambda folder: (folder / "sealed.json").unlink(),
        lambda folder: (folder / "sealed.json").write_text("{}"),
        lambda folder: (folder / "sealed.json").write_text("["),
    ],
)
def test_what_is_no_longer_whole_is_absent(change: Change, tmp_path: Path) -> None:
    folder = tmp_path / "key/checkpoint"
    (folder / "inner").mkdir(parents=True)
    for name in ("a", "inner/b"):
        (folder / name).write_text("content")
    assert sealed(folder) is None
    seal(folder, step=3, loss=0.25)
    assert sealed(folder) == {"step": 3, "loss": 0.25}
    shutil.copytree(folder, tmp_path / "other/checkpoint")
    assert sealed(tmp_path / "other/checkpoint") is None
    change(folder)
    assert sealed(folder) is None


def test_git_and_dvc_leave_it_out(tmp_path: Path) -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", ".resume/rlhf_train/key/lock"], cwd=ROOT, check=False
    )
    assert ignored.returncode == 0
    assert ".resume/" in (ROOT / ".dvcignore").read_text().splitlines()
