"""Outputs are whole or absent."""

import json
from pathlib import Path

import pytest

from inverse_rlhf.files import atomic, write_json


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
