"""Outputs are whole or absent."""

import json
import os
from pathlib import Path

import pytest

from inverse_rlhf.files import atomic, missing, read_json, write_json


def test_outputs_are_whole_or_absent(tmp_path: Path) -> None:
    write_json({"a": 1}, tmp_path / "x.json")

    def fail() -> None:
        with atomic(tmp_path / "x.json") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json({"a": float("nan")}, tmp_path / "y.json")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_an_error_says_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="full") as caught, atomic(tmp_path / "x"):
        raise OSError("full")
    assert caught.value.__notes__ == [str(tmp_path / "x")]


def test_what_is_missing_is_said_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert missing(Path("a.csv")) == "a.csv does not exist"
    folder = tmp_path / ".dvc/tmp/exps/standalone/tmp1"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert missing(Path("/a.csv")) == "/a.csv does not exist"
    assert "`git add` or `dvc add` it, or give its absolute path" in missing(Path("a.csv"))


def test_what_is_neither_file_nor_folder_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name, what in {
        "pipe.csv": "a pipe",
        "dangling": "a link to nowhere, which leads nowhere",
        "loop": "a link to loop, which leads nowhere",
    }.items():
        assert missing(tmp_path / name) == f"{tmp_path / name} is {what}: name a file or a folder"
    assert missing(Path("/a\nb.csv")) == r"'/a\nb.csv' does not exist"


def test_what_is_no_json_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert read_json(path) == {}
    for text in ("", "{", "[1]", "3"):
        path.write_text(text)
        assert read_json(path) == {}
    write_json({"a": 1}, path)
    assert read_json(path) == {"a": 1}
