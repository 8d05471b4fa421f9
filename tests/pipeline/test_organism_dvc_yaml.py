"""organisms/dvc.yaml keeps its word, and keeps the plants from the audits."""

import ast
import configparser
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from inverse_rlhf.audit_params import AuditSettings
from inverse_rlhf.organism_params import OrganismParams, Settings, Training
from inverse_rlhf.params import Data, Group, Head, Pairs, Params, Pretrained, Rlhf
from tests.pipeline.closures import ROOT, TEMPLATES, closure, names
from tests.pipeline.projects import copy_project, execute

EXEMPT = {
    *("inverse_rlhf/params.py", "inverse_rlhf/audit_params.py"),
    *("inverse_rlhf/organism_params.py", "inverse_rlhf/errors.py"),
}
CONTENT: dict[str, Any] = YAML(typ="safe").load(ROOT / "organisms/dvc.yaml")
STAGES: dict[str, dict[str, Any]] = CONTENT["stages"]
PARAMS: dict[str, Any] = YAML(typ="safe").load(ROOT / "organisms/params.yaml")
BY_SEED, BY_PLANT = {"world", "base"}, {"train", "audit"}
# What properties and methods of Settings read: groups of each file's params.
READ_BY = {
    "data": {("params.yaml", "data"), ("organisms/params.yaml", "splits")},
    "pairs": {("params.yaml", "pairs")},
    "decoding": {("params.yaml", "pairs")},
    "rlhf": {("params.yaml", "rlhf"), ("organisms/params.yaml", "rlhf")},
    "plant": {("organisms/params.yaml", "plants")},
    # compute where a body is set, of which an audit reads hidden states
    "audit": {("audit/params.yaml", "audit"), ("audit/params.yaml", "compute")},
}


def from_root(path: Any) -> Any:
    """A path of organisms/dvc.yaml, or one with its settings, from the project's root."""
    if isinstance(path, dict):
        return {from_root(name): value for name, value in path.items()}
    return path.removeprefix("../") if path.startswith("../") else f"organisms/{path}"


def entry(stage: str) -> dict[str, Any]:
    """A stage, or the template of many, with paths from the project's root."""
    found: dict[str, Any] = STAGES[stage].get("do", STAGES[stage])
    return found | {kind: [from_root(path) for path in found[kind]] for kind in ("deps", "outs")}


def module(stage: str) -> Path:
    return ROOT / f"stages/organisms/{stage}.py"


def main_of(stage: str) -> ast.FunctionDef:
    tree = ast.parse(module(stage).read_text())
    return next(n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "main")


def other_deps(stage: str) -> set[str]:
    paths = {dep for dep in names(entry(stage)["deps"]) if not dep.endswith(".py")}
    return paths - {TEMPLATES}


def params_of(stage: str) -> set[tuple[str, str]]:
    """The declared keys, each with its file."""
    found = set()
    for declared in entry(stage)["params"]:
        if isinstance(declared, str):
            found.add(("organisms/params.yaml", declared))
        else:
            found |= {(from_root(file), key) for file, keys in declared.items() for key in keys}
    return found


# stages


def test_stages_are_the_files() -> None:
    files = {path.stem for path in (ROOT / "stages/organisms").glob("*.py")} - {"__init__"}
    assert files == set(STAGES)


def test_it_is_a_repository_of_its_own_with_the_projects_cache() -> None:
    """Else `dvc checkout` and `dvc pull` of the project would ask for what was never grown."""
    config = configparser.ConfigParser()
    config.read(ROOT / "organisms/.dvc/config")
    cache = ROOT / "organisms/.dvc" / config["cache"]["dir"].strip()
    assert cache.resolve() == (ROOT / ".dvc/cache").resolve()


def test_stages_are_made_of_seeds_and_plants() -> None:
    assert {name: stage.get("foreach") for name, stage in STAGES.items()} == {
        **dict.fromkeys(BY_SEED, "${seeds}"),
        **dict.fromkeys([*BY_PLANT, "score"]),
    }
    matrix = {"plant": "${plants}", "seed": "${seeds}"}
    assert {name: stage.get("matrix") for name, stage in STAGES.items()} == {
        **dict.fromkeys(BY_PLANT, matrix),
        **dict.fromkeys([*BY_SEED, "score"]),
    }


