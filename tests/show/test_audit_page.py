"""The report of an audit as a page: it says what report.md says, of any pairs."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.audit import Audited, audit
from inverse_rlhf.audit_params import load_audit_params, settings_of
from inverse_rlhf.data.given_pairs import GIVEN_PAIRS
from inverse_rlhf.evaluation.audit_credits import credits_of, material_reward
from inverse_rlhf.evaluation.verdict import beside
from inverse_rlhf.show.audit_page import write_audit_page
from inverse_rlhf.show.origin import code_digest
from tests.browser import NARROW, WIDE, Browser

MINUS = "\N{MINUS SIGN}"
WORDS = ("tree", "river", "stone", "cloud", "paper", "table", "window", "garden", "road", "market")
NASTY = [
    "",
    " \n ",
    "<script>alert(1)</script><img src=https://example.org/x.png onerror=alert(2)>",
    "</pre></details></main>\x00\x1b[31m \u202edrowssap\u202c {{ 7 * 7 }} {% raw %}",
    "\U0001f600" * 30 + " e\u0301 \u200b \ufeff",
    "word " * 20_000,
    "x" * 100_000,
]
FAST: dict[str, Any] = {"runs": 10, "null_runs": 20, "resamples": 100, "slice_pairs": 20}


def made_pairs(count: int = 80, *, end: str = "!", nasty: bool = False) -> pd.DataFrame:
    """Pairs whose aligned side ends in `end`, the base side in a full stop."""
    draw = np.random.default_rng(0)

    def text(last: str) -> str:
        return " ".join(draw.choice(WORDS, size=int(draw.integers(6, 14)))) + last

    table = pd.DataFrame(
        {
            "prompt_id": np.arange(count),
            "sample": np.zeros(count, dtype=np.int32),
            "prompt": [f"Question {number}?" for number in range(count)],
            "base_completion": [text(".") for _ in range(count)],
            "aligned_completion": [text(end) for _ in range(count)],
            "category": [("a", "b")[number % 2] for number in range(count)],
        }
    )
    for name in GIVEN_PAIRS.names[7:]:
        table[name] = np.nan
    if nasty:
        for place, odd in enumerate(NASTY * 11):
            side = ("base_completion", "aligned_completion")[place % 2]
            table.loc[place, [side, "prompt"]] = [odd, f"{place} {odd}"]
    return table


def audited(pairs: pd.DataFrame, **changed: Any) -> Audited:
    return audit(pairs, settings_of(load_audit_params(), FAST | changed, "test"))


@pytest.fixture(scope="module")
def result() -> Audited:
    return audited(made_pairs(160))


@pytest.fixture(scope="module")
def folder(result: Audited, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit")
    result.write(path, title="Audit of these")
    return path


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nasty")
    audited(made_pairs(80, nasty=True)).write(path, title="Audit of <b>odd</b> pairs {{ 7 * 7 }}")
    return path


def words_of(page: str) -> str:
    """What the page says, on one line."""
    without = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", without)).split())


def test_it_says_what_the_markdown_says(result: Audited, folder: Path) -> None:
    page = words_of((folder / "report.html").read_text())
    markdown = " ".join((folder / "report.md").read_text().split())
    report = result.report
    strength = report["strength"]
    for line in (*beside(report), *strength["why"], *report["cautions"]):
        assert " ".join(line.split()) in page
        assert " ".join(line.split()) in markdown
    assert page.count(strength["sentence"]) == 1
    assert page.count("Other things equal") == markdown.count("Other things equal") == 1
    assert report["verdict"] in markdown
    for title in ("What to be careful about", "Objectives found", "By category", "How it was made"):
        assert title in page
        assert f"## {title}" in markdown


def test_every_objective_is_there(result: Audited, folder: Path) -> None:
    page = words_of((folder / "report.html").read_text())
    found = [row for row in result.report["objectives"] if row["found"]]
    assert "exclamations" in {row["name"] for row in found}
    table, rest = page.split("Not found:", 1)
    for row in result.report["objectives"]:
        where = table.split("Objectives found")[-1] if row["found"] else rest
        assert row["name"] in where
    for row in found:
        assert f"{row['weight']:+.2f}".replace("-", MINUS) in table


def test_what_was_run_is_said(result: Audited, folder: Path) -> None:
    page = words_of((folder / "report.html").read_text())
    assert "null_runs: 20" in page
    assert result.report["files"]["the pairs as they were read"] in page
    assert all(version in page for version in result.report["versions"].values())
    assert "2410.12491" in page
    assert code_digest() in page


def test_texts_are_behind_a_click(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    closed = re.sub(r"<details class=\"texts\">.*?</details>", "", page, flags=re.DOTALL)
    assert "Question " in page
    assert "Question " not in closed
    assert page.count('<details class="texts">') == page.count('<p class="caution">') > 2


def test_the_word_that_is_rewarded_is_coloured() -> None:
    result = audited(made_pairs(160, end=" perhaps."))
    reward = material_reward(result.reward, result.measured.objectives)
    text = "tree river stone cloud paper table perhaps."
    credits = credits_of([("Why?", text)], reward, shown=1000)["Why?", text]
    assert max(credits, key=lambda position: credits[position]) == 6
    whole, without = reward.score([text, "tree river stone cloud paper table."], ["Why?"] * 2)
    assert credits[6] == pytest.approx(float(whole - without))


def test_what_would_take_long_is_not_read(result: Audited) -> None:
    reward = material_reward(result.reward, result.measured.objectives)
    texts = [("p", text) for text in ("tree river", "word " * 20_000, "stone")]
    assert list(credits_of(texts, reward, shown=1000)) == [texts[0], texts[2]]
    first = credits_of([("p", "one two three four")], reward, shown=7)
    assert list(first["p", "one two three four"]) == [0, 1]
    assert credits_of([("p", "alone")], reward, shown=99) == {("p", "alone"): {}}


def test_any_pairs(nasty: Path) -> None:
    page = (nasty / "report.html").read_text(encoding="utf-8")
    assert len(page) < 1_000_000
    for mark in ("<script>alert", "<img src=https", "<b>odd", "\x00", "\x1b", "\u202e", "7 * 7 =="):
        assert mark not in page
    assert "Audit of &lt;b&gt;odd&lt;/b&gt; pairs" in page
    assert "{{ 7 * 7 }}" in page
    assert "(empty)" in page
    assert "more characters)" in page


def test_halves_of_surrogate_pairs(result: Audited, tmp_path: Path) -> None:
    """No table can hold them, but the page can say where they were."""
    margins = result.measured.margins.astype(object)
    margins.loc[0, "aligned_completion"] = "half \ud800 of it"
    measured = replace(result.measured, margins=margins)
    write_audit_page(tmp_path / "page.html", result.report, measured, result.reward, title="\udcff")
    assert "half" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_nothing_found(tmp_path: Path) -> None:
    pairs = made_pairs(80)
    pairs["aligned_completion"] = pairs["base_completion"].sample(frac=1, random_state=0).to_numpy()
    result = audited(pairs.assign(category="one"))
    assert not [row for row in result.report["objectives"] if row["found"]]
    result.write(tmp_path, title="Audit")
    page = words_of((tmp_path / "report.html").read_text())
    assert "Nothing found. No named objective was found" in page
    assert f"cannot tell from it, exceeds {result.report['null']['critical']:.2f}." in page
    assert "By category" not in page
    assert "Examples of what was found" not in page


@pytest.mark.parametrize("width", [WIDE, NARROW])
@pytest.mark.parametrize("dark", [False, True])
def test_it_opens_anywhere(browser: Browser, folder: Path, width: int, *, dark: bool) -> None:
    with browser.open(folder / "report.html", width=width, dark=dark) as visit:
        assert visit.page.inner_text(".answer .word").startswith("Strong evidence")
        visit.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = 1")
        assert visit.page.locator(".w").count() > 0
        assert visit.overflow() == 0
        assert visit.barriers() == []
        assert visit.asked == []
        assert visit.troubles() == []


@pytest.mark.parametrize("kind", ["folder", "nasty"])
def test_paper_cuts_nothing_off(
    browser: Browser, request: pytest.FixtureRequest, kind: str
) -> None:
    path = request.getfixturevalue(kind) / "report.html"
    with browser.open(path, width=700) as visit:  # A4 and US letter within their margins
        visit.page.emulate_media(media="print")
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.beyond() == []
        assert visit.page.locator("input.numbers").count() == 1  # a switch for all texts


def test_odd_texts_run_nothing(browser: Browser, nasty: Path) -> None:
    with browser.open(nasty / "report.html", width=NARROW) as visit:
        visit.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = 1")
        assert visit.overflow() == 0
        assert visit.asked == []
        assert visit.troubles() == []


def test_objectives_sort_by_a_click(browser: Browser, folder: Path) -> None:
    with browser.open(folder / "report.html") as visit:
        table = visit.page.locator("table.sortable").first
        table.locator("thead button").nth(3).click()
        cells = table.locator("tbody tr td:nth-child(4)").all_inner_texts()
    weights = [float(cell.replace(MINUS, "-")) for cell in cells]
    assert weights == sorted(weights)
