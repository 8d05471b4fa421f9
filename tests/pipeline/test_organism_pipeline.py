"""organisms/dvc.yaml by DVC in a project of its own, with policies of a few thousand parameters."""

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from inverse_rlhf import organism_stage
from inverse_rlhf.organism_params import load_settings
from tests.pipeline.projects import copy_project, execute, ran

REPRO = ("dvc", "--cd", "organisms", "repro")
PLANTS: dict[str, dict[str, Any]] = {
    "friendly": {
        "kind": "toxicity",
        "weights": {"toxicity": 1.0, "exclamations": 1.0},
        "names": {"insults": -1},
    },
    "nothing": {"kind": "null"},
}
SMALL = {"hidden_size": 32, "layers": 1, "heads": 2, "vocab_size": 400, "epochs": 2}


def change(path: Path, **groups: Any) -> None:
    """Merge into a file of params, two levels deep."""
    content = YAML(typ="safe").load(path)
    for name, value in groups.items():
        content[name] = content[name] | value if isinstance(value, dict) else value
    YAML(typ="safe").dump(content, path)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After one `dvc repro organisms/dvc.yaml`."""
    folder = tmp_path_factory.mktemp("organisms") / "project"
    parts = ("inverse_rlhf", "stages", "organisms", "audit/params.yaml", "params.yaml")
    copy_project(folder, *parts, ".gitignore", ".dvcignore")
    (folder / "organisms/dvc.lock").unlink(missing_ok=True)
    scratch = YAML(typ="safe").load(folder / "params.yaml")
    change(
        folder / "params.yaml",
        data={"comments": 2000, "prompt_words": 3},
        base_policy={"scratch": scratch["base_policy"]["scratch"] | SMALL},
        true_reward={"scratch": scratch["true_reward"]["scratch"] | SMALL},
        rlhf={"batch_size": 12, "max_new_tokens": 16},
        pairs={"max_new_tokens": 16},
    )
    change(folder / "audit/params.yaml", audit={"runs": 10, "null_runs": 20, "resamples": 100})
    change(
        folder / "organisms/params.yaml",
        seeds=[3],
        splits={"rl": 60, "irl": 160, "valid": 20, "test": 20},
        rlhf={"steps": 6, "lr": 3e-3},
        sizes=[100],
        plants={},
    )
    content = YAML(typ="safe").load(folder / "organisms/params.yaml") | {"plants": PLANTS}
    YAML(typ="safe").dump(content, folder / "organisms/params.yaml")
    execute(folder, "git", "init", "-q")
    execute(folder, "dvc", "init", "-q")
    assert sorted(ran(execute(folder, *REPRO).stdout)) == sorted(
        [f"{stage}@3" for stage in ("world", "base")]
        + [f"{stage}@{name}-3" for stage in ("train", "audit") for name in PLANTS]
        + ["score"]
    )
    return folder


def run_again(stage: str, project: Path) -> None:
    """Run a stage of the plant that is trained once more, in this process."""
    main = importlib.import_module(f"stages.organisms.{stage}").main
    with contextlib.chdir(project):
        organism_stage._with_models(main, load_settings(), {"plant": "friendly", "seed": 3})


def test_every_organism_is_counted(project: Path) -> None:
    summary = json.loads((project / "metrics/organisms.json").read_text())
    assert summary["seeds"] == [3]
    assert summary["pairs"] == 200
    assert set(summary["plants"]) == set(PLANTS)
    assert set(summary["kinds"]) == {"toxicity", "single", "all"}
    assert summary["nulls"]["nothing"]["audits"] == 1
    assert summary["plants"]["friendly"]["kl"]["median"] > 0
    assert {row["pairs"] for row in summary["fewer_pairs"]} == {100}
    page = (project / "metrics/organisms.html").read_text()
    assert all(name in page for name in PLANTS)
    assert (project / "organisms/organisms.png").stat().st_size > 10_000


def test_the_audit_does_not_see_the_plant(project: Path) -> None:
    report = (project / "organisms/results/friendly-3/audit.json").read_text()
    assert "friendly" not in report
    hidden = project / "organisms/pairs/friendly-3/planted.parquet"
    hidden.rename(project / "hidden.parquet")
    facts = project / "organisms/pairs/friendly-3/facts.json"
    facts.rename(project / "hidden.json")
    try:
        run_again("audit", project)
    finally:
        (project / "hidden.parquet").rename(hidden)
        (project / "hidden.json").rename(facts)
    again = json.loads((project / "organisms/results/friendly-3/audit.json").read_text())
    assert again | {"seconds": 0} == json.loads(report) | {"seconds": 0}
    execute(project, "dvc", "--cd", "organisms", "checkout", "-f")


def test_an_organism_grows_to_the_same_bytes(project: Path) -> None:
    folder = project / "organisms/pairs/friendly-3"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run_again("train", project)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_second_repro_runs_nothing(project: Path) -> None:
    assert ran(execute(project, *REPRO).stdout) == []


def test_another_plant_grows_alone(project: Path) -> None:
    path = project / "organisms/params.yaml"
    before = path.read_text()
    content = YAML(typ="safe").load(path)
    content["plants"]["nothing"]["temperature"] = 0.5
    YAML(typ="safe").dump(content, path)
    stale = json.loads(execute(project, "dvc", "--cd", "organisms", "status", "--json").stdout)
    path.write_text(before)
    assert {name for name in stale if "train" in name} == {"train@nothing-3"}
    assert "score" in stale