@pytest.mark.parametrize("stage", STAGES)
def test_commands_name_what_main_takes(stage: str) -> None:
    arguments = {
        **{name: ["${item}"] for name in BY_SEED},
        **{name: ["${item.plant}", "${item.seed}"] for name in BY_PLANT},
        "score": [],
    }
    words = entry(stage)["cmd"].split()
    assert words == [
        "cd",
        "..",
        "&&",
        "exec",
        "python",
        "-m",
        f"stages.organisms.{stage}",
        *arguments[stage],
    ]
    taken = [argument.arg for argument in main_of(stage).args.args]
    expected = [item.strip("${}").removeprefix("item.") for item in arguments[stage]]
    assert taken == ["settings", *("seed" if name == "item" else name for name in expected)]


def test_dvc_reads_a_stage_of_every_plant(tmp_path: Path) -> None:
    copy_project(tmp_path, "organisms")
    (tmp_path / "organisms/dvc.lock").unlink()
    seed = PARAMS["seeds"][0]  # those of the others are made alike
    (tmp_path / "organisms/params.yaml").unlink()
    YAML(typ="safe").dump(PARAMS | {"seeds": [seed]}, tmp_path / "organisms/params.yaml")
    execute(tmp_path, "git", "init", "-q")
    execute(tmp_path, "dvc", "init", "-q")
    listed = execute(tmp_path, "dvc", "--cd", "organisms", "stage", "list", "--name-only")
    found = listed.stdout.split()
    assert sorted(found) == sorted(
        [f"{stage}@{seed}" for stage in BY_SEED]
        + [f"{stage}@{plant}-{seed}" for stage in BY_PLANT for plant in PARAMS["plants"]]
        + ["score"]
    )


# deps, outs and params


@pytest.mark.parametrize("stage", STAGES)
def test_import_closure_is_the_code_deps(stage: str) -> None:
    deps = entry(stage)["deps"]
    code = {dep for dep in names(deps) if dep.endswith(".py")}
    assert code == closure(module(stage), EXEMPT)
    assert (TEMPLATES in names(deps)) == ("inverse_rlhf/show/page.py" in code)
    assert len(names(deps)) == len(deps)


@pytest.mark.parametrize("stage", STAGES)
def test_paths_are_deps_and_outs(stage: str) -> None:
    outs = names(entry(stage)["outs"])
    used = set(re.findall(r'"((?:organisms|metrics)/[^"]+)"', module(stage).read_text()))
    if stage == "score":
        # whose folders are read for every plant and seed, by a module of the library
        text = (ROOT / "inverse_rlhf/evaluation/organism_scores.py").read_text()
        assert 'Path(f"organisms/{of}/{name}-{seed}") for of in ("pairs", "results")' in text
        used |= {"organisms/pairs", "organisms/results"}
        used = {path.removesuffix("/{seed}/prompts.parquet") for path in used}
    seed = "${item}" if stage in BY_SEED else "${item.seed}"
    named = {path.replace("{seed}", seed).replace("{plant}", "${item.plant}") for path in used}
    unwatched = {"metrics/organisms.json", "metrics/organisms.html"}  # outside, in git
    assert named - unwatched == other_deps(stage) | outs
    assert not other_deps(stage) & outs


def test_what_is_read_is_made() -> None:
    outs = {stage: names(entry(stage)["outs"]) for stage in STAGES}
    plain = {out.replace("${item}", "${item.seed}") for made in outs.values() for out in made}
    for stage in STAGES:
        for dep in other_deps(stage):
            path = Path(dep.replace("${item}", "${item.seed}"))
            within = {str(path), *(str(parent) for parent in path.parents)}
            if stage == "score":  # whole folders of what others make
                assert any(out.startswith(f"{dep}/") for out in plain)
            else:
                assert within & plain
    every = [out for made in outs.values() for out in made]
    assert len(set(every)) == len(every)


