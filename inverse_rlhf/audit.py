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

from inverse_rlhf.stage import quieten, seed_everything

import argparse
import contextlib
import fcntl
import hashlib
import inspect
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from threadpoolctl import threadpool_limits

from inverse_rlhf.audit_params import (
    AuditParams,
    AuditSettings,
    Policies,
    Sampling,
    checked,
    load_audit_params,
    settings_of,
)
from inverse_rlhf.data.given_pairs import GIVEN_PAIRS, check_enough, read_given_pairs, share_out
from inverse_rlhf.digests import Digests, Source, versions
from inverse_rlhf.errors import UserError, one_line, say
from inverse_rlhf.evaluation.audit_cautions import cautions, share_not_english
from inverse_rlhf.evaluation.audit_tables import EXAMPLES, FOUND_OBJECTIVES, MARGINS
from inverse_rlhf.evaluation.objectives import Measured, measure
from inverse_rlhf.evaluation.pair_features import body_of, objective_values
from inverse_rlhf.evaluation.verdict import strength, verdict
from inverse_rlhf.files import atomic, digest_of, remove, tables_in, write_json
from inverse_rlhf.models import processes
from inverse_rlhf.parquet import write_table
from inverse_rlhf.rewards.objective_reward import ObjectiveReward
from inverse_rlhf.show.audit_page import write_audit_page
from inverse_rlhf.show.audit_report import markdown

_FILES = (
    *("objectives.parquet", "margins.parquet", "examples.parquet", "reward.json", "report.md"),
    *("report.html", "audit.json"),
)
"""That an audit writes, in this order."""


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
        """Write audit.json, report.md, report.html, the tables and the reward into a folder.

        Files of other names that are there stay as they are. Nothing of an earlier audit goes
        before all of this one is written; audit.json comes last.

        Raises:
            UserError: a folder has the name of one of the files.
        """
        folder = Path(folder)
        temporary = folder / "audit.tmp"  # within: beside it may be another disk, or read-only
        remove(temporary)
        try:
            self._write_files(temporary, title)
            _check_names(folder)
            remove(folder / "audit.json")  # it says that the rest is whole
            for name in _FILES:
                (temporary / name).replace(folder / name)
        finally:
            remove(temporary)

    def _write_files(self, folder: Path, title: str) -> None:
        measured = self.measured
        write_table(measured.objectives, folder / "objectives.parquet", FOUND_OBJECTIVES)
        write_table(measured.margins, folder / "margins.parquet", MARGINS)
        write_table(measured.examples, folder / "examples.parquet", EXAMPLES)
        self.reward.save(folder / "reward.json")
        # A file's name may have bytes that are no text, and breaks of lines.
        title = " ".join(title.encode(errors="backslashreplace").decode().split())
        report = markdown(self.report, measured.examples, measured.margins, title=title)
        _write_text(report, folder / "report.md")
        write_audit_page(folder / "report.html", self.report, measured, self.reward, title=title)
        write_json(self.report, folder / "audit.json")


