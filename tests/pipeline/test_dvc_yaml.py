"""The graph keeps its word: what a stage imports, reads and writes is what dvc.yaml says."""

from inverse_rlhf.stage import params_class

import ast
import importlib
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from dvc_data.hashfile.meta import Meta
from ruamel.yaml import YAML

from inverse_rlhf.models.plan import written_by
from inverse_rlhf.params import Group, Launch, Params
from tests.pipeline.closures import PACKAGES, ROOT, TEMPLATES, closure, names

# They check, or print: nothing that is written follows from them.
EXEMPT = {
    "inverse_rlhf/params.py",
    "inverse_rlhf/errors.py",
    "inverse_rlhf/models/plan.py",
    "inverse_rlhf/show/closing.py",
}
UNDECLARED = {"checkpoints"}  # it changes no result
STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
INPUTS = names(STAGES["inputs"]["outs"])


def test_stages_are_the_files() -> None:
    files = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert files == set(STAGES)


@pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")
def test_stages_that_share_their_work_are_started_as_asked() -> None:
    """With `python -m`, the default, the command is that of any stage."""
    shared = set(Launch.model_fields)
    commands = {name: entry["cmd"] for name, entry in STAGES.items()}
    assert commands == {
        name: f"exec python -m inverse_rlhf.launch ${{launch.{name}}} stages.{name}"
        if name in shared
        else f"exec python -m stages.{name}"
        for name in STAGES
    }
    assert shared == {
        name
        for name in STAGES
        if "shared=True" in (ROOT / "stages" / f"{name}.py").read_text().splitlines()[-1]
    }
    default = YAML(typ="safe").load(ROOT / "params.yaml")["launch"]
    assert default == dict.fromkeys(default, "python -m")
    for stage in Repo(ROOT).stage.collect("evaluate", with_deps=True):
        by = "-m inverse_rlhf.launch python " if stage.name in shared else ""
        assert stage.cmd == f"exec python {by}-m stages.{stage.name}"
        assert stage.params
        assert not any("launch" in str(dep.dumpd()) for dep in stage.params)


@pytest.mark.parametrize("file", ["params.yaml", "audit/params.yaml", "organisms/params.yaml"])
def test_no_param_has_a_name_that_the_run_cache_leaves_out(file: str) -> None:
    """DVC takes keys of these names, wherever they are, for facts of files: with another value the
    old run would come back.
    """
    unseen = {Meta.PARAM_SIZE, Meta.PARAM_NFILES}
    assert not unseen & set(_keys(YAML(typ="safe").load(ROOT / file)))
    assert list(_keys({"a": [{"size": 1}]})) == ["a", "size"]


def _keys(value: Any) -> Iterator[str]:
    """All keys of a params file."""
    if isinstance(value, dict):
        yield from value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from _keys(inner)


@pytest.mark.parametrize("stage", STAGES)
def test_import_closure_is_the_code_deps(stage: str) -> None:
    code = {dep for dep in names(STAGES[stage]["deps"]) if dep.endswith(".py")}
    assert code == closure(ROOT / "stages" / f"{stage}.py", EXEMPT)
    assert (TEMPLATES in STAGES[stage]["deps"]) == ("inverse_rlhf/show/page.py" in code)


@pytest.mark.parametrize("stage", STAGES)
def test_paths_are_deps_and_outs(stage: str) -> None:
    entry = STAGES[stage]
    declared = {dep for dep in names(entry["deps"]) if not dep.endswith(".py")}
    declared.discard(TEMPLATES)
    text = (ROOT / "stages" / f"{stage}.py").read_text()
    used = set(re.findall(r'"((?:data|models|metrics)/[^"]+)"', text))
    if stage != "inputs":
        declared -= INPUTS - used  # digests, which most do not read
    declared |= names(entry["outs"]) | names(entry.get("metrics", []))
    patterns = {re.sub(r"\{.*?\}", "*", path) for path in used if "{" in path}
    plain = used - {path for path in used if "{" in path}
    matched = {p for p in declared for pattern in patterns if Path(p).match(pattern)}
    assert plain | matched == declared


@pytest.mark.parametrize("stage", STAGES)
def test_plans_know_where_stages_write(stage: str) -> None:
    if "plan_" in (ROOT / "stages" / f"{stage}.py").read_text():
        entry = STAGES[stage]
        outs = names(entry["outs"]) | names(entry.get("metrics", []))
        assert {Path(out).parts[0] for out in outs} == set(written_by(stage))


