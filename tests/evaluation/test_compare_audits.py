import json
from pathlib import Path
from typing import Any

import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.compare_audits import compared, read_reports, summary_of


def report(told: float, **weights: tuple[float, bool]) -> dict[str, Any]:
    """The part of audit.json that is compared, the objectives by the size of their weight."""
    rows = [
        {"name": name, "weight": weight, "low": weight - 0.1, "high": weight + 0.1, "found": found}
        | {"marginal": 0.5, "less": 0.5, "with": []}
        for name, (weight, found) in weights.items()
    ]
    rows.sort(key=lambda row: -abs(row["weight"]))
    return {"objectives": rows, "discrimination": {"objectives": {"value": told}}}


@pytest.fixture
def reports() -> dict[str, dict[str, Any]]:
    return {
        "second": report(
            0.9, commas=(0.2, True), length=(-0.9, False), emoji=(0.1, False), code=(0.3, False)
        ),
        "first": report(
            0.6, commas=(0.1, False), length=(0.5, True), emoji=(-0.7, True), code=(-1.0, False)
        ),
    }


def test_what_is_found_anywhere_comes_first(reports: dict[str, dict[str, Any]]) -> None:
    """By the largest weight that is found: that of length counts with .5, not with .9."""
    table = compared(reports)
    assert table["objective"].tolist() == [
        *("emoji", "emoji", "length", "length", "commas", "commas", "code", "code"),
    ]
    assert table["audit"].tolist() == ["second", "first"] * 4
    assert table.columns.tolist() == ["objective", "audit", "weight", "low", "high", "found"]
    assert table.iloc[1].tolist() == ["emoji", "first", -0.7, pytest.approx(-0.8), -0.6, True]
    assert table.index.tolist() == list(range(8))


def test_what_is_found_nowhere_stands_by_its_largest_weight() -> None:
    table = compared(
        {
            "one": report(0.5, commas=(0.1, False), emoji=(0.3, False), code=(-0.2, False)),
            "two": report(0.5, commas=(-0.4, False), emoji=(0.29, False), code=(0.1, False)),
        }
    )
    assert table["objective"].drop_duplicates().tolist() == ["commas", "emoji", "code"]


def test_one_audit_alone() -> None:
    table = compared({"one": report(0.5, commas=(0.1, False), emoji=(0.3, False))})
    assert table["objective"].tolist() == ["emoji", "commas"]


def test_headline_numbers(reports: dict[str, dict[str, Any]]) -> None:
    assert summary_of(reports) == {
        "second": {"discrimination": 0.9, "found": 1},
        "first": {"discrimination": 0.6, "found": 2},
    }
    assert json.dumps(summary_of(reports))


def test_reports_are_read_in_the_order_of_the_audits(tmp_path: Path) -> None:
    for name in ("a", "b", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "audit.json").write_text(json.dumps({"name": name}))
    assert read_reports(tmp_path, ["b", "a"]) == {"b": {"name": "b"}, "a": {"name": "a"}}
    assert list(read_reports(tmp_path, ["b", "a"])) == ["b", "a"]


@pytest.mark.parametrize("content", [None, b'{"half": ', b"\xff\xfe"])
def test_a_report_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "mine").mkdir()
    if content is not None:
        (tmp_path / "mine" / "audit.json").write_bytes(content)
    with pytest.raises(UserError, match=r"mine/audit\.json cannot be read.*dvc repro") as caught:
        read_reports(tmp_path, ["mine"])
    assert "\n" not in str(caught.value)