def audit(
    pairs: pd.DataFrame,
    settings: AuditSettings | None = None,
    *,
    facts: Mapping[str, Any] | None = None,
    files: Mapping[str, str] | None = None,
) -> Audited:
    """Recover the reward behind pairs, name its objectives, and say how far to trust them.

    Args:
        pairs: the given_pairs table; without a column split its prompts are shared out. Where
            `attrs["sampling"]` says how policies were sampled, it goes into the report.
        settings: None: those of audit/params.yaml.
        facts: of where the pairs come from, to be kept in the report.
        files: those that the pairs were read from, and their sha256, likewise; see `digests_of`.

    Raises:
        UserError: too few prompts, or both sides are the same in every pair.
    """
    started = time.monotonic()
    lacking = [name for name in GIVEN_PAIRS.names if name not in pairs and name != "split"]
    if lacking or pairs.empty:
        what = f"have no column {lacking[0]}" if lacking else "are none"
        raise UserError(f"the pairs {what}: read them by read_given_pairs")
    if (pairs["base_completion"] == pairs["aligned_completion"]).all():
        raise UserError(
            f"both sides are the same in all {len(pairs)} pairs: there is nothing to audit"
        )
    if settings is None:
        settings = settings_of(load_audit_params(), {}, "audit")
    shared = share_out(pairs, settings.audit.splits.model_dump(), seed=settings.seed)
    # Hundreds of small problems: more threads wait for each other, and round by their number.
    with threadpool_limits(1, user_api="blas"):
        values = objective_values(shared)
        measured = measure(shared, values, settings)
    report = measured.report | {"verdict": verdict(measured.report)}
    report["pairs"] = dict(facts or {}) | report["pairs"]
    report["pairs"]["not_english"] = share_not_english(shared, values)
    report |= {"strength": strength(report), "cautions": cautions(report)}
    sampled = {"pairs": pairs.attrs["sampling"]} if "sampling" in pairs.attrs else {}
    report |= {"settings": settings.model_dump(mode="json") | sampled, "versions": versions()}
    report["files"] = dict(files or {}) | {"the pairs as they were read": digest_of_pairs(shared)}
    report["seconds"] = time.monotonic() - started
    weights = dict(zip(measured.names, measured.weights.tolist(), strict=True))
    return Audited(report, measured, ObjectiveReward(weights, *measured.moments))


def digests_of(paths: Sequence[Path | str]) -> dict[str, str]:
    """sha256 of files, or of the .parquet files of folders, by their names within the folder that
    they are in: where they are is nobody's matter. What cannot be read is left out.
    """
    found: dict[str, str] = {}
    for path in map(Path, paths):
        files = tables_in(path, "pairs") if path.is_dir() else [path] if path.is_file() else []
        for file in files:
            name = shown = file.name.encode(errors="backslashreplace").decode()
            for count in itertools.count(2):
                if shown not in found:
                    break
                shown = f"{name} ({count})"
            found[shown] = digest_of(file)
    return found


def digest_of_pairs(pairs: pd.DataFrame) -> str:
    """sha256 of the texts of pairs and their splits, as JSON, in their order."""
    columns = ["prompt", "base_completion", "aligned_completion", "split"]
    rows = json.dumps(pairs[columns].to_numpy().tolist())
    return hashlib.sha256(rows.encode()).hexdigest()


