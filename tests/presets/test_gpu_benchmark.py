"""What is measured on a GPU runs on a CPU, of toy models."""

import re
from pathlib import Path

import pytest

from benchmarks.gpu import HEADER, LIMITS, PIPELINE, SETTINGS, Bench, measure, settings_of
from inverse_rlhf.params import load_params
from tests.presets.running import write_params


def test_every_part_has_a_row() -> None:
    rows = list(measure("tiny"))
    assert [row[1] for row in rows] == ["RLOO", "completions", "scoring", "IRL"]
    for row in rows:
        assert len(row) == len(HEADER)
        assert re.match(r"[\d,.]+ (tokens/s|texts/s|s an epoch)", row[2])
        assert float(row[-1]) >= 0


def test_a_part_that_fails_says_so_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Bench) -> list[str]:
        raise RuntimeError("CUDA error:\n no | kernel")

    for part in ("policy_training", "completions", "irl"):
        monkeypatch.setattr(Bench, part, broken)
    rows = list(measure("tiny"))
    assert [row[1] for row in rows] == ["broken", "broken", "scoring", "broken"]
    assert rows[0][2] == "RuntimeError: CUDA error: no kernel"


def test_settings_of_every_part_are_valid(tmp_path: Path) -> None:
    for name in SETTINGS:
        assert settings_of(name, tmp_path).compute.bf16
    write_params("smoke", PIPELINE, tmp_path)
    assert load_params(tmp_path / "params.yaml").base_policy.scratch.hidden_size == 512


def test_the_parts_are_over_in_twelve_minutes() -> None:
    assert sum(LIMITS.values()) <= 12 * 60
