"""Bad files, params and models: each ends its stage with one line and exit code 2, nothing left."""

import copy
import gzip
import importlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers
from ruamel.yaml import YAML
from safetensors.numpy import load_file, save_file

from inverse_rlhf import preset, stage
from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.parquet import write_table

ROOT = Path(__file__).parent.parent
SHIFT = (
    b"text,reply,toxic,insult\nyou are a fool,go away please,1,0,\n"
    b"nice day to you,thank you so much,0,1,\nwhat an idiot,leave me alone,1,0,\n"
)
LINK = "http://example.org/" + "/".join(f"a{n}-x{7 * n % 31}" for n in range(60))
SMALL = {
    "data": {
        "comments": None,
        "toxic_share": None,
        "splits": {"rl": 12, "irl": 10, "valid": 10, "test": 10},
    },
    "rlhf": {"batch_size": 12},
    "evaluate": {"threshold": "otsu"},
}
Rows = list[dict[str, Any]]
Run = Callable[[str, dict[str, Any]], str]


@pytest.fixture
def run(
    raw_params: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run a stage in a folder of its own with params that differ; the one line that it ends with.

    What is in the folder before has to be what is there after.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "die_with_parent", lambda: None)
    monkeypatch.setattr(stage, "seed_everything", lambda seed: None)
    levels = {name: logging.getLogger(name).level for name in ("huggingface_hub", "transformers")}

    def ended(name: str, changes: dict[str, Any]) -> str:
        if not Path("params.yaml").exists():
            content = copy.deepcopy(raw_params)
            preset.merge(content, SMALL)
            preset.merge(content, changes)
            with Path("params.yaml").open("w") as stream:
                YAML().dump(content, stream)
        before = _files()
        main = importlib.import_module(f"stages.{name}").main
        monkeypatch.setattr(sys, "argv", [name])
        with pytest.raises(SystemExit) as end:
            stage.run_stage(main)
        out, err = capsys.readouterr()
        assert end.value.code == 2
        said = out.removeprefix(f"{name}: started\n")
        assert re.fullmatch(rf"({name}: needs about .*\n)?", said), out  # its plan
        assert _files() == before
        return _one_line(err)

    yield ended
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    transformers.utils.logging.enable_progress_bar()
    datasets.utils.logging.enable_progress_bar()


def _files() -> list[tuple[str, bool]]:
    """All but what the next run of a stage goes on from, which git and DVC leave out."""
    found = (path for path in Path().rglob("*") if path.parts[0] != ".resume")
    return sorted((str(path), path.is_file()) for path in found)


def _one_line(err: str) -> str:
    assert err.startswith("error: ")
    assert err.endswith("\n")
    line = err.removeprefix("error: ")[:-1]
    assert "\n" not in line
    assert len(line) <= 1000
    return line


def rows(**changes: Any) -> Rows:
    """Sixty comments that are fine, but for some columns."""
    return [
        {"text": f"the word {n} is said of page {n} and that is all", "toxic": n % 2} | changes
        for n in range(60)
    ]


def lines(*all_rows: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, all_rows)).encode()


def table(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def csv(content: bytes) -> Callable[[Path], None]:
    return lambda path: _written(path, content)


def _written(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _cut_parquet(path: Path) -> None:
    pd.DataFrame(rows()).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])