def second_level(main: ast.FunctionDef, name: str) -> set[str]:
    """What is read of `settings.NAME`, or of a variable that it is given to."""
    whole = f"settings.{name}"
    aliases = {whole}
    for node in ast.walk(main):
        if isinstance(node, ast.Assign):
            (target,) = node.targets
            left = target.elts if isinstance(target, ast.Tuple) else [target]
            tuples = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            right = node.value.elts if tuples else [node.value]
            pairs = zip(left, right, strict=True) if len(left) == len(right) else []
            aliases |= {ast.unparse(one) for one, value in pairs if ast.unparse(value) == whole}
    return {
        node.attr
        for node in ast.walk(main)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in aliases
    }


@pytest.mark.parametrize("stage", STAGES)
def test_params_are_the_declared_ones(stage: str) -> None:
    """By group: what `main` takes of the settings, and what is read before it runs models."""
    main = main_of(stage)
    mentions = [n for n in ast.walk(main) if isinstance(n, ast.Name) and n.id == "settings"]
    used = [
        node.attr
        for node in ast.walk(main)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "settings"
    ]
    assert len(mentions) == len(used), "settings are handed on whole"
    groups: set[tuple[str, str]] = set()
    for name in set(used) - {"pipeline", "organisms", "audits"}:
        groups |= READ_BY[name]
    groups |= {("params.yaml", key) for key in second_level(main, "pipeline")}
    groups |= {("organisms/params.yaml", key) for key in second_level(main, "organisms")}
    if "models=True" in module(stage).read_text():
        groups.add(("params.yaml", "compute"))
    declared = {(file, key.split(".")[0]) for file, key in params_of(stage)}
    assert declared == groups


@pytest.mark.parametrize("stage", ["world", "base", "train"])
def test_what_organisms_have_of_their_own_is_not_the_pipelines(stage: str) -> None:
    """Single keys are declared of these groups: all of them, but for those that are overridden."""
    own = {"data": {"splits"}, "pairs": {"samples"}, "rlhf": set(Training.model_fields)}
    groups: dict[str, type[Group]] = {"data": Data, "pairs": Pairs, "rlhf": Rlhf}
    declared = {key for file, key in params_of(stage) if file == "params.yaml"}
    for name in {key.split(".")[0] for key in declared} & set(groups):
        keys = {f"{name}.{key}" for key in set(groups[name].model_fields) - own[name]}
        assert {key for key in declared if key.split(".")[0] == name} == keys


def test_every_property_of_settings_is_looked_at() -> None:
    methods = {name for name in vars(Settings) if not name.startswith("_")}
    assert methods - {"organisms", "pipeline", "audits"} == set(READ_BY)
    kinds = {
        "params.yaml": Params,
        "organisms/params.yaml": OrganismParams,
        "audit/params.yaml": AuditSettings,
    }
    for stage in STAGES:
        for file, key in params_of(stage):
            assert key.split(".")[0] in kinds[file].model_fields


def test_of_the_true_reward_only_the_classifier_is_read() -> None:
    read = {
        stage: {key for _, key in params_of(stage) if key.startswith("true_reward")}
        for stage in STAGES
    }
    assert {stage: keys for stage, keys in read.items() if keys} == {
        "world": {f"true_reward.{key}" for key in Pretrained.model_fields},
        "train": {f"true_reward.{key}" for key in Head.model_fields},
    }


# audits are blind


def test_an_audit_reads_pairs_alone() -> None:
    assert other_deps("audit") == {"organisms/pairs/${item.plant}-${item.seed}/pairs.parquet"}
    own = {key for file, key in params_of("audit") if file == "organisms/params.yaml"}
    assert own == {"sizes"}
    assert not [key for file, key in params_of("audit") if file == "params.yaml"]


