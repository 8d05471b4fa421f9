"""The audit of pairs, from a file to its report, by the command and in Python."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.audit import audit, load_reward, main
from inverse_rlhf.audit_params import load_audit_params, settings_of
from inverse_rlhf.data.given_pairs import read_given_pairs
from inverse_rlhf.errors import UserError

FAST = ["--set", "runs=10", "--set", "null_runs=40", "--set", "resamples=100"]
WORDS = [
    *("tree", "river", "stone", "cloud", "paper", "table", "window", "garden", "road", "market"),
    *("letter", "coffee", "winter", "music", "picture", "engine", "bridge", "island", "pocket"),
]


def answers(count: int, *, seed: int, exclaims: float, hedges: float) -> list[str]:
    """Answers of about 30 words, some of which end in ! or begin with perhaps."""
    draw = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        sentences = []
        for _ in range(draw.integers(3, 6)):
            words = draw.choice(WORDS, size=draw.integers(5, 9)).tolist()
            if draw.random() < hedges:
                words.insert(0, "perhaps")
            sentences.append(
                " ".join(words).capitalize() + ("!" if draw.random() < exclaims else ".")
            )
        texts.append(" ".join(sentences))
    return texts


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """The aligned side exclaims more and hedges less; it is judged better where it exclaims."""
    base = answers(300, seed=0, exclaims=0.1, hedges=0.4)
    aligned = answers(300, seed=1, exclaims=0.5, hedges=0.1)
    draw = np.random.default_rng(2)
    return pd.DataFrame(
        {
            "prompt": [f"Question {number}?" for number in range(300)],
            "base_completion": base,
            "aligned_completion": aligned,
            "category": draw.choice(["a", "b"], size=300),
            "base_score": [text.count("!") for text in base],
            "aligned_score": [text.count("!") for text in aligned],
        }
    ).astype({"base_score": float, "aligned_score": float})


@pytest.fixture
def file(pairs: pd.DataFrame, tmp_path: Path) -> Path:
    path = tmp_path / "pairs.parquet"
    pairs.to_parquet(path)
    return path


def report_of(folder: Path) -> dict:
    return json.loads((folder / "audit.json").read_text())


def test_the_command_finds_what_was_planted(file: Path, tmp_path: Path) -> None:
    main([str(file), "--out", str(tmp_path / "out"), *FAST])
    report = report_of(tmp_path / "out")
    found = {row["name"]: row["weight"] for row in report["objectives"] if row["found"]}
    assert found["exclamations"] > 0
    assert found["hedges"] < 0
    assert report["discrimination"]["objectives"]["value"] > 0.8
    assert "exclamations" in report["verdict"]
    text = (tmp_path / "out" / "report.md").read_text()
    assert report["verdict"] in text
    assert "| exclamations" in text
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "audit.json",
        "report.md",
        "report.html",
        "objectives.parquet",
        "margins.parquet",
        "examples.parquet",
        "reward.json",
    }


def test_keys_of_the_report(file: Path, tmp_path: Path) -> None:
    main([str(file), "--out", str(tmp_path / "out"), *FAST])
    report = report_of(tmp_path / "out")
    assert set(report) >= {
        "pairs",
        "discrimination",
        "controls",
        "null",
        "objectives",
        "agreement",
        "judgement",
        "verdict",
        "seconds",
    }
    keys = {"name", "weight", "low", "high", "marginal", "found", "main", "with"}
    assert all(set(row) >= keys for row in report["objectives"])
    sizes = [abs(row["weight"]) for row in report["objectives"]]
    assert sizes == sorted(sizes, reverse=True)
    assert set(report["null"]) >= {"percentile_95", "runs"}
    assert set(report["discrimination"]) == {"objectives", "ngram"}


def test_it_needs_no_torch_and_no_project(file: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from inverse_rlhf.audit import main; "
        f"main([{str(file)!r}, '--out', 'out', *{FAST!r}]); "
        "assert not {'torch', 'transformers'} & set(sys.modules), 'models were loaded'"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "report.md").is_file()


def test_nobody_reads_what_it_prints(file: Path, tmp_path: Path) -> None:
    """As of a pipe that is closed early: all is written, and nothing is wrong."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "inverse_rlhf.audit", str(file), "--out", str(tmp_path), *FAST]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        command, cwd=root, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "audit.json").is_file()


def test_the_reward_is_what_the_margins_are_of(file: Path, tmp_path: Path) -> None:
    main([str(file), "--out", str(tmp_path / "out"), *FAST])
    margins = pd.read_parquet(tmp_path / "out" / "margins.parquet")
    reward = load_reward(tmp_path / "out")
    prompts = margins["prompt"].tolist()
    aligned, base = (
        reward.score(margins[f"{side}_completion"].tolist(), prompts)
        for side in ("aligned", "base")
    )
    np.testing.assert_allclose(aligned - base, margins["margin"], atol=1e-4)
    assert margins["margin"].is_monotonic_increasing


def test_judgements_are_examiners(pairs: pd.DataFrame, file: Path) -> None:
    """They change nothing but what is said of them."""
    settings = settings_of(load_audit_params(), {"runs": 10, "null_runs": 20}, "test")
    given = read_given_pairs([file]).table
    other = given.assign(base_score=given["aligned_score"], aligned_score=given["base_score"])
    one, two = audit(given, settings).report, audit(other, settings).report
    wins = [report["judgement"]["aligned_wins"]["value"] for report in (one, two)]
    assert wins[0] == pytest.approx(1 - wins[1])
    assert one["judgement"]["accuracy"]["value"] > 0.8
    for key in ("objectives", "discrimination", "null", "verdict"):
        assert one[key] == two[key]