def _flipped_parquet(path: Path) -> None:
    comments = pa.Table.from_pylist(rows())
    pq.write_table(comments, path, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[content.index(b"the word 30")] ^= 1
    path.write_bytes(content)


def _invalid_parquet(path: Path) -> None:
    buffers = [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pa.py_buffer(b"a\xff")]
    table(path, text=pa.Array.from_buffers(pa.string(), 2, buffers), toxic=[0, 1])


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("no table")


def _two_tables(path: Path) -> None:
    path.mkdir()
    table(path / "a.parquet", text=["a"], toxic=[0])
    table(path / "b.parquet", body=["b"], toxic=[1])


# A file's name, what it holds, and what the line says; it is data.source.
FILES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no file": ("none.csv", lambda path: None, r"none\.csv does not exist$"),
    "empty": ("a.csv", csv(b""), "is empty"),
    "blank lines": ("a.csv", csv(b"\n \n\n"), "is empty"),
    "only a mark": ("a.jsonl", csv(b"\xef\xbb\xbf"), "is empty"),
    "header only": ("a.csv", csv(b"text,toxic\n"), "has no rows"),
    "rows longer than the header": (
        "shift.csv",
        csv(SHIFT),
        r"row 0 \(line 2\) has 5 fields, the header has 4, and its last field is ''",
    ),
    "a row too short": ("a.csv", csv(b"text,toxic\na,1\nb\n"), r"row 1 \(line 3\) has 1 fields"),
    "backslashed quotes": (
        "a.csv",
        csv(b'text,toxic\n"say \\"no\\", please",1\nb,0\n'),
        r"row 0 \(line 2\): .* not with a backslash",
    ),
    "backslashed quote at the end": (
        "a.csv",
        csv(b'text,toxic\n"say \\"no\\"",1\nb,0\n"c",1\n'),
        r"row 0 \(line 2\): .* not with a backslash",
    ),
    "open quote": ("a.csv", csv(b'text,toxic\na,1\n"b,0\nc,1\n'), r"row 1 \(line 3\): unexpected"),
    "swallowed rows": (
        "a.csv",
        csv(b'text,toxic\na,1\n"you fool,1\nnice,0\nwell,0\nend of it",1\nb,0\n'),
        r"row 1 \(line 3\) has a quoted field with 3 lines like rows, the first 'you fool,1'",
    ),
    "semicolons": ("a.csv", csv(b"text;toxic\na;1\n"), "one name, 'text;toxic': .* not by ';'"),
    "tabs": ("a.csv", csv(b"text\ttoxic\na\t1\n"), r"separate fields by commas, not by '\\t'"),
    "a NUL": ("a.csv", csv(b"text,toxic\na,1\nb\0,0\n"), "line 3 has a NUL character"),
    "UTF-16": ("a.csv", csv("text,toxic\na,1\n".encode("utf-16")), "not UTF-8 at byte 0"),
    "UTF-16 without a mark": ("a.csv", csv("text\n".encode("utf-16-le")), "line 1 has a NUL"),
    "Latin-1": ("a.csv", csv("text,toxic\nnaïve,1\n".encode("latin-1")), "not UTF-8 at byte 13"),
    "a column twice": ("a.csv", csv(b"text,toxic,text\na,1,b\n"), "the header has 'text' twice"),
    "no text column": (
        "a.csv",
        csv(b"comment,toxic\na,1\n"),
        r"^data\.text_column: a\.csv has no column 'text'; its columns are 'comment', 'toxic'$",
    ),
    "no label column": ("a.csv", csv(b"text,label\na,1\n"), r"^data\.label_column: .* no column"),
    "400 other columns": (
        "a.csv",
        csv(",".join(f"column_{n}" for n in range(400)).encode() + b"\n" + b"1," * 399 + b"1\n"),
        "'column_19' and 380 more$",
    ),
    "a null text": ("a.csv", csv(b"text,toxic\na,1\n,0\n"), "'text', row 1 is null: fix or drop"),
    "a blank text": ("a.csv", csv(b'text,toxic\na,1\n" ",0\n'), "row 1 is empty"),
    "a number for a text": (
        "a.jsonl",
        csv(lines(*rows(), {"text": 5, "toxic": 1})),
        "row 60 is not a text but 5",
    ),
    "objects for texts": (
        "a.jsonl",
        csv(lines(*rows(text={"text": "a", "score": 0.1}))),
        r"row 0 is not a text but \{.*59 more rows\): name the key that has it, as in text\.text",
    ),
    "bytes for texts": (
        "a.parquet",
        lambda path: table(path, text=[b"a", b"b"], toxic=[0, 1]),
        "row 0 is not a text but b'a'",
    ),
    "lists for texts": (
        "a.parquet",
        lambda path: table(path, text=[["a"], ["b"]], toxic=[0, 1]),
        r"row 0 is not a text but array\(\['a'\]",
    ),
    "dates for texts": (
        "a.parquet",
        lambda path: table(path, text=pa.array([1, 2], pa.date32()), toxic=[0, 1]),
        "row 0 is not a text but datetime.date",
    ),
    "a label of 2": (
        "a.csv",
        csv(b"text,toxic\na,1\nb,2\n"),
        "row 1 is not 0 or 1 but '2'.*write 1",
    ),
    "scores for labels": ("a.csv", csv(b"text,toxic\na,.7\nb,0\n"), r"row 0 is not .* but '\.7'"),
    "other words for labels": (
        "a.csv",
        csv(b"text,toxic\na,offensive\nb,neither\n"),
        r"'toxic', row 0 is not 0 or 1 but 'offensive' \(and 1 more rows\): write 1, toxic, true",
    ),
    "lists for labels": ("a.jsonl", csv(lines(*rows(toxic=[0, 1]))), r"row 0 is not .* \[0, 1\]"),
    "a null label": ("a.csv", csv(b"text,toxic\na,1\nb,\n"), "column 'toxic', row 1 is null"),
    "one label": ("a.csv", csv(b"text,toxic\na,1\nb,1\n"), "every 'toxic' in a.csv is 1, both"),
    "cut gzip": (
        "a.csv.gz",
        csv(gzip.compress(b"text,toxic\n" + b"a,1\n" * 99)[:-9]),
        r"cannot be read as \.csv\.gz: Compressed file ended",
    ),
    "gzip in disguise": ("a.csv", csv(gzip.compress(b"text\n")), "it is gzipped: give it a name"),
    "no gzip": ("a.jsonl.gz", csv(b'{"text": "a"}'), r"cannot be read as \.jsonl\.gz: Not a gzip"),
    "a broken line": (
        "a.jsonl",
        csv(b'{"text": "a", "toxic": 1}\n{"text": "b", '),
        r"row 1 \(line 2\) is not a JSON object",
    ),
    "an array of texts": ("a.json", csv(b'["a", "b"]'), "row 0 is 'a', not an object with keys"),
    "a key twice": ("a.jsonl", csv(b'{"text": "a", "text": "b"}'), "the key 'text' is there twice"),
    "depths of JSON": ("a.jsonl", csv(b'{"text": ' + b"[" * 10**5), r"cannot be read as \.jsonl"),
    "no Parquet": ("a.parquet", csv(b"text,toxic\na,1\n"), r"cannot be read as \.parquet: Parquet"),
    "a pointer": (
        "a.parquet",
        csv(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        r"cannot be read as \.parquet",
    ),
    "cut Parquet": ("a.parquet", _cut_parquet, r"cannot be read as \.parquet"),
    "encrypted Parquet": ("a.parquet", csv(b"PARE" + b"\7" * 99 + b"PARE"), "cannot be read"),
    "a flipped bit": ("a.parquet", _flipped_parquet, r"cannot be read as \.parquet: .*checksum"),
    "no UTF-8 in Parquet": ("a.parquet", _invalid_parquet, "Invalid UTF8"),
    "another kind": ("a.tsv", csv(b"text\ttoxic\na\t1\n"), r"a\.tsv is not a \.parquet, \.csv,"),
    "a folder of notes": ("folder", _folder, "is a folder without .parquet files"),
    "a folder of two tables": (
        "folder",
        _two_tables,
        r"b\.parquet has the columns 'body', 'toxic'",
    ),
    "one word each": (
        "a.csv",
        csv(b"text,toxic\n" + b"".join(b"word%d,%d\n" % (n, n % 2) for n in range(60))),
        r"need 42 prompts, but the 60 comments give 0 distinct prompts of 4 words \(60 comments",
    ),
    "no words at all": (
        "a.jsonl",
        csv(lines(*({"text": "例" * (n + 9), "toxic": n % 2} for n in range(60)))),
        "0 distinct prompts .* words are what white space parts",
    ),
    "both labels for every text": (
        "a.jsonl",
        csv(lines(*rows(toxic=0), *rows(toxic=1))),
        "has 120 rows and none is left: 0 .* 0 .* and 120 have a text with both labels",
    ),
    "nothing to be seen": (
        "a.jsonl",
        csv(lines(*rows(text="\u200b\ufeff"), *rows(text="a\0"), *rows(text="\ud800"))),
        "has 180 rows and none is left: 120 have NUL or half characters, in 60 nothing can be seen",
    ),
    "one label to train on": (
        "a.jsonl",
        csv(lines(*rows(toxic=0), *rows(text="this one alone is a bad one", toxic=1))),
        r"of the \d+ comments to train on, 0 are toxic and \d+ are not, and some of both",
    ),
    "prompts beyond the context": (
        "a.jsonl",
        csv(
            lines(
                *({"text": f"see {n} " + LINK + " a good page", "toxic": n % 2} for n in range(60))
            )
        ),
        r"of the 1\d prompts of data\.splits\.\w+, 0 leave room .* context of 128 tokens, and 1",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_files(run: Run, name: str) -> None:
    file, make, message = FILES[name]
    make(Path(file))
    line = run("prepare_data", {"data": {"source": file}})
    assert re.search(message, line), line
    assert file in line or "data.splits" in line or "comments to train on" in line


PARAMS: dict[str, tuple[dict[str, Any], str]] = {
    "a negative seed": ({"seed": -1}, r"^seed is -1 in params\.yaml: it must be greater"),
    "a share above 1": ({"data": {"toxic_share": 1.5}}, r"^data\.toxic_share is 1\.5"),
    "no comments": ({"data": {"comments": 0}}, r"^data\.comments is 0"),
    "half a comment": ({"data": {"comments": 0.5}}, r"^data\.comments is 0\.5 .* valid integer"),
    "too few to test on": ({"data": {"splits": {"test": 5}}}, r"^data\.splits\.test is 5"),
    "prompts that are all": ({"data": {"prompt_words": 60}}, "prompt_words must be smaller than"),
    "a share of no labels": (
        {"data": {"label_column": None, "toxic_share": 0.5}},
        "toxic_share is 0.5, but label_column is null",
    ),
    "a classifier of no labels": (
        {"data": {"label_column": None}},
        r"true_reward\.source is scratch, but data\.label_column is null",
    ),
    "a misspelt key": ({"data": {"sorce": "a.csv"}}, r"^data\.sorce .* is not a known key"),
    "a word for a number": ({"irl": {"lr": "fast"}}, r"^irl\.lr is 'fast'"),
    "a number for a word": ({"data": {"source": 5}}, r"^data\.source is 5"),
    "an empty name": ({"data": {"text_column": ""}}, r"^data\.text_column is ''"),
    "yes for a boolean": ({"compute": {"fast": "yes"}}, r"^compute\.fast is 'yes'"),
    "no such device": ({"compute": {"device": "gpu"}}, r"^compute\.device is 'gpu'"),
    "no reward": ({"true_reward": {"weights": {"toxicity": 0.0}}}, "every weight is 0"),
    "not a number": ({"rlhf": {"lr": float("nan")}}, r"^rlhf\.lr is nan"),
    "a batch of more than there are": ({"rlhf": {"batch_size": 99}}, r"rlhf\.batch_size is 99"),
    "a hub id without revision": ({"data": {"source": "someone/set"}}, r"set data\.revision"),
    "more than the grammar gives": (
        {"data": {"comments": 10**6}},
        r"^data\.comments is 1000000, but of the embedded comments there are at most 500000",
    ),
    "one label to test on": (
        {"data": {"comments": 1000, "toxic_share": 0.02}},
        r"of the \d+ comments behind the prompts of data\.splits\.test, 0 are toxic and \d+ are "
        "not, .*: raise it, or bring data.toxic_share nearer to 0.5",
    ),
    "a name with a NUL": (
        {"data": {"source": "a\0.csv"}},
        r"^data\.source is 'a\\x00\.csv' in params\.yaml: it must be without line breaks",
    ),
    "a name of two lines": ({"data": {"source": "a\nb.csv"}}, "must be without line breaks"),
    "a name too long": ({"data": {"source": "a" * 300 + ".csv"}}, "does not exist"),
    "prompts of nowhere": (
        {"evaluate": {"transfer_prompts": "none.csv"}},
        r"^evaluate\.transfer_prompts: none\.csv does not exist$",
    ),
}


@pytest.mark.parametrize("name", PARAMS)
def test_params(run: Run, name: str) -> None:
    changes, message = PARAMS[name]
    line = run("prepare_data", changes)
    assert re.search(message, line), line


PARAMS_FILES = {
    "empty": (b"", "^params.yaml holds no params"),
    "a list": (b"- seed: 0\n", "^params.yaml holds no params"),
    "a tab": (b"data:\n\tsource: a.csv\n", "^params.yaml is not valid YAML: .*line 2"),
    "a key twice": (b"seed: 0\nseed: 1\n", "^params.yaml is not valid YAML: .*seed"),
    "Latin-1": ("seed: 0 # naïve\n".encode("latin-1"), "^params.yaml is not valid YAML: .*utf-8"),
}


@pytest.mark.parametrize("name", PARAMS_FILES)
def test_params_files(run: Run, name: str) -> None:
    content, message = PARAMS_FILES[name]
    Path("params.yaml").write_bytes(content)
    line = run("prepare_data", {})
    assert re.search(message, line), line


def _config(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _weights(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def changed(folder: Path) -> None:
        path = folder / "model.safetensors"
        weights = load_file(path)
        change(weights)
        save_file(weights, path, metadata={"format": "pt"})

    return changed


def _holds(name: str, content: bytes | None) -> Callable[[Path], None]:
    """A file of the folder with other content, or without it."""

    def change(folder: Path) -> None:
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)

    return change


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def _only(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.move(folder / "model.safetensors", folder / name)


def _without_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()


def _nan(weights: dict[str, np.ndarray]) -> None:
    weights["gpt_neox.final_layer_norm.bias"][0] = np.nan


def _whole(weights: dict[str, np.ndarray]) -> None:
    name = "gpt_neox.final_layer_norm.bias"
    weights[name] = weights[name].astype(np.int32)


def _more_tokens(folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    token = content["added_tokens"][0] | {"id": 900, "content": "<more>"}
    content["added_tokens"].append(token)
    path.write_text(json.dumps(content))


def _adapter(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": "some/base", "r": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def _file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


# What is done to a sound policy's folder, and what base_policy says of it.
MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "is not a folder"),
    "a file": (_file, "is not a folder"),
    "an empty folder": (_empty, r"config\.json"),
    "no configuration": (_holds("config.json", None), r"has no config\.json"),
    "a broken configuration": (_holds("config.json", b'{"model_type": '), "cannot be loaded"),
    "an unknown architecture": (_config(model_type="gpt_neo_y"), "gpt_neo_y"),
    "no tokenizer": (_without_tokenizer, "has no tokenizer files"),
    "a broken tokenizer": (_holds("tokenizer.json", b"{"), "the tokenizer cannot be loaded"),
    "cut weights": (_cut, "the weights cannot be loaded"),
    "empty weights": (_holds("model.safetensors", b""), "the weights cannot be loaded"),
    "pickled weights only": (
        _only("pytorch_model.bin"),
        r"has no \.safetensors weights but pytorch_",
    ),
    "GGUF only": (_only("model.gguf"), r"has no \.safetensors weights but model\.gguf"),
    "weights that lack one": (
        _weights(lambda weights: weights.pop("gpt_neox.final_layer_norm.bias")),
        r"its weights lack gpt_neox\.final_layer_norm\.bias",
    ),
    "weights that are no numbers": (_weights(_nan), "final_layer_norm.bias are not finite"),
    "weights of two layers for one": (_config(num_hidden_layers=1), r"layers\.1\..* no place"),
    "weights of another size": (_config(hidden_size=64), "have shape .* but its config.json says"),
    "whole numbers for weights": (_weights(_whole), "are I32, no floating-point numbers"),
    "tokens that are not embedded": (_more_tokens, "has tokens up to .* but the model embeds 512"),
    "half an adapter": (_adapter, r"has no adapter_model\.safetensors"),
}


@pytest.mark.parametrize("name", MODELS)
def test_policies(run: Run, policy_folder: Path, comments: pd.DataFrame, name: str) -> None:
    change, message = MODELS[name]
    shutil.copytree(policy_folder, "mine")
    change(Path("mine"))
    _comments_of(comments)
    line = run("base_policy", {"base_policy": {"source": "./mine"}})
    assert re.search(message, line), line
    assert line.startswith("base_policy.source: ./mine")


def _comments_of(comments: pd.DataFrame) -> None:
    frame = comments.assign(comment_id=np.arange(len(comments)))
    write_table(frame, "data/comments.parquet", COMMENTS)


def test_a_classifier_as_policy_and_a_policy_as_classifier(
    run: Run, policy_folder: Path, classifier_folder: Path, comments: pd.DataFrame
) -> None:
    _comments_of(comments)
    shutil.copytree(classifier_folder, "classifier")
    shutil.copytree(policy_folder, "policy")
    line = run("base_policy", {"base_policy": {"source": "./classifier"}})
    assert line.startswith("base_policy.source: ./classifier is no policy: ")
    Path("params.yaml").unlink()
    line = run("true_reward", {"true_reward": {"source": "./policy"}})
    assert line.startswith("true_reward.source: ./policy is no classifier: ")


def test_an_experiment_says_why_a_file_is_not_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "abc" / "project"
    copied.mkdir(parents=True)
    monkeypatch.chdir(copied)
    line = run("prepare_data", {"data": {"source": "data/mine.csv"}})
    assert line == (
        "data.source: data/mine.csv does not exist in the temporary folder of this experiment, "
        "which has only what git or DVC tracks: `git add` or `dvc add` it, or give its absolute "
        "path"
    )


def test_a_stage_of_its_own_ends_so_too(tmp_path: Path, raw_params: dict[str, Any]) -> None:
    (tmp_path / "shift.csv").write_bytes(SHIFT)
    content = copy.deepcopy(raw_params)
    preset.merge(content, SMALL | {"data": SMALL["data"] | {"source": "shift.csv"}})
    with (tmp_path / "params.yaml").open("w") as stream:
        YAML().dump(content, stream)
    ended = subprocess.run(
        [sys.executable, "-m", "stages.prepare_data"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "shift.csv cannot be read as .csv: row 0 (line 2) has 5 fields" in _one_line(
        ended.stderr
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "shift.csv"]


def test_there_are_sixty() -> None:
    assert len(FILES) + len(PARAMS) + len(PARAMS_FILES) + len(MODELS) >= 60