def test_an_audit_takes_a_plants_name_for_its_files_alone() -> None:
    main = main_of("audit")
    paths = [node for node in ast.walk(main) if isinstance(node, ast.JoinedStr)]
    inside = {id(n) for path in paths for n in ast.walk(path) if "organisms/" in ast.unparse(path)}
    uses = [n for n in ast.walk(main) if isinstance(n, ast.Name) and n.id == "plant"]
    assert uses
    assert all(id(node) in inside for node in uses)
    assert not re.search(r"planted|facts\.json|\.plant\(|plants", ast.unparse(main))


def test_no_code_of_an_audit_knows_plants() -> None:
    code = closure(module("audit"), EXEMPT)
    assert "inverse_rlhf/evaluation/objectives.py" in code
    assert not code & {
        *("inverse_rlhf/rewards/planted.py", "inverse_rlhf/data/organisms.py"),
        *("inverse_rlhf/policies/organisms.py", "inverse_rlhf/evaluation/organism_scores.py"),
    }


@pytest.mark.parametrize(
    ("name", "files"),
    [
        (
            "planted.parquet",
            {"stages/organisms/train.py", "inverse_rlhf/evaluation/organism_scores.py"},
        ),
        ('/ "classifier"', {"stages/organisms/world.py", "stages/organisms/train.py"}),
    ],
)
def test_what_is_planted_is_read_by_few(name: str, files: set[str]) -> None:
    code = {file for stage in STAGES for file in closure(module(stage), EXEMPT)}
    assert {file for file in code if name in (ROOT / file).read_text()} == files


def test_plants_are_params_of_those_that_need_them() -> None:
    plants = {
        stage: key for stage in STAGES for _, key in params_of(stage) if key.startswith("plants")
    }
    assert plants == {"train": "plants.${item.plant}", "score": "plants"}
    readers = {stage for stage in STAGES if "organisms/pairs" in other_deps(stage)}
    assert readers == {"score"}


# what is kept


def test_outs_are_cached_but_for_the_results_in_git() -> None:
    uncached = {
        path: settings
        for stage in STAGES
        for out in entry(stage)["outs"]
        if isinstance(out, dict)
        for path, settings in out.items()
    }
    # With a run cache DVC would restore it, without metrics/organisms.json beside it.
    assert uncached == {"organisms/scores.csv": {"cache": False}}


def test_what_is_cached_is_not_in_git() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    for stage in STAGES:
        for out in entry(stage)["outs"]:
            if isinstance(out, str):
                folder = str(Path(out).parent)
                assert {f"/{out}", f"/{folder}/"} & set(ignored)
    assert "/organisms/" not in ignored


def test_plots_are_outs() -> None:
    paths = {f"organisms/{plot}" for plot in CONTENT["plots"]}
    assert paths <= names(entry("score")["outs"])


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("inverse_rlhf/organism_params.py", set()),
        ("inverse_rlhf/organism_stage.py", set(STAGES)),
        ("inverse_rlhf/show/organism_page.py", {"score"}),
        ("inverse_rlhf/show/organism_figure.py", {"score"}),
        ("inverse_rlhf/show/audit_report.py", {"audit"}),
        ("inverse_rlhf/evaluation/organism_scores.py", {"score"}),
        ("inverse_rlhf/evaluation/organism_summary.py", {"score"}),
        ("inverse_rlhf/evaluation/baselines.py", {"audit", "score"}),
        ("inverse_rlhf/evaluation/verdict.py", {"audit"}),
        ("inverse_rlhf/rewards/planted.py", {"train"}),
        ("inverse_rlhf/rewards/classifier.py", {"train"}),
        ("inverse_rlhf/policies/organisms.py", {"train"}),
        ("inverse_rlhf/policies/training.py", {"train"}),
        ("inverse_rlhf/features/objectives.py", {"train", "audit", "score"}),
        ("inverse_rlhf/data/prompts.py", {"world"}),
        ("inverse_rlhf/models/scratch.py", {"world"}),
    ],
)
def test_a_change_reruns_only_what_it_can_change(file: str, stages: set[str]) -> None:
    assert (ROOT / file).is_file()
    assert {stage for stage in STAGES if file in entry(stage)["deps"]} == stages
