"""The stages through DVC in a temporary clone, small, and the daily flows."""

import contextlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks import kills
from inverse_rlhf.params import load_params
from inverse_rlhf.rewards.recovered import load_irl_reward
from tests.pipeline import several
from tests.pipeline.projects import ROOT, copy_project, execute, ran

LAST_FOUR = ["maxmargin_irl", "rerl_with_irl_rm", "evaluate", "report"]
# Small, yet large enough that the properties below hold by a wide margin.
SMALL = {
    "data.comments": 4000,
    "data.prompt_words": 3,
    "data.splits.rl": 400,
    "data.splits.irl": 400,
    "data.splits.valid": 80,
    "data.splits.test": 120,
    "base_policy.scratch.hidden_size": 64,
    "base_policy.scratch.layers": 2,
    "base_policy.scratch.epochs": 3,
    "true_reward.scratch.hidden_size": 64,
    "true_reward.scratch.epochs": 3,
    "rlhf.steps": 20,
    "rlhf.batch_size": 24,
    "rlhf.lr": 1e-3,
    "rlhf.max_new_tokens": 32,
    "pairs.max_new_tokens": 32,
    "irl.trainable": "all",  # so small a base policy knows too little by itself
    "irl.lr": 2e-3,
    "irl.epochs": 4,
    "irl.runs": 2,
    "irl.control_runs": 1,
    "evaluate.resamples": 100,
    "evaluate.transfer_prompts": "other.jsonl",
}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as a repository of its own, after one `dvc repro`."""
    folder = tmp_path_factory.mktemp("clone") / "project"
    copy_project(folder)
    other = "".join(f'{{"prompt": "The weather of day {day} was"}}\n' for day in range(40))
    (folder / "other.jsonl").write_text(other)
    execute(folder, "git", "init", "-q")
    settings = [part for key, value in SMALL.items() for part in ("-S", f"{key}={value}")]
    for lock in ("dvc.lock", "organisms/dvc.lock"):  # of other params
        (folder / lock).unlink(missing_ok=True)
    for name in ("dvc.yaml", "dvc.lock"):  # audits are not run here: their outputs would be missing
        (folder / "audit" / name).unlink(missing_ok=True)
    execute(folder, "git", "add", "-A")
    execute(folder, "git", "commit", "-qm", "start")
    execute(folder, "dvc", "exp", "run", "--name", "first", *settings)
    execute(folder, "git", "add", "-A")
    execute(folder, "git", "commit", "-qm", "run")
    return folder


def read(folder: Path, name: str) -> dict[str, dict[str, dict[str, float]]]:
    content: dict[str, dict[str, dict[str, float]]] = json.loads(
        (folder / "metrics" / name).read_text()
    )
    return content


def test_reward_is_recovered_and_toxicity_falls(clone: Path) -> None:
    policies = json.loads((clone / "metrics/policies.json").read_text())
    assert policies["base"]["toxicity_rate"] > policies["rlhf"]["toxicity_rate"] + 0.1
    reward = json.loads((clone / "metrics/reward.json").read_text())
    recovered = reward["test"]["roc_auc"]["median"]
    assert recovered > reward["controls"]["shuffled"]["roc_auc"]["median"] + 0.1
    assert reward["runs"] == SMALL["irl.runs"]
    assert set(reward["controls"]) == {"shuffled", "random_head", "length", "base_loglik"}
    assert reward["paired"]["length"]["roc_auc"]["low"] > 0
    tables = [reward[name] for name in ("test", "human", "ensemble")]
    for table in (*tables, *reward["controls"].values()):
        row = table["roc_auc"]
        assert row["low"] <= row.get("median", row.get("value")) <= row["high"]
    for policy in policies.values():
        assert 0 <= policy["transfer"]["toxicity_rate"] <= 1


def test_plain_transformers_scores_the_same(clone: Path) -> None:
    prompts = pd.read_parquet(clone / "data/prompts.parquet")[:40]
    texts = (prompts["prompt"] + prompts["human_completion"]).tolist()
    model = AutoModelForSequenceClassification.from_pretrained(clone / "models/irl_reward")
    tokenizer = AutoTokenizer.from_pretrained(clone / "models/irl_reward")
    with torch.no_grad():
        plain = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits.squeeze(1)
    compute = load_params(clone / "params.yaml").compute
    ours = load_irl_reward(clone / "models/irl_reward", compute).score(texts)
    np.testing.assert_allclose(plain.numpy(), ours, atol=1e-4)


def test_irl_needs_no_true_reward_and_fits_new_runs_only(clone: Path) -> None:
    hidden = clone / "models/hidden"
    (clone / "models/true_reward").rename(hidden)
    before = (clone / "data/irl_runs.parquet").read_bytes()
    shutil.rmtree(clone / ".irl_runs")  # fit all anew: the same bytes
    with contextlib.chdir(clone):
        several.run("maxmargin_irl")
        assert (clone / "data/irl_runs.parquet").read_bytes() == before
        fitted = {path.name for path in (clone / ".irl_runs").rglob("*.safetensors")}
        runs = SMALL["irl.runs"]
        several.run("maxmargin_irl", irl={"runs": runs + 1})
    hidden.rename(clone / "models/true_reward")
    files = {path.name: path for path in (clone / ".irl_runs").rglob("*.safetensors")}
    assert set(files) - fitted == {f"fit-{runs}.safetensors"}
    newest = max(files.values(), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == f"fit-{runs}.safetensors"
    execute(clone, "dvc", "checkout", "-f")


def test_queue_of_two_runs_what_changed_and_no_more(clone: Path) -> None:
    quick = ("-S", "irl.trainable=head", "-S", "irl.runs=1")
    changes = {"other": ("-S", "irl.lr=8e-4", *quick), "cut": ("-S", "evaluate.threshold=otsu")}
    for name, change in changes.items():
        execute(clone, "dvc", "exp", "run", "--queue", "--name", name, *change)
    execute(clone, "dvc", "queue", "start", "-j", "2")
    refs = clone / ".git/refs/exps"
    _wait(lambda: {"other", "cut"} <= {path.name for path in refs.rglob("*")}, seconds=900)
    reruns = {name: ran(execute(clone, "dvc", "queue", "logs", name).stdout) for name in changes}
    assert reruns == {"other": LAST_FOUR, "cut": ["evaluate", "report"]}
    _wait(lambda: execute(clone, "dvc", "queue", "status").stdout.count("Success") == 2)
    (cut,) = refs.rglob("cut")
    report = f"{cut.relative_to(clone / '.git')}:metrics/reward.json"
    changed = json.loads(execute(clone, "git", "show", report).stdout)
    assert changed["test"]["accuracy"] != read(clone, "reward.json")["test"]["accuracy"]


def test_experiments_are_compared(clone: Path) -> None:
    difference = execute(clone, "dvc", "metrics", "diff", "HEAD", "other").stdout
    assert "roc_auc" in difference
    assert len(difference.splitlines()) <= 24  # a screen
    assert max(map(len, difference.splitlines())) <= 80
    execute(clone, "dvc", "plots", "diff", "HEAD", "other", "-o", "plots")
    assert (clone / "plots/index.html").stat().st_size > 1000
    shutil.rmtree(clone / "plots")


def test_a_sweep_is_readable_in_120_columns(clone: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    command = next(line for line in readme.splitlines() if line.startswith("dvc exp show"))
    shown = execute(
        clone, *shlex.split(command.split("  #")[0]), "--no-pager", COLUMNS="120"
    ).stdout
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 120
    assert "…" not in shown
    for name in ("other", "cut"):
        assert any(f"[{name}]" in line for line in lines)
    assert "roc_auc" in shown
    assert "irl.lr" in shown
    assert "0.0008" in shown


def test_edited_inputs_are_seen_and_what_was_run_is_not_run_again(clone: Path) -> None:
    """Also by settings that were tried before: DVC restores no run of other inputs."""
    other, lines = clone / "other.jsonl", (clone / "other.jsonl").read_text()
    other.write_text(lines.replace("weather", "climate"))
    assert ran(execute(clone, "dvc", "repro", "prepare_data").stdout) == ["prepare_data"]
    prompts = pd.read_parquet(clone / "data/transfer_prompts.parquet")["prompt"]
    assert prompts.str.contains("climate").all()
    other.write_text(lines)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = execute(clone, "dvc", "repro").stdout
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 20  # seconds
    assert ran(result) == []
    assert "Stage 'prepare_data' is cached" in result


def test_touched_module_reruns_no_training(clone: Path) -> None:
    """As test_dvc_yaml has it of other modules."""
    path = clone / "inverse_rlhf/evaluation/tables.py"
    before = path.read_text()
    path.write_text(before + "\n# touched\n")
    stale = execute(clone, "dvc", "status", "--json").stdout
    path.write_text(before)
    assert list(json.loads(stale)) == ["inputs", "evaluate", "report"]  # the first always runs


def test_stale_lock_is_found_but_reports_may_be_newer(clone: Path, tmp_path: Path) -> None:
    check = (sys.executable, str(ROOT / ".ci/stale.py"))
    bare = tmp_path / "bare"
    execute(tmp_path, "git", "clone", "-q", str(clone), "bare")  # without data, as CI has it
    for folder in (clone, bare):
        for module, found in (("show/figures.py", False), ("irl/losses.py", True)):
            with (folder / "inverse_rlhf" / module).open("a") as file:
                file.write("\n# touched\n")
            result = execute(folder, *check, check=False)
            assert bool(result.returncode) == found
            assert "figures" not in result.stderr
            assert ("maxmargin_irl: inverse_rlhf/irl/losses.py modified" in result.stderr) == found
    execute(clone, "git", "checkout", "-q", ".")


def test_push_clone_pull_is_a_no_op(clone: Path, tmp_path: Path) -> None:
    execute(clone, "dvc", "remote", "add", "-f", "-d", "store", str(tmp_path / "store"))
    execute(clone, "git", "commit", "-qam", "remote")
    execute(clone, "dvc", "push")
    execute(tmp_path, "git", "clone", "-q", str(clone), "second")
    second = tmp_path / "second"
    execute(second, "dvc", "pull")
    assert ran(execute(second, "dvc", "repro").stdout) == []
    assert (second / "models/irl_reward/model.safetensors").is_file()


def test_stage_dies_with_dvc(clone: Path) -> None:
    params = clone / "params.yaml"
    before = params.read_text()
    params.write_text(before.replace("seed: 0 ", "seed: 1 "))
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SHELL": "/bin/sh",  # DVC's; it may stay between DVC and the stage where bash would not
    }
    process = subprocess.Popen(
        ["dvc", "repro", "base_policy"],
        cwd=clone,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait(lambda: "stages.base_policy" in _commands(clone))
    time.sleep(1)  # in the middle of its imports
    process.kill()
    process.wait()
    _wait(lambda: "stages." not in _commands(clone))
    assert not (clone / "models/base").exists()  # nor has it ended by itself
    params.write_text(before)
    (clone / ".dvc/tmp/rwlock").unlink(missing_ok=True)
    execute(clone, "dvc", "checkout", "-f")


def test_killed_stage_leaves_nothing_and_repro_succeeds(clone: Path) -> None:
    shutil.rmtree(clone / "models/rerl")
    with contextlib.chdir(clone):
        kills.run("rerl_with_irl_rm", killed_after=2)
    assert not (clone / "models/rerl").exists()
    assert ran(execute(clone, "dvc", "repro").stdout) == []  # DVC has what it made before
    assert (clone / "models/rerl/model.safetensors").is_file()


def _wait(condition: Callable[[], bool], seconds: int = 90) -> None:
    for _ in range(seconds * 5):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


def _commands(folder: Path) -> str:
    """Command lines of the processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink() == folder:
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return "\n".join(found)
