"""What is measured on a GPU runs on a CPU, of toy models."""

import re

import pytest

from benchmarks.gpu import HEADER, LIMITS, Bench, measure


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

    for part in ("policy_training", "scoring", "irl"):
        monkeypatch.setattr(Bench, part, broken)
    rows = list(measure("tiny"))
    assert [row[1] for row in rows] == ["broken", "completions", "broken", "broken"]
    assert rows[0][2] == "RuntimeError: CUDA error: no kernel"


def test_the_parts_are_over_in_twelve_minutes() -> None:
    assert sum(LIMITS.values()) <= 12 * 60
