"""The graph keeps its word: what a stage imports, reads and writes is what dvc.yaml says."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PACKAGES = ("inverse_rlhf", "stages")


def names(entries: list[Any]) -> set[str]:
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


@cache
def imported(path: Path) -> frozenset[Path]:
    """The project's modules that a module imports itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            candidates = [node.module or ""] + [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        else:
            continue
        for name in candidates:
            file = ROOT / (name.replace(".", "/") + ".py")
            if name.split(".")[0] in PACKAGES and file.is_file():
                found.add(file)
    return frozenset(found)


def closure(path: Path) -> set[str]:
    todo, seen = [path], set()
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo.extend(imported(file))
    return {str(file.relative_to(ROOT)) for file in seen}


def test_stages_are_the_files() -> None:
    files = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert files == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_import_closure_is_the_code_deps(stage: str) -> None:
    code = {dep for dep in names(STAGES[stage]["deps"]) if dep.endswith(".py")}
    assert code == closure(ROOT / "stages" / f"{stage}.py")


@pytest.mark.parametrize("stage", STAGES)
def test_paths_are_deps_and_outs(stage: str) -> None:
    entry = STAGES[stage]
    declared = {dep for dep in names(entry["deps"]) if not dep.endswith(".py")}
    declared |= names(entry["outs"]) | names(entry["metrics"])
    text = (ROOT / "stages" / f"{stage}.py").read_text()
    used = set(re.findall(r'"((?:data|models|metrics)/[^"]+)"', text))
    patterns = {re.sub(r"\{.*?\}", "*", path) for path in used if "{" in path}
    plain = used - {path for path in used if "{" in path}
    matched = {p for p in declared for pattern in patterns if Path(p).match(pattern)}
    assert plain | matched == declared


def test_true_reward_teaches_only_rlhf() -> None:
    readers = {name for name, e in STAGES.items() if "models/true_reward" in names(e["deps"])}
    assert readers == {"rlhf_train", "evaluate"}


def test_every_init_is_empty() -> None:
    inits = [path for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")]
    assert inits
    assert all(path.read_text() == "" for path in inits)


def test_outs_are_cached_and_metrics_are_in_git() -> None:
    for name, entry in STAGES.items():
        assert all(isinstance(out, str) for out in entry["outs"]), name
        for metric in entry["metrics"]:
            assert next(iter(metric.values())) == {"cache": False}, name