def test_what_dvc_does_not_see_is_a_dep_of_what_reads_it() -> None:
    readers = {
        path: {name for name, e in STAGES.items() if path in names(e["deps"])} for path in INPUTS
    }
    assert readers == {
        "data/inputs/source.json": {"prepare_data"},
        "data/inputs/transfer.json": {"prepare_data"},
        "data/inputs/base_policy.json": {"prepare_data", "base_policy"},
        "data/inputs/true_reward.json": {"true_reward"},
        "data/inputs/body.json": {"maxmargin_irl"},
        "data/inputs/versions.json": set(STAGES) - {"inputs"},
    }


def test_only_inputs_always_runs() -> None:
    assert [name for name, e in STAGES.items() if e.get("always_changed")] == ["inputs"]
    assert all(
        settings == {"persist": True}
        for out in STAGES["inputs"]["outs"]
        for settings in out.values()
    )


def test_true_reward_teaches_only_rlhf() -> None:
    readers = {name for name, e in STAGES.items() if "models/true_reward" in names(e["deps"])}
    assert readers == {"rlhf_train", "evaluate"}


def test_every_init_is_empty() -> None:
    inits = [path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    assert inits
    assert all(path.read_text() == "" for path in inits)


def stage_params(stage: str) -> type[Group]:
    return params_class(importlib.import_module(f"stages.{stage}").main)


def keys(kind: type[Group], whole: type[Group] = Params) -> set[str]:
    """The keys of a stage's params as dvc.yaml has them: groups, or single keys of some."""
    found = set()
    for name, field in kind.model_fields.items():
        as_it_stands = typing.get_origin(field.annotation) is dict
        if as_it_stands or field.annotation is whole.model_fields[name].annotation:
            found.add(name)
        else:
            found |= {
                f"{name}.{key}"
                for key in keys(field.annotation, whole.model_fields[name].annotation)
            }
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_declared_ones(stage: str) -> None:
    assert keys(stage_params(stage)) - UNDECLARED == set(STAGES[stage]["params"])


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_used(stage: str) -> None:
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    main = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")
    mentions = [n for n in ast.walk(main) if isinstance(n, ast.Name) and n.id == "params"]
    used = [
        node.attr
        for node in ast.walk(main)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
    ]
    assert len(mentions) == len(used), "params are handed on whole"
    # What is not named in `main` seeds the generators, in run_stage.
    declared = set(stage_params(stage).model_fields)
    assert "model_dump" in used or set(used) - {"seed"} == declared - {"seed"}
    assert set(used) <= {"model_dump", *declared}


def test_outs_are_cached_but_for_the_reports_in_git() -> None:
    """One stage alone pays for them: with an uncached output DVC keeps no runs of a stage."""
    for name, entry in STAGES.items():
        settings = [out for out in entry["outs"] if isinstance(out, dict)]
        uncached = {path for out in settings for path in out if "cache" in out[path]}
        assert not uncached or name == "evaluate"
        assert all(path.startswith("metrics/") for path in uncached)


def test_metrics_are_the_headline_numbers() -> None:
    declared = {stage: entry["metrics"] for stage, entry in STAGES.items() if "metrics" in entry}
    assert declared == {"evaluate": [{"metrics/summary.json": {"cache": False}}]}


@pytest.mark.parametrize(
    ("module", "stages"),
    [
        ("inverse_rlhf/params.py", set()),
        ("inverse_rlhf/errors.py", set()),
        ("inverse_rlhf/models/plan.py", set()),
        ("inverse_rlhf/show/closing.py", set()),
        ("inverse_rlhf/show/figures.py", {"report"}),
        ("inverse_rlhf/show/report.py", {"report"}),
        ("inverse_rlhf/evaluation/tables.py", {"evaluate", "report"}),
        ("inverse_rlhf/evaluation/summary.py", {"evaluate"}),
        ("inverse_rlhf/evaluation/reward_metrics.py", {"evaluate"}),
        ("inverse_rlhf/irl/losses.py", {"maxmargin_irl"}),
        ("inverse_rlhf/irl/tables.py", {"maxmargin_irl", "evaluate", "report"}),
        ("inverse_rlhf/rewards/card.py", {"maxmargin_irl", "evaluate", "report"}),
        ("inverse_rlhf/rewards/thresholds.py", {"maxmargin_irl", "evaluate", "report"}),
        ("inverse_rlhf/policies/training.py", {"rlhf_train", "rerl_with_irl_rm"}),
    ],
)
def test_a_change_reruns_only_what_it_can_change(module: str, stages: set[str]) -> None:
    assert (ROOT / module).is_file()
    assert {name for name, entry in STAGES.items() if module in names(entry["deps"])} == stages
