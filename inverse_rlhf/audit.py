"""What was this model aligned to? An audit of two models, or of their answers, without DVC.

    inverse-rlhf pairs.parquet --out report
    inverse-rlhf sft.json dpo.json --out report
    inverse-rlhf --base DIR --aligned DIR --prompts prompts.jsonl --out report

The same in Python:

    given = read_given_pairs(["pairs.parquet"])
    result = audit(given.table)
    load_reward("report").score(texts)

A file of pairs has the columns prompt, base_completion and aligned_completion, or chosen and
rejected; two files hold the answers of one model each and are joined by prompt. No torch model is
loaded for them. Settings are those of audit/params.yaml.
"""

from inverse_rlhf.stage import die_with_parent, quieten, seed_everything

import argparse
import contextlib
import inspect
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from inverse_rlhf.audit_params import (
    AuditParams,
    AuditSettings,
    Policies,
    checked,
    load_audit_params,
    settings_of,
)
from inverse_rlhf.data.given_pairs import read_given_pairs, share_out
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.audit_tables import EXAMPLES, FOUND_OBJECTIVES, MARGINS
from inverse_rlhf.evaluation.objectives import Measured, measure
from inverse_rlhf.evaluation.pair_features import objective_values
from inverse_rlhf.evaluation.verdict import verdict
from inverse_rlhf.files import atomic, write_json
from inverse_rlhf.parquet import write_table
from inverse_rlhf.rewards.objective_reward import ObjectiveReward
from inverse_rlhf.show.audit_report import markdown


@dataclass(frozen=True)
class Audited:
    """The result of an audit.

    Attributes:
        report: the content of audit.json.
        measured: its tables.
        reward: the recovered reward, a weighted sum of the named objectives.
    """

    report: dict[str, Any]
    measured: Measured
    reward: ObjectiveReward

    def write(self, folder: Path | str, *, title: str) -> None:
        """Write audit.json, report.md, the tables and the reward into a folder.

        Files of other names that are there stay as they are. audit.json comes last.
        """
        folder = Path(folder)
        measured = self.measured
        write_table(measured.objectives, folder / "objectives.parquet", FOUND_OBJECTIVES)
        write_table(measured.margins, folder / "margins.parquet", MARGINS)
        write_table(measured.examples, folder / "examples.parquet", EXAMPLES)
        self.reward.save(folder / "reward.json")
        report = markdown(self.report, measured.examples, measured.margins, title=title)
        _write_text(report, folder / "report.md")
        write_json(self.report, folder / "audit.json")


def audit(
    pairs: pd.DataFrame,
    settings: AuditSettings | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
) -> Audited:
    """Recover the reward behind pairs, name its objectives, and say how far to trust them.

    Args:
        pairs: the given_pairs table; without a column split its prompts are shared out.
        settings: None: those of audit/params.yaml.
        facts: of where the pairs come from, to be kept in the report.

    Raises:
        UserError: too few prompts, or both sides are the same in every pair.
    """
    started = time.monotonic()
    if (pairs["base_completion"] == pairs["aligned_completion"]).all():
        raise UserError(
            f"both sides are the same in all {len(pairs)} pairs: there is nothing to audit"
        )
    if settings is None:
        settings = settings_of(load_audit_params(), {}, "audit")
    shared = share_out(pairs, settings.audit.splits.model_dump(), seed=settings.seed)
    measured = measure(shared, objective_values(shared), settings)
    report = measured.report | {"verdict": verdict(measured.report)}
    report["pairs"] = dict(facts or {}) | report["pairs"]
    report["seconds"] = time.monotonic() - started
    weights = dict(zip(measured.names, measured.weights.tolist(), strict=True))
    return Audited(report, measured, ObjectiveReward(weights, *measured.moments))


