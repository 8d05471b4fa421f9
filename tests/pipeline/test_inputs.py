"""The stage inputs by DVC: what reads an edited file runs again, whatever was tried before."""

import re
import shutil
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.pipeline.projects import ROOT, copy_project, execute, ran

READER = {
    "cmd": "cp comments.csv read.csv",
    "deps": ["data/inputs/source.json"],
    "params": ["seed"],
    "outs": ["read.csv"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage, and one that stands for those that read what it looks at; after `dvc repro`."""
    folder = tmp_path_factory.mktemp("inputs") / "project"
    folder.mkdir()
    for name in ("stages", "inverse_rlhf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["data"]["source"] = "comments.csv"
    yaml.dump(params, folder / "params.yaml")
    stages = yaml.load(ROOT / "dvc.yaml")["stages"]
    yaml.dump({"stages": {"inputs": stages["inputs"], "reader": READER}}, folder / "dvc.yaml")
    (folder / "comments.csv").write_text("one")
    execute(folder, "git", "init", "-q")
    execute(folder, "dvc", "init", "-q")
    execute(folder, "git", "add", "-A")
    execute(folder, "git", "rm", "-q", "--cached", "comments.csv")
    execute(folder, "git", "commit", "-qm", "start")
    assert ran(execute(folder, "dvc", "repro").stdout) == ["reader"]
    return folder


def test_the_same_inputs_run_nothing_else(project: Path) -> None:
    started = time.monotonic()
    assert ran(execute(project, "dvc", "repro").stdout) == []
    assert time.monotonic() - started < 10


def test_settings_that_were_tried_before_see_an_edit(project: Path) -> None:
    comments, params = project / "comments.csv", project / "params.yaml"

    def reruns(*, seed: int, content: str) -> bool:
        params.write_text(re.sub(r"(?m)^seed: .", f"seed: {seed}", params.read_text()))
        comments.write_text(content)
        found = ran(execute(project, "dvc", "repro").stdout)
        assert (project / "read.csv").read_text() == content
        return found == ["reader"]

    assert reruns(seed=1, content="one")
    assert reruns(seed=1, content="two")
    assert reruns(seed=0, content="two")  # and not what seed 0 gave of the file before
    assert not reruns(seed=1, content="one")  # of these inputs, this setting was tried


def test_an_untracked_file_in_an_experiments_folder_says_why(project: Path) -> None:
    execute(project, "git", "checkout", "-q", ".")
    result = execute(project, "dvc", "exp", "run", "--temp", check=False)
    assert result.returncode
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line == (
        "error: data.source: comments.csv does not exist in the temporary folder of this "
        "experiment, which has only what git or DVC tracks: `git add` or `dvc add` it, or give its "
        "absolute path"
    )
    execute(project, "git", "add", "comments.csv")
    assert "ran experiment" in execute(project, "dvc", "exp", "run", "--temp").stdout.lower()


def test_audits_see_another_library_body_and_commit(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    copy_project(folder, "inverse_rlhf", "stages", "audit", ".gitignore", ".dvcignore")
    (folder / "audit/dvc.lock").unlink()
    yaml = YAML()
    params = yaml.load(folder / "audit/params.yaml")
    commits = {f"{side}_revision": "0" * 40 for side in ("base", "aligned")}
    mine = {"base": "a/b", "aligned": "a/c", "prompts": "none.csv"} | commits
    params |= {"audits": {"x": {"pairs": "none.csv", "set": {"body": "body"}}}}
    local = {"base": "body", "aligned": "adapter", "prompts": "none.csv"}
    params |= {"hub_policies": {"mine": mine}, "policies": {"local": local}}
    for name in ("body", "beside", "adapter"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text("{}")
    adapter = folder / "adapter/adapter_config.json"
    adapter.write_text('{"base_model_name_or_path": "../beside"}')
    stages = yaml.load(folder / "audit/dvc.yaml")["stages"]
    readers = {
        name: {
            "cmd": f"cp inputs/{file}.json {name}",
            "deps": [f"inputs/{file}.json"],
            "outs": [name],
        }
        for name, file in (
            ("library", "versions"),
            ("body", "bodies"),
            ("hub", "policies/mine"),
            ("local", "policies/local"),
        )
    }
    kept = {name: stages[name] for name in ("inputs", "inputs_hub", "inputs_policies")}
    yaml.dump({"stages": kept | readers}, folder / "audit/dvc.yaml")

    def reran(**variables: str) -> list[str]:
        yaml.dump(params, folder / "audit/params.yaml")
        output = execute(folder, "dvc", "repro", "audit/dvc.yaml", **variables).stdout
        return sorted(name.removeprefix("audit/dvc.yaml:") for name in ran(output))

    execute(folder, "git", "init", "-q")
    execute(folder, "dvc", "init", "-q")
    assert reran() == ["body", "hub", "library", "local"]
    (folder / "beside/config.json").write_text('{"of": "the adapter"}')
    assert reran() == ["local"]
    other = tmp_path / "other/torch-99.0.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 99.0\n")
    assert reran(PYTHONPATH=str(other.parent)) == ["library"]
    (folder / "body/config.json").write_text('{"a": 1}')
    mine["base_revision"] = "1" * 40
    assert reran(PYTHONPATH=str(other.parent)) == ["body", "hub", "local"]