def load_reward(folder: Path | str) -> ObjectiveReward:
    """The recovered reward in a folder that an audit wrote.

    Raises:
        UserError: there is none.
    """
    return ObjectiveReward.load(Path(folder) / "reward.json")


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; bad input is one line and exit code 2."""
    options = _parser().parse_args(arguments)
    with one_line():
        say(_run(options))


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
    processes.check_alone("an audit")
    folder = Path(options.out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out: {folder} is a file: name a folder")
    params, settings = _settings(_pairs_of(options.set, "--set"))
    by_policies = [options.base, options.aligned, options.prompts]
    if any(by_policies) == bool(options.pairs) or (any(by_policies) and not all(by_policies)):
        raise UserError("give files of pairs, or --base, --aligned and --prompts together")
    unread = _unread(options)
    if unread:
        raise UserError(f"{unread} has no meaning with {'files' if options.pairs else 'policies'}")
    with contextlib.ExitStack() as held:
        if options.pairs:
            columns = _pairs_of(options.column, "--column") or None
            given = read_given_pairs([Path(path) for path in options.pairs], columns=columns)
            table, facts, files = given.table, given.facts, digests_of(options.pairs)
            title = " and ".join(Path(path).name for path in options.pairs)
            held.enter_context(_made(folder))
        else:
            keys = [key for key in Policies.model_fields if getattr(options, key, None) is not None]
            named = {key: getattr(options, key) for key in keys}
            source = checked(Policies, named, "the command line")
            held.enter_context(_made(folder))  # before the long work
            _check_body(settings)
            table, models = held.enter_context(_sampled(source, params, settings, folder))
            facts, files = table.attrs["facts"], digests_of([options.prompts]) | models
            title = f"{options.base} → {options.aligned}"
        result = audit(table, settings, facts=facts, files=files)
        result.write(folder, title=f"Audit of {title}")
    written = ", ".join(str(folder / name) for name in ("report.html", "report.md", "audit.json"))
    return f"{result.report['verdict']}\nwritten: {written}"


def _check_names(folder: Path) -> None:
    for name in _FILES:
        if (folder / name).is_dir():
            raise UserError(f"{folder / name} is a folder: move it away or name another")


def _check_body(settings: AuditSettings) -> None:
    """Refuse, before two models work in vain, a body that cannot be read after them."""
    body = Source("audit.body", settings.audit.body, settings.audit.body_revision)
    Digests(Path(os.devnull)).of(body, {})
    if settings.audit.body is not None:
        body_of(settings)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"--out: another audit is at work in {folder}: name another one") from None
    except OSError:  # NFS has no locks of folders
        pass


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder that can be written to, by this audit alone; where it is new, it goes again if
    nothing comes of it.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--out: nothing can be written to {folder}: {error.strerror}") from None
    lock = os.open(folder, os.O_RDONLY)
    try:
        _take(lock, folder)
        _check_names(folder)
        yield
    finally:
        os.close(lock)
        if new and not any(folder.iterdir()):
            folder.rmdir()


def _unread(options: argparse.Namespace) -> str | None:
    """An option that is given and not read."""
    if not options.pairs:
        return "--column" if options.column else None
    defaults = _parser().parse_args([*options.pairs, "--out", options.out])
    others = ("base_revision", "aligned_revision", "prompt_column", "chat", "trust_remote_code")
    given = [name for name in others if getattr(options, name) != getattr(defaults, name)]
    if given:
        return "--" + given[0].replace("_", "-")
    return "--set pairs." if any(key.startswith("pairs.") for key in options.set) else None


@contextlib.contextmanager
def _sampled(
    source: Policies, params: AuditParams, settings: AuditSettings, folder: Path
) -> Iterator[tuple[pd.DataFrame, dict[str, str]]]:
    """Pairs that the policies write, and the digests of these.

    Finished batches are kept in the report's folder until the report is written: a command that was
    killed, or that failed, goes on from there when it is given again.
    """
    from inverse_rlhf.policies.two_policies import read_prompts_file, sample_pairs_of  # torch
    from inverse_rlhf.resume import KEPT, unfinished

    prompts = read_prompts_file(Path(source.prompts), source.prompt_column, "--prompts")
    check_enough(len(prompts), settings.audit.splits.model_dump())  # before two models work in vain
    seed, compute, pairs = params.seed, params.compute, params.pairs
    seed_everything(seed)
    quieten()
    models = _digests_of_policies(source)
    asked = Sampling(seed=seed, compute=compute, pairs=pairs, policies=source, models=models)
    within = folder / KEPT
    try:
        with unfinished("audit", asked, [source.prompts], within=within) as kept:
            found = sample_pairs_of(source, prompts, pairs, compute, seed=seed, unfinished=kept)
            yield found, models
    finally:
        if not any(path.is_file() and path.name != "lock" for path in within.rglob("*")):
            remove(within)


def _digests_of_policies(source: Policies) -> dict[str, str]:
    """sha256 of the policies' files, or their commits on the hub, and those of adapters' bases."""
    digests, named = Digests(Path(os.devnull)), dict[str, str]()
    for side in ("base", "aligned"):
        given = Source(side, getattr(source, side), getattr(source, f"{side}_revision"))
        found = digests.of(given, {})
        for of, part in ((side, found), (f"{side}: base of the adapter", found.get("base", {}))):
            named |= {f"{of}: {name}": sha for name, sha in part.get("files", {}).items()}
            if "hub" in part:
                named[f"{of}: commit of {part['hub']}"] = part["commit"] or "unknown"
    return named


def _settings(overrides: dict[str, Any]) -> tuple[AuditParams, AuditSettings]:
    """The params, with overrides of pairs, compute and seed, and the audit's settings."""
    sampling = {key: value for key, value in overrides.items() if key.startswith("pairs.")}
    own = {key: value for key, value in overrides.items() if key not in sampling}
    params = load_audit_params(overrides=sampling, name="--set" if sampling else None)
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
