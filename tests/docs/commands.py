"""How each command of the pages is tried: run as it stands, run small, or read by its parser.

A rule is a pattern of the whole command. What trains for minutes, needs a network, a cluster or
another machine is not run: its parser reads it, its params are checked against params.yaml, and
the reason stands here.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from inverse_rlhf import preset
from inverse_rlhf.audit_params import AuditParams, checked
from inverse_rlhf.params import parse_params, read_yaml
from tests.docs.pages import PAGES, ROOT, blocks

RULES = {
    r"make [a-z-]+( && source \.venv/bin/activate)?": "target",  # install, repro and test: minutes
    r"\.ci/run": "parser",  # lint and all tests
    r"pip install (\.|-r requirements-remotes\.txt)": "package",  # changes what runs this
    r"(python -m inverse_rlhf\.audit|inverse-rlhf) .*": "audit",
    r"python -m inverse_rlhf\.explore \w+": "explore",
    r"python -m inverse_rlhf\.preset --list": "preset",
    r"python -m inverse_rlhf\.preset \S+ --write && dvc repro": "written_preset",
    r"dvc exp run --queue .*": "queue",
    r"dvc queue status": "project",
    r"dvc exp show .*": "show",
    r"dvc metrics diff main NAME": "project",
    r"dvc remote (add|modify --local) .*": "project",
    r"python -m inverse_rlhf\.push bucket": "remote",  # tests/remotes has servers
    r"dvc (exp run|repro)\b.*": "parser",  # trains, or needs models and data of the reader's
    r"OMP_NUM_THREADS=1 dvc queue start -j 2": "parser",  # trains
    r"dvc plots diff main NAME": "parser",  # has no figures before a run
    r"dvc exp apply NAME && git commit -am \"\.\.\.\"": "parser",  # needs an experiment's run
    r"git push && dvc exp push origin NAME": "parser",  # another repository
    r"git clone git@example.*": "parser",  # another machine
    r"dvc pull && dvc repro.*": "parser",  # a remote with data
    r"sbatch .*": "parser",  # a cluster
    r"for seed in .*": "parser",  # a cluster, or five runs of the default
    r"for worker in .*": "parser",  # eight GPUs
    r"python -m benchmarks\.seeds collect .*": "parser",  # five runs of the default
}
SLICES = re.compile(r"""\bdvc\b(?:[^&;"'|)]+|'[^']*'|"[^"]*")+""")


def commands() -> Iterator[tuple[str, str]]:
    """Every command of the pages' blocks, with its page."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"(^|\s+)# .*", "", line).strip()
                if command:
                    yield command, page.name


def rule_of(command: str) -> list[str]:
    """The patterns of the first rule that fits; none or one."""
    return [pattern for pattern in RULES if re.fullmatch(pattern, command)][:1]


def dvc_parts(command: str) -> list[list[str]]:
    """The arguments of each call of dvc within a command, with what the shell puts in."""
    parts = [shlex.split(part) for part in SLICES.findall(_expanded(command))]
    return [part[1:] for part in parts]


def check_settings(arguments: list[str]) -> None:
    """Every combination of values that -S gives is valid params, of keys that there are."""
    changes = [
        arguments[place + 1]
        for place, name in enumerate(arguments)
        if name in ("-S", "--set-param")
    ]
    split = [change.partition("=") for change in changes]
    choices = [value.split(",") if "[" not in value else [value] for _, _, value in split]
    for values in product(*choices):
        content = {
            "params.yaml": read_yaml(ROOT / "params.yaml"),
            "audit/params.yaml": read_yaml(ROOT / "audit/params.yaml"),
        }
        for (key, _, _), value in zip(split, values, strict=True):
            file, _, name = key.rpartition(":")
            _put(content[file or "params.yaml"], name, value)
        parse_params(content["params.yaml"])
        checked(AuditParams, content["audit/params.yaml"], "audit/params.yaml")


def _put(content: dict[str, Any], key: str, text: str) -> None:
    *groups, last = key.removeprefix("+").split(".")
    for group in groups:
        content = content[group]
    assert (last in content) != key.startswith("+"), f"{key}: + is for a key that is not there"
    content[last] = read_value(text)


def read_value(text: str) -> Any:
    """A value as DVC reads it from -S."""
    return preset.YAML(typ="safe", pure=True).load(text)


def _expanded(command: str) -> str:
    def flags(found: re.Match[str]) -> str:
        return " ".join(map(shlex.quote, preset.read_preset(found[1]).flags()))

    command = re.sub(r"\$\(python -m inverse_rlhf\.preset (\S+)\)", flags, command)
    return command.replace("$seed", "1").replace("$worker", "1")


def answers_files(folder: Path, policies: list[str], texts: list[list[str]]) -> None:
    """The files that the pages' audits name, with answers of two sides, and two policies."""
    import pandas as pd

    prompts = [f"Question {number}?" for number in range(len(texts[0]))]
    table = pd.DataFrame({"prompt": prompts, "base_completion": texts[0]})
    table["aligned_completion"] = texts[1]
    table.to_parquet(folder / "pairs.parquet")
    names = dict(zip(table, ("prompt", "rejected", "chosen"), strict=True))
    table.rename(columns=names).to_json(folder / "preferences.jsonl", orient="records", lines=True)
    names = dict(zip(table, ("question", "answer_a", "answer_b"), strict=True))
    table.rename(columns=names).to_csv(folder / "rows.csv", index=False)
    for name, side in (("sft", "base"), ("dpo", "aligned")):
        own = table[["prompt", f"{side}_completion"]].set_axis(["prompt", "completion"], axis=1)
        own.to_json(folder / f"{name}.json", orient="records")
    table[["prompt"]].to_json(folder / "prompts.jsonl", orient="records", lines=True)
    for name, policy in zip(("sft", "dpo", "sentence-encoder"), policies, strict=True):
        (folder / name).symlink_to(policy)