def load_reward(folder: Path | str) -> ObjectiveReward:
    """The recovered reward in a folder that an audit wrote.

    Raises:
        UserError: there is none.
    """
    return ObjectiveReward.load(Path(folder) / "reward.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; bad input is one line and exit code 2."""
    options = _parser().parse_args(arguments)
    die_with_parent()
    try:
        print(_run(options), flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="inverse-rlhf",
        description=inspect.getdoc(sys.modules[__name__]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("pairs", nargs="*", help="a file of pairs, or two files: the base and the aligned answers")
    add("--out", required=True, metavar="DIR", help="folder for the report")
    add("--base", help="base policy: a folder, an adapter or a hub id")
    add("--aligned", help="aligned policy")
    add("--prompts", metavar="FILE", help="prompts to sample both policies with")
    add("--base-revision", help="commit, tag or branch of a hub id")
    add("--aligned-revision")
    add("--prompt-column", default="prompt")
    add("--chat", action="store_true", help="prompts are a user's messages of the chat templates")
    add("--trust-remote-code", action="store_true", help="run code that a model folder brings")
    add(
        "--column",
        action="append",
        default=[],
        metavar="ROLE=NAME",
        help="the file's name for prompt, base, aligned, category, base_score or aligned_score",
    )
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of audit/params.yaml: runs=100, ngram.max_n=3, pairs.samples=2, seed=1",
    )
    return parser


def _run(options: argparse.Namespace) -> str:
    folder = Path(options.out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out: {folder} is a file: name a folder")
    params, settings = _settings(_pairs_of(options.set, "--set"))
    by_policies = [options.base, options.aligned, options.prompts]
    if any(by_policies) == bool(options.pairs) or (any(by_policies) and not all(by_policies)):
        raise UserError("give files of pairs, or --base, --aligned and --prompts together")
    if options.pairs:
        columns = _pairs_of(options.column, "--column")
        given = read_given_pairs([Path(path) for path in options.pairs], columns=columns or None)
        table, facts = given.table, given.facts
        title = " and ".join(Path(path).name for path in options.pairs)
    else:
        keys = [key for key in Policies.model_fields if getattr(options, key, None) is not None]
        named = {key: getattr(options, key) for key in keys}
        source = checked(Policies, named, "the command line")
        table, facts = _sampled(source, params)
        title = f"{options.base} → {options.aligned}"
    result = audit(table, settings, facts=facts)
    result.write(folder, title=f"Audit of {title}")
    return f"{result.report['verdict']}\nwritten: {folder / 'report.md'}, {folder / 'audit.json'}"


def _sampled(source: Policies, params: AuditParams) -> tuple[pd.DataFrame, dict[str, Any]]:
    from inverse_rlhf.policies.two_policies import read_prompts_file, sample_pairs_of  # torch

    prompts = read_prompts_file(Path(source.prompts), source.prompt_column, "--prompts")
    seed_everything(params.seed)
    quieten()
    table = sample_pairs_of(source, prompts, params.pairs, params.compute, seed=params.seed)
    return table, table.attrs["facts"]


def _settings(overrides: dict[str, Any]) -> tuple[AuditParams, AuditSettings]:
    """The params, with overrides of pairs, compute and seed, and the audit's settings."""
    sampling = {key: value for key, value in overrides.items() if key.startswith("pairs.")}
    own = {key: value for key, value in overrides.items() if key not in sampling}
    params = load_audit_params(overrides=sampling)
    settings = settings_of(params, own, "--set")
    return params.model_copy(update={"seed": settings.seed, "compute": settings.compute}), settings


def _pairs_of(options: list[str], flag: str) -> dict[str, Any]:
    """KEY=VALUE options; values of settings are read as YAML."""
    found: dict[str, Any] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key:
            raise UserError(f"{flag} {option}: write KEY=VALUE")
        found[key] = value
        if flag == "--set":
            with contextlib.suppress(YAMLError, ValueError):
                found[key] = YAML(typ="safe", pure=True).load(value)
    return found


def _write_text(text: str, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
