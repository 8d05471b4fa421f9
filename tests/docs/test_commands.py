"""Each command and example of README.md and docs/ works; `commands` says how it is tried."""

import importlib.util
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.cli import parse_args
from transformers import AutoTokenizer

from inverse_rlhf import preset
from inverse_rlhf.audit import audit, main
from inverse_rlhf.audit_params import AuditParams, checked, load_audit_params, settings_of
from inverse_rlhf.data.given_pairs import read_given_pairs
from inverse_rlhf.explore.__main__ import main as explore
from inverse_rlhf.explore.server import Explorer
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import parse_params, read_yaml
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.recovered import IrlReward
from tests.docs.commands import (
    RULES,
    answers_files,
    check_settings,
    commands,
    dvc_parts,
    rule_of,
)
from tests.docs.keys import untold
from tests.docs.pages import PAGES, ROOT, blocks
from tests.foreign import save_small
from tests.pipeline.projects import copy_project, execute
from tests.test_audit import answers

COMMANDS = dict(commands())
FAST = {"runs": 10, "null_runs": 40, "resamples": 100, "compute.device": "cpu"}
SMALL = settings_of(load_audit_params(), FAST, "tests")
WIDTH = 120


def test_each_command_has_a_rule_and_each_rule_a_command() -> None:
    assert [command for command in COMMANDS if not rule_of(command)] == []
    used = {pattern for command in COMMANDS for pattern in rule_of(command)}
    assert set(RULES) - used == set()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as a repository of its own, in which nothing was run."""
    folder = tmp_path_factory.mktemp("project") / "project"
    copy_project(folder)
    for lock in folder.rglob("dvc.lock"):  # seconds of each command
        lock.unlink()
    execute(folder, "git", "init", "-q", "-b", "main")
    execute(folder, "git", "add", "-A")
    execute(folder, "git", "commit", "-qm", "start")
    execute(folder, "git", "branch", "NAME")
    return folder


@pytest.fixture(scope="module")
def given(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files and models that the pages' audits name."""
    folder = tmp_path_factory.mktemp("given")
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    policies = [
        save_small(folder / f"policy{seed}", tokenizer, seed=seed, max_position_embeddings=512)
        for seed in range(3)
    ]
    texts = [answers(80, seed=seed, exclaims=seed * 0.8, hedges=0.1) for seed in (0, 1)]
    answers_files(folder, policies, texts)
    return folder


def tried_by(name: str) -> list[str]:
    return [command for command in COMMANDS if [RULES[p] for p in rule_of(command)] == [name]]


@pytest.mark.parametrize("command", tried_by("target"))
def test_targets_are_there_and_are_explained(command: str) -> None:
    target = command.split()[1]
    shown = execute(ROOT, "make", "--no-print-directory", "help").stdout
    assert re.search(rf"^{target} +\w", shown, re.M), f"make help does not list {target}"
    execute(ROOT, "make", "--dry-run", target)


def test_every_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert targets is not None
    shown = execute(ROOT, "make", "--no-print-directory", "help").stdout
    explained = [line.split()[0] for line in shown.splitlines()]
    assert sorted(explained) == sorted(targets[1].split())
    assert execute(ROOT, "make", "--dry-run").stdout == execute(ROOT, "make", "-n", "help").stdout


