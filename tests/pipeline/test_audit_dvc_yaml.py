"""audit/dvc.yaml keeps its word, as test_dvc_yaml has it of the pipeline."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from inverse_rlhf.audit_params import PACKAGED, AuditParams, AuditSettings, load_audit_params
from tests.pipeline.closures import ROOT, TEMPLATES, closure, names

EXEMPT = {"inverse_rlhf/params.py", "inverse_rlhf/audit_params.py", "inverse_rlhf/errors.py"}
STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "audit/dvc.yaml")["stages"]
MAPPINGS = {
    "sample": "policies",
    "sample_hub": "hub_policies",
    "join": "answers",
    "audit": "audits",
    "inputs_policies": "policies",
    "inputs_hub": "hub_policies",
}
PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def entry(stage: str) -> dict[str, Any]:
    """A stage, or the template of a mapping's."""
    found: dict[str, Any] = STAGES[stage].get("do", STAGES[stage])
    return found


INPUTS = {
    out
    for name in ("inputs", "inputs_policies", "inputs_hub")
    for out in names(entry(name)["outs"])
}


def module(stage: str) -> Path:
    name = entry(stage)["cmd"].removeprefix("exec python -m ").removesuffix(" ${key}")
    return ROOT / (name.replace(".", "/") + ".py")


def main_of(stage: str) -> tuple[ast.Module, ast.FunctionDef]:
    tree = ast.parse(module(stage).read_text())
    main = next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")
    return tree, main


def test_stages_are_the_files() -> None:
    files = {path.stem for path in (ROOT / "stages/audits").glob("*.py")} - {"__init__"}
    assert files == {module(stage).stem for stage in STAGES}
    assert files | {"sample_hub", "inputs_hub", "inputs_policies"} == set(STAGES)


