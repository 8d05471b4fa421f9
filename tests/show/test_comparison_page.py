"""All audits on one page: its marks are those of the table, and it scales."""

import re
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from inverse_rlhf.evaluation.compare_audits import compared
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.show.comparison_page import write_comparison_page
from tests.browser import NARROW, WIDE, Browser


def told(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.03, "high": value + 0.03}


def report(share: float, **found: float) -> dict[str, Any]:
    """The part of audit.json that is compared; all other objectives have small weights."""
    rows = [
        {"name": name, "weight": found.get(name, 0.01), "found": name in found, "main": True}
        | {"low": -0.1, "high": 0.1, "marginal": 0.5, "less": 0.5, "with": []}
        for name in OBJECTIVES
    ]
    rows.sort(key=lambda row: -abs(row["weight"]))
    return {
        "objectives": rows,
        "discrimination": {"objectives": told(share)},
        "controls": {"shuffled": told(0.5), "length": told(0.5) | {"longer": True}},
        "agreement": {"same_side": 0.9},
        "null": {"critical": 0.2},
        "pairs": {"all": 1234, "test": 300},
    }


REPORTS = {
    "clear": report(0.9, length=1.5, hedges=-0.75),
    "<weak>": report(0.6, hedges=0.25),
    "placebo": report(0.5),
}


def written(path: Path, reports: dict[str, dict[str, Any]]) -> tuple[str, pd.DataFrame]:
    table = compared(reports)
    links = {name: f"results/{name}/report.html" for name in reports}
    write_comparison_page(path, reports, table, links)
    return path.read_text(encoding="utf-8"), table


def marks(page: str) -> dict[tuple[str, int], bool]:
    """Whether a cell of the maps is marked, by objective and column."""
    found = {}
    for row in re.findall(r"<tr><th scope=\"row\">(\w+) .*?</tr>", page, re.DOTALL):
        body = page.split(f'<tr><th scope="row">{row} ')[1].split("</tr>")[0]
        cells = re.findall(r"<td class=\"[^\"]*\"[^>]*>.*?</td>", body, re.DOTALL)
        found |= {(row, column): "found" in cell for column, cell in enumerate(cells)}
        assert all(("●" in cell) == ("found" in cell) for cell in cells)
    return found


def test_marks_are_what_was_found(tmp_path: Path) -> None:
    page, table = written(tmp_path / "page.html", REPORTS)
    order = list(REPORTS)
    expected = {
        (row["objective"], order.index(row["audit"])): bool(row["found"])
        for row in table.to_dict("records")
    }
    assert marks(page) == expected
    assert sum(expected.values()) == 3


def test_what_none_found_is_folded(tmp_path: Path) -> None:
    page, _ = written(tmp_path / "page.html", REPORTS)
    shown, folded = page.split("<details>")
    assert f"Found by no audit: {len(OBJECTIVES) - 2} objectives" in folded
    assert set(name for name, _ in marks(shown)) == {"length", "hedges"}
    page, _ = written(tmp_path / "page.html", {"placebo": REPORTS["placebo"]})
    assert "No audit found any objective." in page


def test_a_line_for_each(tmp_path: Path) -> None:
    page, _ = written(tmp_path / "page.html", REPORTS)
    text = " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
    assert "clear Strong evidence longer texts; less hedging 0.900 0.870 to 0.930 0.530 2" in text
    assert "<weak> Weak evidence more hedging 0.600" in text
    assert "placebo Nothing found 0.500" in text
    assert '<a href="results/clear/report.html">clear</a>' in page
    assert '<a href="results/&lt;weak&gt;/report.html">&lt;weak&gt;</a>' in page
    assert "<weak>" not in page


def test_an_audit_that_measured_less(tmp_path: Path) -> None:
    short = report(0.9, length=1.0)
    short["objectives"] = [row for row in short["objectives"] if row["name"] != "emoji"]
    page, _ = written(tmp_path / "page.html", {"all": REPORTS["clear"], "short": short})
    body = page.split('<tr><th scope="row">emoji ')[1].split("</tr>")[0]
    assert re.findall(r'<span class="ends">([^<]*)<', body)[-1] == "not measured"


def test_the_legend_has_the_one_scale_of_all_audits(tmp_path: Path) -> None:
    page, table = written(tmp_path / "page.html", REPORTS)
    sizes = [float(size) for size in re.findall(r"minus a\d[^<]*</span> from (\d\.\d\d)", page)]
    assert sizes == [0.02, 0.21, 0.59, 1.15]  # (k - 1/2)² / 16 of the largest weight, 1.5
    order = list(REPORTS)
    for row in table.to_dict("records"):
        body = page.split(f'<tr><th scope="row">{row["objective"]} ')[1].split("</tr>")[0]
        shades = [int(shade) for shade in re.findall(r'<td class="\w+ a(\d)', body)]
        expected = sum(abs(row["weight"]) >= size for size in sizes)
        assert shades[order.index(row["audit"])] == expected


def test_intervals_are_shown_by_a_key_and_on_paper(browser: Browser, tmp_path: Path) -> None:
    written(tmp_path / "page.html", REPORTS)
    with browser.open(tmp_path / "page.html") as visit:
        ends = visit.page.locator(".map td.found .ends").first
        assert not ends.is_visible()
        visit.page.locator("input.intervals").focus()
        visit.page.keyboard.press("Space")
        assert ends.is_visible()
        assert ends.inner_text() == "\N{MINUS SIGN}0.10 to 0.10"
        visit.page.keyboard.press("Space")
        assert not ends.is_visible()
        visit.page.emulate_media(media="print")
        assert ends.is_visible()


@pytest.mark.parametrize("times", [1, 10])
def test_paper_cuts_nothing_off(browser: Browser, tmp_path: Path, times: int) -> None:
    many = {f"{name}-{number}": one for number in range(times) for name, one in REPORTS.items()}
    page, _ = written(tmp_path / "page.html", many)
    landscape = "@page { size: landscape; }" in page
    assert landscape == (times > 1)
    width = 960 if landscape else 700  # of A4 and US letter within their margins, CSS pixels
    with browser.open(tmp_path / "page.html", width=width) as visit:
        visit.page.emulate_media(media="print")
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.beyond() == []


def test_same_bytes(tmp_path: Path) -> None:
    assert written(tmp_path / "1.html", REPORTS)[0] == written(tmp_path / "2.html", REPORTS)[0]


@pytest.mark.parametrize(("width", "dark"), [(WIDE, False), (NARROW, True)])
def test_thirty_audits(browser: Browser, tmp_path: Path, width: int, *, dark: bool) -> None:
    many = {f"{name}-{number}": one for number in range(10) for name, one in REPORTS.items()}
    page, _ = written(tmp_path / "page.html", many)
    assert len(page) < 1_000_000
    with browser.open(tmp_path / "page.html", width=width, dark=dark) as visit:
        visit.page.evaluate("document.querySelector('details').open = true")
        assert visit.page.locator(".map td.found").count() == 30
        assert visit.overflow() == 0
        assert visit.barriers() == []
        assert visit.asked == []
        assert visit.troubles() == []