def test_sides_swapped_at_random_find_nothing(file: Path) -> None:
    settings = settings_of(load_audit_params(), {"runs": 20, "null_runs": 60}, "test")
    given = read_given_pairs([file]).table
    swap = np.random.default_rng(0).random(len(given)) < 0.5
    placebo = given.copy()
    placebo.loc[swap, ["base_completion", "aligned_completion"]] = given.loc[
        swap, ["aligned_completion", "base_completion"]
    ].to_numpy()
    report = audit(placebo, settings).report
    assert not [row["name"] for row in report["objectives"] if row["found"]]
    assert report["verdict"].startswith("No objective was found.")


def test_categories_are_audited_by_themselves(pairs: pd.DataFrame, tmp_path: Path) -> None:
    """In one of them the aligned side does the opposite, so that it all cancels."""
    turned = pairs.copy()
    inside = turned["category"] == "b"
    turned.loc[inside, ["base_completion", "aligned_completion"]] = pairs.loc[
        inside, ["aligned_completion", "base_completion"]
    ].to_numpy()
    turned.to_parquet(tmp_path / "turned.parquet")
    given = read_given_pairs([tmp_path / "turned.parquet"]).table
    overrides = {"runs": 20, "null_runs": 60, "slice_pairs": 50}
    report = audit(given, settings_of(load_audit_params(), overrides, "test")).report
    found = {
        name: {row["name"]: row["weight"] for row in part["found"]}
        for name, part in report["slices"].items()
    }
    assert found["a"]["exclamations"] > 0 > found["b"]["exclamations"]


def test_same_seed_same_bytes(file: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        main([str(file), "--out", str(tmp_path / name), *FAST])
    for path in sorted((tmp_path / "one").rglob("*.*")):
        if path.name != "audit.json":  # which holds seconds
            other = tmp_path / "two" / path.relative_to(tmp_path / "one")
            assert path.read_bytes() == other.read_bytes(), path.name
    one, two = report_of(tmp_path / "one"), report_of(tmp_path / "two")
    assert {**one, "seconds": 0} == {**two, "seconds": 0}


def test_other_files_of_the_folder_stay(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    main([str(file), "--out", str(out), *FAST])
    assert (out / "mine.txt").read_text() == "mine"


def test_a_name_that_is_no_text(pairs: pd.DataFrame, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"b\xff\nc.jsonl")
    odd.write_text(pairs.to_json(orient="records", lines=True))
    main([str(odd), "--out", str(tmp_path / "out"), *FAST])
    title, _ = (tmp_path / "out/report.md").read_text().split("\n", 1)
    assert title == "# Audit of b\\udcff c.jsonl"
    assert (tmp_path / "out/audit.json").is_file()


def test_what_cannot_be_written_whole_changes_nothing(file: Path, tmp_path: Path) -> None:
    """Whichever file it is, in a new folder and in one of an earlier audit."""
    whole, new = tmp_path / "whole", tmp_path / "new"
    given = read_given_pairs([file])
    settings = settings_of(load_audit_params(), {"runs": 10, "null_runs": 20}, "test")
    result = audit(given.table, settings)
    result.write(whole, title="first")
    before = {path.name: path.read_bytes() for path in whole.iterdir()}
    sizes = sorted({len(content) for content in before.values()})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in sizes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, hard))
        try:
            for folder in (whole, new):
                with pytest.raises(OSError, match="too large"):
                    result.write(folder, title="second")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert {path.name: path.read_bytes() for path in whole.iterdir()} == before
        assert list(new.iterdir()) == []
    (new / "report.md").mkdir()
    with pytest.raises(UserError, match=r"report\.md is a folder: move it away"):
        result.write(new, title="third")
    assert [path.name for path in new.iterdir()] == ["report.md"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["no.parquet"], "no.parquet does not exist"),
        ([], "give files of pairs, or --base, --aligned and --prompts together"),
        (["--base", "x"], "together"),
        (["FILE", "--base", "x"], "give files of pairs, or"),
        (["FILE", "--set", "runs"], "--set runs: write KEY=VALUE"),
        (["FILE", "--set", "rnus=3"], "rnus is no setting of an audit"),
        (["FILE", "--set", "runs=3"], "audit.runs is 3 in --set"),
        (["FILE", "--set", "pairs.samples=0"], "pairs.samples is 0"),
        (["FILE", "--set", "pairs.samples=2"], "--set pairs. has no meaning with files"),
        (["FILE", "--chat"], "--chat has no meaning with files"),
        (["FILE", "--base-revision", "main"], "--base-revision has no meaning with files"),
        (["FILE", "--out", "FILE/out"], "nothing can be written to"),
        (["FILE", "--column", "side=x"], "has the role 'side'"),
        (["FILE", "--column", "prompt=question"], "no column 'question'"),
        (["FILE", "FILE", "FILE"], "3 files are named"),
        (["FILE", "--out", "FILE"], "is a file: name a folder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str],
    line: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [one.replace("FILE", str(file)) for one in arguments]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stopped:
        main(given)
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert line in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_every_line_of_an_error_begins_alike(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([str(file), "--out", str(tmp_path / "out"), "--set", "splits={}"])
    lines = capsys.readouterr().err.splitlines()
    keys = ("irl", "valid", "test")
    assert lines == [f"error: audit.splits.{key} is missing in --set: add it" for key in keys]


def test_too_few_prompts_are_refused(pairs: pd.DataFrame, tmp_path: Path) -> None:
    pairs.head(30).to_parquet(tmp_path / "few.parquet")
    with pytest.raises(SystemExit):
        main([str(tmp_path / "few.parquet"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
