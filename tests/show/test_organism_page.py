"""The organisms' page and figure."""

import base64
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from inverse_rlhf.evaluation.namings import METHODS
from inverse_rlhf.evaluation.organism_summary import summary_of
from inverse_rlhf.files import read_json, write_json
from inverse_rlhf.organism_params import Plant
from inverse_rlhf.show.organism_figure import METHOD_NAMES, draw_organisms, found_in_nulls
from inverse_rlhf.show.organism_page import closing_lines, write_page
from tests.browser import NARROW, WIDE, Browser
from tests.organisms import audited, score

PLANTS = {
    "<longer>": Plant(kind="easy", weights={"length": 1.0}),
    "both": Plant(kind="opposed", weights={"length": 1.0, "commas": -0.5}),
    "about": Plant(
        kind="conditional",
        weights={"sentiment": 1.0},
        when={"prompt_begins": "A&B", "elsewhere": -1.0},
    ),
    "long": Plant(kind="conditional", weights={"we": 1.0}, when={"words": 25}, names={"length": 1}),
    "base": Plant(kind="null"),
    "dealt": Plant(kind="null", weights={"we": 1.0}, shuffled=True),
    "cooler": Plant(kind="null", temperature=0.5),
}
NULLS = "1 of 2 audits of the base itself, 0 of 4 audits of what differs unplanted"
DASH, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
UNITS = {"length": 1.0, "commas": 1.0, "sentiment": 1.0, "we": 1.0}


def summary_for(plants: dict[str, Plant], seeds: tuple[int, ...] = (4, 5)) -> dict[str, Any]:
    """Of audits that are right, but for plants called "about" and nulls called "base"."""
    rows, organisms = [], []
    for name, plant in plants.items():
        for seed in seeds:
            for method in METHODS:
                for pairs in (100, 3000):
                    found = int(plant.kind != "null" or (name == "base" and seed == seeds[0]))
                    right = int(name != "about")
                    row = score(
                        name,
                        plant.kind,
                        seed,
                        method=method,
                        pairs=pairs,
                        kl=None if plant.kind == "null" and not plant.weights else 0.2 * seed,
                        found=found,
                        right=right,
                        right_main=1,
                        recall=float(right),
                        named=1.0,
                        first=bool(right),
                        precision=0.5 + 0.25 * (method == "audit"),
                    )
                    rows.append(row)
            organisms.append(
                audited(
                    name,
                    seed,
                    spreads=None if plant.kind == "null" else UNITS,
                    followed={**UNITS, "commas": -0.25},
                    recovered=UNITS,
                    slices={"A&B": {"sentiment": 1.0}, "On": {"sentiment": 4.5 - seed}},
                    moved={"A&B": 0.5, "On": -0.25, "As": -0.75},
                    found=[("<b>bold</b>", 1.0, True)] if name == "both" else [],
                    distance=None if plant.kind == "null" else 0.25,
                )
            )
    return summary_of(pd.DataFrame(rows), organisms, plants)


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summary_for(PLANTS)


