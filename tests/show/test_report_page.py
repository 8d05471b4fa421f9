"""The report in Chromium with the network cut: read, sorted, opened, printed, by anyone."""

import re
from pathlib import Path

import pytest

from inverse_rlhf.params import Params
from inverse_rlhf.rewards.card import RewardCard
from tests.browser import NARROW, WIDE, Browser
from tests.show.reports import results, written


@pytest.fixture(scope="module")
def report(params: Params, card: RewardCard, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "pairs.parquet").write_bytes(b"pairs")
    written(results(params.model_dump(), card), folder / "report.html", folder / "pairs.parquet")
    return folder / "report.html"


# axe takes a second or more a page: each width and each of light and dark once.
@pytest.mark.parametrize(
    ("width", "dark"), [(WIDE, False), (NARROW, True)], ids=["wide and light", "narrow and dark"]
)
def test_nobody_is_barred(report: Path, browser: Browser, width: int, dark: bool) -> None:
    with browser.open(report, width=width, dark=dark) as visit:
        assert visit.overflow() == 0
        assert visit.seconds() < 2
        visit.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        assert visit.overflow() == 0
        wide = visit.page.locator(".broad .drawing").first.bounding_box()
        assert wide["width"] > 600  # of two panels or more: it is scrolled rather than shrunk
        assert visit.barriers() == []
        assert (visit.troubles(), visit.asked) == ([], [])


def test_tables_are_sorted_by_keyboard(report: Path, browser: Browser) -> None:
    with browser.open(report) as visit:
        table = visit.page.locator("table.sortable", has_text="control: length")
        head = table.locator("thead th").nth(1)
        values = "rows => rows.map(row => Number(row.cells[1].dataset.order))"

        def column() -> list[float]:
            read: list[float] = table.locator("tbody tr").evaluate_all(values)
            return read

        head.locator("button").focus()
        for key, direction in (("Enter", "ascending"), ("Space", "descending")):
            visit.page.keyboard.press(key)
            assert head.get_attribute("aria-sort") == direction
            assert column() == sorted(column(), reverse=direction == "descending")
        table.locator("thead th button").first.click()
        assert head.get_attribute("aria-sort") is None
        assert not visit.troubles()


def test_texts_open_by_keyboard_and_have_a_warning(report: Path, browser: Browser) -> None:
    with browser.open(report) as visit:
        texts = visit.page.locator("details.texts").nth(1)
        assert not texts.locator(".text").first.is_visible()
        texts.locator("summary").focus()
        visit.page.keyboard.press("Enter")
        assert texts.locator(".text").first.is_visible()
        assert re.search("may be toxic", texts.locator(".caution").inner_text())


def test_print_has_what_is_closed(report: Path, browser: Browser) -> None:
    with browser.open(report) as visit:
        closed = "document.querySelectorAll('details:not([open])').length"
        before = visit.page.evaluate(closed)
        assert before > 5
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.page.evaluate(closed) == 0
        visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert visit.page.evaluate(closed) == before


def test_print_is_dark_on_white(report: Path, browser: Browser) -> None:
    with browser.open(report, dark=True) as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        for place in ("body", ".answer .word", ".caution", ".headline th"):
            style = f"getComputedStyle(document.querySelector('{place}'))"
            colour = re.findall(r"[\d.]+", visit.page.evaluate(f"{style}.color"))
            assert max(map(float, colour[:3])) < 160, place


def test_the_first_stop_leads_to_the_content(report: Path, browser: Browser) -> None:
    with browser.open(report) as visit:
        visit.page.keyboard.press("Tab")
        visit.page.keyboard.press("Enter")
        assert visit.page.evaluate("document.activeElement.id") == "main"


def test_the_words_numbers_are_shown_by_a_key_and_on_paper(report: Path, browser: Browser) -> None:
    with browser.open(report) as visit:
        visit.page.evaluate("for (const d of document.querySelectorAll('details')) d.open = true")
        number = """() => {
            const word = document.querySelector('.text .w');
            const after = getComputedStyle(word, '::after');
            return [after.display, after.content, word.title];
        }"""
        display, _, title = visit.page.evaluate(number)
        assert display == "none"
        visit.page.locator("input.numbers").focus()
        visit.page.keyboard.press("Space")
        display, content, _ = visit.page.evaluate(number)
        assert display == "inline-block"
        assert title in content
        assert re.fullmatch("[+\N{MINUS SIGN}]\\d+\\.\\d\\d", title)
        visit.page.keyboard.press("Space")
        assert visit.page.evaluate(number)[0] == "none"
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate(number)[0] == "inline-block"


def test_paper_cuts_nothing_off(report: Path, browser: Browser) -> None:
    with browser.open(report, width=700) as visit:  # A4 and US letter within their margins
        visit.page.emulate_media(media="print")
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.beyond() == []