@pytest.mark.parametrize("command", tried_by("audit"))
def test_audits_run(command: str, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(given)
    small = re.sub(r"(?<=runs=|kens=)\d+", lambda found: {"100": "10"}.get(found[0], "8"), command)
    arguments = re.sub(r"^(python -m inverse_rlhf\.audit|inverse-rlhf) ", "", small)
    named = re.findall(r"--set (\S+)=", arguments)
    fast = {key: value for key, value in FAST.items() if key not in named}
    if "--prompts" in arguments and "pairs.max_new_tokens" not in named:
        fast |= {"pairs.max_new_tokens": 8}
    extra = [part for key, value in fast.items() for part in ("--set", f"{key}={value}")]
    main([*shlex.split(arguments), *extra])
    report = json.loads((given / "report/audit.json").read_text("utf-8"))
    assert untold("audit/results/NAME/audit.json", report) == []
    assert (given / "report/report.md").read_text().startswith("# ")


@pytest.mark.parametrize("command", tried_by("explore"))
def test_an_audit_is_explored(
    command: str, given: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(given)
    audit(read_given_pairs(["pairs.parquet"]).table, SMALL).write("report", title="Mine")
    with monkeypatch.context() as patches:
        patches.setenv("HF_HUB_OFFLINE", "1")  # which the command sets for good
        patches.setattr(Explorer, "serve_forever", ended_by_hand)
        explore([*shlex.split(command)[3:], "--port", "0"])
    assert "explore: http://127.0.0.1:" in capsys.readouterr().out


def ended_by_hand(server: Explorer) -> None:
    assert b"Explorer of an audit" in server.page
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", [*tried_by("parser"), *tried_by("queue")])
def test_parsers_take_them(command: str) -> None:
    subprocess.run(["bash", "-n", "-c", command], check=True)
    parts = dvc_parts(command)
    assert parts or command.startswith((".ci/run", "git clone", "python -m benchmarks."))
    for arguments in parts:
        parse_args(arguments)
        check_settings(arguments)
    assert all((ROOT / script).exists() for script in re.findall(r"^\.ci/\w+", command))
    for module in re.findall(r"python -m (benchmarks\.\w+)", command):
        assert importlib.util.find_spec(module)


def test_a_wrong_setting_would_be_seen() -> None:
    for wrong in ("irl.no_such=1", "irl.lr=-1", "irl.loss=hinge,none_such", "+irl.lr=1"):
        with pytest.raises(Exception, match=r"no_such|irl\.l"):
            check_settings(["exp", "run", "-S", wrong])


def test_presets_are_printed_and_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert [preset.main(shlex.split(c)[3:]) for c in tried_by("preset")] == [0]
    before = (project / "params.yaml").read_text()
    for command in tried_by("written_preset"):
        assert preset.main(shlex.split(command.split(" && ")[0])[3:]) == 0
        assert (project / "params.yaml").read_text() != before
        parse_params(read_yaml(project / "params.yaml"))
        (project / "params.yaml").write_text(before)


def test_sweeps_are_queued_and_shown_in_width(project: Path) -> None:
    said = [execute(project, "bash", "-c", command).stdout for command in tried_by("queue")]
    assert [lines.count("Queued experiment") for lines in said] == [4, 3]
    for command in tried_by("show"):
        shown = execute(project, "bash", "-c", f"{command} --no-pager", COLUMNS=str(WIDTH)).stdout
        assert "roc_auc" in shown
        assert "irl.lr" in shown
        assert "…" not in shown
        assert max(map(len, shown.splitlines())) <= WIDTH
    execute(project, "dvc", "queue", "remove", "--all")


@pytest.mark.parametrize("command", tried_by("project"))
def test_commands_work_in_a_project(command: str, project: Path) -> None:
    execute(project, "bash", "-c", command)


def test_the_package_has_its_data_and_its_command() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert settings["project"]["scripts"] == {"inverse-rlhf": "inverse_rlhf.audit:main"}
    package = ROOT / "inverse_rlhf"
    patterns = settings["tool"]["setuptools"]["package-data"]["inverse_rlhf"]
    carried = {path for pattern in patterns for path in package.glob(pattern)}
    data = {p for p in package.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    assert data - carried == set()


def _executed(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code, "page", "exec"), {"__name__": "page"})


def test_the_audit_in_python(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks(ROOT / "docs/audits.md", "python")
    small: Callable[..., object] = lambda pairs: audit(pairs, SMALL)  # noqa: E731
    monkeypatch.setattr("inverse_rlhf.audit.audit", small)
    _executed(code, given, monkeypatch)
    assert (given / "report/report.md").read_text().startswith("# Mine")


def test_the_reward_in_python(
    reward_network: Model, card: RewardCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    IrlReward(reward_network, None, card).save(tmp_path / "models/irl_reward")
    (code,) = blocks(ROOT / "docs/cookbook.md", "python")
    _executed(code, tmp_path, monkeypatch)


def test_every_other_block_is_tried() -> None:
    kinds = {kind for page in PAGES for kind in re.findall(r"^```(\w+)$", page.read_text(), re.M)}
    assert kinds == {"bash", "python", "yaml", "mermaid"}
    with_python = {page.name for page in PAGES if list(blocks(page, "python"))}
    assert with_python == {"audits.md", "cookbook.md"}


def test_the_audits_of_a_params_file(tmp_path: Path) -> None:
    (given,) = blocks(ROOT / "docs/audits.md", "yaml")
    (tmp_path / "params.yaml").write_text(given)
    content = read_yaml(ROOT / "audit/params.yaml")
    preset.merge(content, read_yaml(tmp_path / "params.yaml"))
    params = checked(AuditParams, content, "page")
    assert settings_of(params, params.audits["mine"].set, "page").audit.runs == 100