@pytest.fixture(scope="module")
def file(summary: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    draw_organisms(summary, PLANTS, folder / "figure.png")
    write_page(summary, PLANTS, folder / "figure.png", folder / "page.html")
    assert {path.name for path in folder.iterdir()} == {"figure.png", "page.html"}
    return folder / "page.html"


@pytest.fixture(scope="module")
def page(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def words_of(page: str) -> str:
    """What the page says, on one line."""
    without = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", without)).split())


def table_of(page: str, heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without their tags."""
    start = rf"<(?:h[23]|summary)[^>]*>{heading}"
    (part,) = re.findall(rf"{start}.*?(<table.*?</table>)", page, re.DOTALL)
    rows = re.findall(r"<tr>(.*?)</tr>", part.replace("</div><div", "</div>; <div"), re.DOTALL)
    cells = [re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in cells]


def test_the_figure_is_in_the_page_and_in_words(file: Path, page: str) -> None:
    (image,) = re.findall(r"<img [^>]*>", page)
    drawn = base64.b64encode(file.with_name("figure.png").read_bytes()).decode()
    assert f'src="data:image/png;base64,{drawn}"' in image
    assert 'alt="Three charts: ' in image


def test_sections_are_in_the_contents(page: str) -> None:
    assert page.count("<h1>") == 1
    listed = re.findall(r'<li><a href="#(\w+)">(.*?)</a>', page)
    headed = re.findall(r'<h2 id="(\w+)">(.*?)</h2>', page)
    for (name, short), (of, title) in zip(listed, headed, strict=True):
        assert name == of
        assert title.startswith(unescape(short))
    assert "None" not in page
    assert "nan" not in words_of(page).split()


def test_names_are_escaped(page: str) -> None:
    assert "&lt;longer&gt;" in page
    assert "<longer>" not in page
    assert page.count('<div class="seed">&lt;b&gt;bold&lt;/b&gt; +1.00</div>') == 2
    assert "<b>" not in page
    assert "A&amp;B" in page
    assert "A&B" not in page


def test_every_plant_has_a_row_with_what_is_planted(page: str) -> None:
    head, *rows = table_of(page, "Every organism")
    assert [row[0] for row in rows] == list(PLANTS)
    assert {row[0]: row[1] for row in rows} == {
        "<longer>": "length +1",
        "both": "length +1, commas -0.5",
        "about": "sentiment +1, in prompts that begin with A&B; elsewhere times -1",
        "long": "we +1, in 25 words or more; elsewhere times 0; named by length +1",
        "base": "nothing",
        "dealt": "we +1, dealt out at random",
        "cooler": "nothing; temperature 0.5",
    }
    assert head == ["organism", "planted", "found", "first", "named, by seed"]
    for name, _, *shares, named in rows:
        right = f"{float(name != 'about'):.2f}"
        assert shares == [right if PLANTS[name].kind != "null" else DASH] * 2
        found = "<b>bold</b> +1.00" if name == "both" else "nothing"
        assert named == f"{found}; {found}"


def test_every_organism_has_its_measures(page: str) -> None:
    head, *rows = table_of(page, "How far they moved")
    assert [row[0] for row in rows] == list(PLANTS)
    for row in rows:
        told = dict(zip(head, row, strict=True))
        untrained = row[0] in ("base", "cooler")
        assert told["KL"] == (DASH if untrained else "0.90 (0.80 to 1.00)")
        planted = PLANTS[row[0]].kind != "null"
        assert told["R²"] == ("0.50" if planted else DASH)
        assert told["STARC"] == ("0.25" if planted else DASH)


def test_kinds_nulls_methods_and_power_are_tables(page: str) -> None:
    kinds = {row[0]: row[1:] for row in table_of(page, "By kind of plant")[1:]}
    assert list(kinds) == ["easy", "opposed", "conditional", "single", "all"]
    assert kinds["all"][:2] == ["4", "0.75"]
    assert kinds["conditional"] == ["2", "0.50", "0.50", "1.00", "0.50", "0.50", "1.00"]
    head, *nulls = table_of(page, "Where no reward is planted")
    assert head[4:] == ["by t-tests of objectives", "by log-odds of words"]
    assert nulls == [
        ["base", "nothing", "2", "1", "1", "1"],
        ["dealt", "we +1, dealt out at random", "2", "0", "0", "0"],
        ["cooler", "nothing; temperature 0.5", "2", "0", "0", "0"],
    ]
    methods = table_of(page, "Beside what one would do otherwise")[1:]
    assert [row[0] for row in methods] == list(METHOD_NAMES.values())
    assert methods[0][1:] == ["0.75", "0.75", "1.00", "0.75", "1 of 2", "0 of 4"]
    ahead = "t-tests of objectives: +0.25 (0.25 to 0.25); better on 4 plants, worse on 0; p 0.12"
    assert f"<li>{ahead}" in page
    fewer = table_of(page, "With fewer pairs")[1:]
    assert [row[:2] for row in fewer] == [["100", name] for name in METHOD_NAMES.values()]
    assert fewer[0][2:] == ["0.75", "0.75", "1.00", "0.75"]
    power = table_of(page, "Power")[1:]
    assert [row[:3] for row in power] == [
        ["0.3 to 1", "100", "1"],
        ["0.3 to 1", "3,000", "1"],
        ["1 to 3", "100", "1"],
        ["1 to 3", "3,000", "1"],
    ]
    assert all(row[3] == "1.00" and row[4].endswith(" to 1.00") for row in power)


def test_ratios_and_slices_are_tables(page: str) -> None:
    # recovered 1 : 1, planted 1 : -0.5, and the policy's own 1 : -0.25
    assert table_of(page, "Weights of sums")[1:] == [
        ["both: commas", f"{MINUS}2.00", "0.50", f"{MINUS}4.00"]
    ]
    assert "within a quarter of 1: recovered over planted 0.00; the policy's own" in words_of(page)
    # in "On" the sign is turned in seed 5 alone
    (row,) = table_of(page, "Slices")[1:]
    assert row == ["about", "1 of 2", "2 of 2", "1 of 2", "0.50", f"{MINUS}0.50"]


def test_the_page_defines_its_terms(page: str) -> None:
    terms = re.findall(r"<dt>(.*?)</dt><dd>.", page)
    assert terms == ["Found", "Right", "Main", "Single", "KL", "R²", "Told apart", "STARC"]
    assert "with a third of the largest weight found or more" in page


def test_what_is_not_planted_has_no_heading(tmp_path: Path) -> None:
    plants = {name: PLANTS[name] for name in ("<longer>", "long", "base")}
    (tmp_path / "figure.png").write_bytes(b"x")
    write_page(summary_for(plants), plants, tmp_path / "figure.png", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Weights of sums" not in page
    assert "Slices" not in page
    assert "With fewer pairs" in page
    assert "Every organism" in page


def test_the_end_is_in_a_few_lines(summary: dict[str, Any]) -> None:
    assert closing_lines(summary, PLANTS) == [
        "single objectives found 1.00, first by weight 1.00",
        "of all that is found 0.75 was planted, of main objectives 1.00",
        f"nothing planted: something found in {NULLS}",
        "next: metrics/organisms.html",
    ]


def test_without_single_objectives_the_end_has_no_line_of_them(tmp_path: Path) -> None:
    plants = {name: PLANTS[name] for name in ("both", "base")}
    summary = summary_for(plants)
    lines = closing_lines(summary, plants)
    assert lines == [
        "of all that is found 1.00 was planted, of main objectives 1.00",
        "nothing planted: something found in 1 of 2 audits of the base itself",
        "next: metrics/organisms.html",
    ]
    (tmp_path / "figure.png").write_bytes(b"x")
    write_page(summary, plants, tmp_path / "figure.png", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert f"<ul>\n<li>{lines[0]}</li>\n<li>{lines[1]}</li>\n</ul>" in page
    assert "Power" not in page
    assert "None" not in page


def test_the_end_is_on_the_page(summary: dict[str, Any], page: str) -> None:
    for line in closing_lines(summary, PLANTS)[:3]:
        assert f"<li>{line}</li>" in page
    assert "medians over seeds 4, 5, " in page
    assert "of audits of 3,000 pairs each" in page


def test_a_range_is_over_seeds(summary: dict[str, Any]) -> None:
    every = summary["kinds"]["all"] | {"precision": {"median": 0.5, "min": 0.25, "max": 1.0}}
    changed = summary | {"kinds": summary["kinds"] | {"all": every}}
    assert closing_lines(changed, PLANTS)[1] == (
        "of all that is found 0.50 (0.25 to 1.00) was planted, of main objectives 1.00"
    )


def test_what_differs_unplanted_is_told_apart_from_the_base_itself(summary: dict[str, Any]) -> None:
    of_others = {"t_test": 2, "log_odds": 0}
    cooler = {"audits": 2, "with_findings": 2, "of_others": of_others}
    changed = summary | {"nulls": summary["nulls"] | {"cooler": cooler}}
    both = {"the base itself": "1 of 2", "what differs unplanted": "2 of 4"}
    assert found_in_nulls(changed, PLANTS) == both
    assert found_in_nulls(changed, PLANTS, "t_test") == both
    assert found_in_nulls(changed, PLANTS, "log_odds") == both | {
        "what differs unplanted": "0 of 4"
    }
    assert found_in_nulls({"nulls": {}}, PLANTS) == {}


# in a browser


@pytest.mark.parametrize(("width", "dark"), [(WIDE, False), (NARROW, True)])
def test_it_opens_anywhere(browser: Browser, file: Path, width: int, *, dark: bool) -> None:
    with browser.open(file, width=width, dark=dark) as visit:
        visit.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = 1")
        image = visit.page.locator("img").bounding_box()
        assert image["width"] > 600  # of three panels: it is scrolled rather than shrunk
        assert visit.overflow() == 0
        assert visit.barriers() == []
        assert visit.asked == []
        assert visit.troubles() == []


def test_paper_cuts_nothing_off(browser: Browser, file: Path) -> None:
    with browser.open(file, width=700) as visit:  # A4 and US letter within their margins
        visit.page.emulate_media(media="print")
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.beyond() == []


def test_ranges_are_sorted_by_their_median(browser: Browser, file: Path) -> None:
    with browser.open(file) as visit:
        table = visit.page.get_by_role("table", name="organisms", exact=True)
        table.get_by_role("button", name="found").click()
        column = table.locator("tbody td:nth-child(3)").all_inner_texts()
    assert column == ["0.00", *["1.00"] * 3, *[DASH] * 3]


# the figure


def test_the_figure_shows_rates(
    summary: dict[str, Any], tmp_path: Path, drawn: list[Figure]
) -> None:
    draw_organisms(summary, PLANTS, tmp_path / "figure.png")
    kinds, power, methods = drawn[0].axes
    labels = [label.get_text() for label in kinds.get_xticklabels()]
    assert labels == ["easy (1)", "opposed (1)", "conditional (2)"]
    heights = [patch.get_height() for patch in kinds.patches]
    recall, of_main, precision = [1, 1, 0.5], [1, 1, 1], [1, 1, 0.5]
    assert heights == pytest.approx(recall + of_main + precision)
    assert kinds.get_title(loc="left").splitlines()[1:] == [
        "nothing planted: something in 1 of 2 audits of the base itself",
        "nothing planted: something in 0 of 4 audits of what differs unplanted",
    ]
    curves = [curve for curve in power.containers if isinstance(curve, ErrorbarContainer)]
    assert [curve.get_label() for curve in curves] == ["0.3 to 1 nats (1)", "1 to 3 nats (1)"]
    near, far = (np.asarray(curve.lines[0].get_xydata()) for curve in curves)
    for curve in (near, far):
        np.testing.assert_allclose(curve, [[100, 1], [3000, 1]], rtol=0.04)
    assert (near[:, 0] < far[:, 0]).all()  # beside each other, not on top
    bars = [patch.get_height() for patch in methods.patches]
    assert bars == pytest.approx([0.75, 0.75, 1, 0.75] + [0.75, 0.75, 1, 0.5] * 2)
    legend = methods.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{name}: 1 of 2, 0 of 4" for name in METHOD_NAMES.values()
    ]


def test_a_file_of_the_summary_gives_the_same_page_and_figure(
    summary: dict[str, Any], tmp_path: Path
) -> None:
    """Its keys are sorted."""
    write_json(summary, tmp_path / "summary.json")
    as_read = read_json(tmp_path / "summary.json")
    for name, given in (("one", summary), ("two", as_read)):
        draw_organisms(given, PLANTS, tmp_path / f"{name}.png")
        write_page(given, PLANTS, tmp_path / f"{name}.png", tmp_path / f"{name}.html")
    assert list(as_read["methods"]) != list(summary["methods"])
    for kind in ("png", "html"):
        one, two = (tmp_path / f"{name}.{kind}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_the_figure_is_a_png_of_the_same_bytes(summary: dict[str, Any], tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        draw_organisms(summary, PLANTS, tmp_path / name)
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert content == (tmp_path / "b.png").read_bytes()
    assert b"Software" not in content
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("names", [("both", "base"), ("<longer>",), ("about", "base")])
def test_a_figure_of_few_plants(tmp_path: Path, names: tuple[str, ...]) -> None:
    """Without single ones there is no power, without nulls nothing to be found in them."""
    plants = {name: PLANTS[name] for name in names}
    draw_organisms(summary_for(plants, (4,)), plants, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_where_nothing_was_found_there_is_no_precision(tmp_path: Path) -> None:
    summary = summary_for({"<longer>": PLANTS["<longer>"]})
    for rates in (*summary["kinds"].values(), *summary["methods"].values()):
        rates |= {"precision": None, "precision_of_main": None}
    draw_organisms(summary, PLANTS, tmp_path / "figure.png")
    write_page(summary, PLANTS, tmp_path / "figure.png", tmp_path / "page.html")
    assert "None" not in (tmp_path / "page.html").read_text()