def test_every_mapping_makes_stages() -> None:
    made = {name: stage.get("foreach") for name, stage in STAGES.items()}
    assert made == {
        **{stage: f"${{{mapping}}}" for stage, mapping in MAPPINGS.items()},
        "compare": None,
        "inputs": None,
    }
    for stage in MAPPINGS:
        assert entry(stage)["cmd"].endswith(" ${key}")
    assert all(entry(stage)["wdir"] == ".." for stage in STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_import_closure_is_the_code_deps(stage: str) -> None:
    deps = entry(stage)["deps"]
    code = [dep for dep in deps if dep.endswith(".py")]
    assert set(code) == closure(module(stage), EXEMPT)
    assert (TEMPLATES in deps) == ("inverse_rlhf/show/page.py" in code)
    assert len(set(deps)) == len(deps)


@pytest.mark.parametrize("stage", STAGES)
def test_paths_are_deps_and_outs(stage: str) -> None:
    declared = {dep for dep in names(entry(stage)["deps"]) if not dep.endswith(".py")}
    declared.discard(TEMPLATES)
    if not stage.startswith("inputs"):
        declared -= INPUTS  # digests, which nothing reads
    declared |= names(entry(stage)["outs"]) | names(entry(stage).get("metrics", []))
    text = module(stage).read_text()
    used = set(re.findall(r'"(audit/[^"]+)"', text))
    if stage.startswith("inputs"):  # one module, with a name and without
        used = {path for path in used if ("{name}" in path) == (stage in MAPPINGS)}
    if stage.startswith("sample"):
        used -= {"audit/inputs/policies/{name}.json"}  # a digest
    if stage == "compare":
        used.add("audit/objectives.svg")  # beside the PNG
    # A source's own paths, as ${item.base} for source.base.
    own = {dep for dep in declared if dep.startswith("${item.")}
    assert {path.replace("{name}", "${key}") for path in used} == declared - own
    read = set(re.findall(r"Path\(source\.(\w+)\)", text))
    if stage in ("sample", "inputs_policies"):
        read |= {"base", "aligned"}  # which are loaded, or read; those of the hub are no folders
    assert {f"${{item.{name}}}" for name in read} == own


def test_what_dvc_does_not_see_is_a_dep_of_what_reads_it() -> None:
    readers = {
        path: {name for name in STAGES if path in names(entry(name)["deps"])} for path in INPUTS
    }
    assert readers == {
        "audit/inputs/bodies.json": {"audit"},
        "audit/inputs/policies/${key}.json": {"sample", "sample_hub"},
        "audit/inputs/versions.json": {"sample", "sample_hub", "join", "audit"},
    }


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_declared_ones(stage: str) -> None:
    """By group: what `main` takes of the params, what `settings_of` does, and what seeds models."""
    tree, main = main_of(stage)
    mentions = [n for n in ast.walk(main) if isinstance(n, ast.Name) and n.id == "params"]
    used = [
        node.attr
        for node in ast.walk(main)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "params"
    ]
    whole = ast.unparse(main).count("settings_of(params, ")
    assert len(mentions) == len(used) + whole, "params are handed on whole"
    groups = set(used) | (set(AuditSettings.model_fields) if whole else set())
    if "models=True" in ast.unparse(tree):
        groups.add("seed")
    if module(stage).stem == "sample":
        groups -= {"policies", "hub_policies"} - {MAPPINGS[stage]}
    if module(stage).stem == "inputs":
        groups -= {"policies", "hub_policies"}
        groups = {MAPPINGS[stage]} if stage in MAPPINGS else groups
    (declared,) = entry(stage)["params"]
    keys = declared["audit/params.yaml"]
    mapping = MAPPINGS.get(stage)
    assert set(keys) == {f"{name}.${{key}}" if name == mapping else name for name in groups}
    assert groups <= set(AuditParams.model_fields)


def test_nothing_reads_the_true_reward() -> None:
    read = {dep for stage in STAGES for dep in names(entry(stage)["deps"])}
    assert not [dep for dep in read if "true_reward" in dep]
    params = load_audit_params()
    for source in (params.policies | params.hub_policies).values():
        assert "models/true_reward" not in (source.base, source.aligned, source.prompts)


def test_the_packaged_settings_are_those_of_the_project() -> None:
    assert PACKAGED == ROOT / "inverse_rlhf/audit.yaml"
    assert PACKAGED.is_symlink()
    assert PACKAGED.resolve() == ROOT / "audit/params.yaml"
    assert load_audit_params() == load_audit_params(ROOT / "audit/params.yaml")


def test_every_audit_has_its_pairs() -> None:
    """Pairs in audit/pairs are made by a stage, of one mapping; others are anybody's files."""
    params = load_audit_params()
    made = [*params.policies, *params.hub_policies, *params.answers]
    assert len(set(made)) == len(made), "two stages write the same pairs"
    asked = [Path(source.pairs) for source in params.audits.values()]
    ours = [path for path in asked if path.parent == Path("audit/pairs")]
    assert {path.name for path in ours} <= {f"{name}.parquet" for name in made}


def test_policies_are_made_by_the_pipeline() -> None:
    outs = {out for stage in PIPELINE.values() for out in names(stage["outs"])}
    for source in load_audit_params().policies.values():
        assert {source.base, source.aligned, source.prompts} <= outs


def test_outs_are_cached_but_for_those_without_texts() -> None:
    uncached = [
        path
        for stage in STAGES
        for out in [*entry(stage)["outs"], *entry(stage).get("metrics", [])]
        if isinstance(out, dict)
        for path in out
        if out[path].get("cache") is False
    ]
    assert uncached == ["audit/report.html", "audit/summary.json"]


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("inverse_rlhf/audit_params.py", set()),
        ("inverse_rlhf/show/audit_figure.py", {"compare"}),
        ("inverse_rlhf/show/audit_report.py", {"audit"}),
        ("inverse_rlhf/evaluation/compare_audits.py", {"compare"}),
        ("inverse_rlhf/evaluation/verdict.py", {"audit", "compare"}),
        ("inverse_rlhf/irl/found.py", {"audit"}),
        ("inverse_rlhf/data/given_pairs.py", {"sample", "sample_hub", "join", "audit"}),
    ],
)
def test_a_change_reruns_only_what_it_can_change(file: str, stages: set[str]) -> None:
    assert (ROOT / file).is_file()
    assert {stage for stage in STAGES if file in entry(stage)["deps"]} == stages
