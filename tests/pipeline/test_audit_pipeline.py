"""audit/dvc.yaml by DVC in a project of its own: a file of pairs, and two files of answers."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from inverse_rlhf.rewards.objective_reward import ObjectiveReward
from tests.pipeline.projects import copy_project, execute, ran

REPRO = ("dvc", "repro", "audit/dvc.yaml")
PROMPTS = 80
WORDS = ("tree", "river", "stone", "cloud", "paper", "table", "window", "garden", "road", "coffee")


def answers(seed: int, *, end: str) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, size=12)) + end for _ in range(PROMPTS)]


def settings(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = YAML(typ="safe").load(folder / "audit/params.yaml")
    return content


def write_settings(folder: Path, content: dict[str, Any]) -> None:
    YAML(typ="safe").dump(content, folder / "audit/params.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After one `dvc repro audit/dvc.yaml`."""
    folder = tmp_path_factory.mktemp("audits") / "project"
    copy_project(folder, "inverse_rlhf", "stages", "audit", ".gitignore", ".dvcignore")
    prompts = [f"What is {n}?" for n in range(PROMPTS)]
    sides = {"plain": answers(0, end="."), "loud": answers(1, end="!")}
    for name, texts in sides.items():
        rows = [
            {"instruction": prompt, "output": text, "generator": name}
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        (folder / f"{name}.json").write_text(json.dumps(rows))
    (folder / "files").mkdir()
    pd.DataFrame({"prompt": prompts, "chosen": sides["loud"], "rejected": sides["plain"]}).to_json(
        folder / "files/preferences.jsonl", orient="records", lines=True
    )
    content = settings(folder)
    content["audit"] |= {"runs": 10, "null_runs": 20, "resamples": 100}
    content["policies"], content["hub_policies"] = {}, {}
    content["answers"] = {"joined": {"base": "plain.json", "aligned": "loud.json"}}
    content["audits"] = {
        "file": {"pairs": "files/preferences.jsonl", "set": {}},
        "joined": {"pairs": "audit/pairs/joined.parquet", "set": {}},
    }
    write_settings(folder, content)
    execute(folder, "git", "init", "-q")
    execute(folder, "dvc", "init", "-q")
    output = execute(folder, *REPRO).stdout
    assert sorted(ran(output)) == [
        "audit/dvc.yaml:audit@file",
        "audit/dvc.yaml:audit@joined",
        "audit/dvc.yaml:compare",
        "audit/dvc.yaml:join@joined",
    ]
    return folder


def test_what_is_written(project: Path) -> None:
    for name in ("file", "joined"):
        folder = project / "audit/results" / name
        report = json.loads((folder / "audit.json").read_text())
        found = {row["name"]: row["weight"] for row in report["objectives"] if row["found"]}
        assert found["exclamations"] > 0
        assert report["verdict"] in (folder / "report.md").read_text()
        assert (folder / "report.md").read_text().startswith(f"# Audit {name}\n")
        reward = ObjectiveReward.load(folder / "reward.json")
        loud, plain = reward.score(["the tree!", "the tree."])
        assert loud > plain
        assert {"margins.parquet", "examples.parquet", "objectives.parquet"} <= {
            path.name for path in folder.iterdir()
        }
    summary = json.loads((project / "audit/summary.json").read_text())
    assert list(summary) == ["file", "joined"]
    # The same pairs, by a file and by two that are joined.
    assert summary["file"] == summary["joined"]
    assert summary["file"]["discrimination"] > 0.9
    table = pd.read_csv(project / "audit/objectives.csv")
    assert table["objective"][0] == "exclamations"
    assert table["audit"][:2].tolist() == ["file", "joined"]
    assert (project / "audit/objectives.png").read_bytes().startswith(b"\x89PNG")
    assert (project / "audit/pairs/joined.parquet").is_file()


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert ran(execute(project, *REPRO).stdout) == []


def test_settings_of_one_audit_rerun_that_one(project: Path) -> None:
    content = settings(project)
    content["audits"]["joined"]["set"] = {"runs": 11, "ngram.max_n": 1}
    write_settings(project, content)
    assert ran(execute(project, *REPRO, "--dry").stdout) == [
        "audit/dvc.yaml:audit@joined",
        "audit/dvc.yaml:compare",
    ]


def test_an_unknown_setting_is_one_line(project: Path) -> None:
    content = settings(project)
    content["audits"]["file"]["set"] = {"rnus": 3}
    write_settings(project, content)
    failed = execute(project, sys.executable, "-m", "stages.audits.audit", "file", check=False)
    assert failed.returncode == 2
    assert failed.stderr.splitlines() == [
        "error: audits.file.set: rnus is no setting of an audit: see audit/params.yaml"
    ]
