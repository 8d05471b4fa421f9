"""Pieces of pages: what is put in is escaped, numbers read well, drawings stand side by side."""

import re

import pytest
from markupsafe import escape
from matplotlib.figure import Figure
from ruamel.yaml import YAML

from inverse_rlhf.show import page
from inverse_rlhf.show.drawing import BLUE, INK, style, svg_text
from inverse_rlhf.show.page import (
    Cell,
    Headline,
    Measured,
    Piece,
    Text,
    bibtex,
    clean,
    inline_svg,
    number,
)
from tests.docs.pages import ROOT

SVG = (
    '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9pt" viewBox="0 0 9 9" '
    'xmlns:xlink="http://www.w3.org/1999/xlink"><style>*{color: red}</style>'
    '<metadata>made by</metadata><script>alert(1)</script><defs><clipPath id="a"><path d="M 0 0"/>'
    '</clipPath></defs><use xlink:href="#a" clip-path="url(#a)"/></svg>'
)


def rendered(body: str, **content: object) -> str:
    environment = page._environment()
    template = '{% import "pieces.html.j2" as page %}' + body
    return environment.from_string(template).render(**content)


def test_drawings_of_one_page_do_not_meet() -> None:
    one, other = (inline_svg(SVG, name, title="A <b>", description="d") for name in ("one", "two"))
    ids = re.findall(r' id="([^"]+)"', one + other)
    assert len(ids) == len(set(ids)) == 6
    assert 'href="#one-a"' in one
    assert "url(#two-a)" in other
    assert "A &lt;b&gt;" in one
    assert 'aria-labelledby="one-title one-description"' in one
    assert not re.search("<style|<script|metadata|http|width=", one)


def test_drawings_follow_the_theme_but_for_the_colours_of_data() -> None:
    with style():
        figure = Figure(figsize=(3, 2))
        axes = figure.subplots()
        axes.imshow([[0.0, 1.0]], cmap="Blues")
        axes.text(0, 0, "on dark", color="white")
        axes.text(1, 0, "on light", color="black")
        axes.plot([0, 1], [0, 0], color=BLUE)
        axes.set_title("title")
    svg = inline_svg(svg_text(figure, "a", "t"), "a", title="t", description="d")
    assert INK not in svg
    texts = dict(re.findall(r'<text [^>]*style="([^"]*)"[^>]*>([^<]+)', svg))
    texts = {text: look for look, text in texts.items()}
    assert "fill: var(--ink)" in texts["title"]
    assert "fill: #ffffff" in texts["on dark"]
    assert "var" not in texts["on light"]
    assert f"stroke: {BLUE}" in svg
    grounds = re.findall(r'<path [^>]*style="fill: ([^";]*)', svg)
    assert grounds.count("var(--paper)") == 2  # the figure's and the axes'


@pytest.mark.parametrize(
    ("value", "signed", "shown"),
    [
        (1234.5, False, "1,234.50"),
        (-0.5, False, "\N{MINUS SIGN}0.50"),
        (0.5, True, "+0.50"),
        (-0.001, True, "0.00"),
        (None, False, "\N{EN DASH}"),
        (float("nan"), False, "\N{EN DASH}"),
    ],
)
def test_numbers(value: float | None, signed: bool, shown: str) -> None:
    assert number(value, 2, signed=signed) == shown


def test_signs_that_a_page_cannot_hold() -> None:
    text = clean("a\0b\x1bc\ud800d\u202ee\x85f\n\tg")
    assert text.encode("utf-8")
    assert text == "a\u2400b\u241bc\ufffdd\ufffde\ufffdf\n\tg"


def test_what_is_put_in_is_escaped() -> None:
    bad = "<script>alert('1')</script>"
    text = Text([Piece(bad, 1.0), Piece(bad)], prompt=bad)
    cells: list[list[str | Cell]] = [[bad, Cell(bad, 1.0)]]
    html = rendered(
        '{{ page.credited(text) }}{{ page.table(bad, bad, [bad, "b"], cells) }}'
        "{{ page.warnings([bad]) }}{{ page.answer(bad, bad, bad, [bad]) }}"
        "{{ page.made(bad, {bad: bad}, {bad: bad}) }}"
        "{% call page.texts(bad) %}{{ bad }}{% endcall %}",
        text=text,
        cells=cells,
        bad=bad,
    )
    assert "<script" not in html
    assert html.count(str(escape(bad))) >= 15


def test_credits_have_a_cue_besides_colour() -> None:
    text = Text([Piece("good", 2.0), Piece(" "), Piece("so", 0.01), Piece("bad", -0.6)], scale=1.0)
    assert [text.shade(piece) for piece in text.pieces] == [4, 0, 0, -2]
    html = rendered("{{ page.credited(text) }}", text=text)
    assert '<span class="w up s4" title="+2.00">good</span>' in html
    assert '<span class="w down s2" title="\N{MINUS SIGN}0.60">bad</span>' in html
    assert "Raises: <bdi>good</bdi> +2.00. Lowers: <bdi>bad</bdi> \N{MINUS SIGN}0.60." in html
    css = str(page._inlined("page.css"))
    assert "underline solid" in css
    assert "underline wavy" in css


def test_empty_and_cut_texts_say_so() -> None:
    assert "(empty)" in rendered("{{ page.credited(text) }}", text=Text([]))
    assert "98 more characters" in rendered(
        "{{ page.credited(text) }}", text=Text([Piece("ab")], cut=98)
    )


def test_headlines_stay_on_their_axis() -> None:
    figure = Headline("t", "e", [Measured("a", 2.0, -1.0, 3.0, main=True)], 0.5, start=0.4)
    assert [figure.at(value) for value in (-1.0, 0.4, 0.7, 9.0)] == [
        "0.00",
        "0.00",
        "50.00",
        "100.00",
    ]
    html = rendered("{{ page.headline(figure) }}", figure=figure)
    assert "\N{MINUS SIGN}1.000 to 3.000" in html


def test_the_policy_allows_the_script_and_nothing_else() -> None:
    html = page._environment().get_template("base.html.j2").render()
    policy = re.search('Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1] or "default-src 'none'" in policy[1]
    assert page._hash_of("page.js")[1:-1] in policy[1].replace("&#43;", "+")
    assert "script-src 'unsafe-inline'" not in policy[1]


def test_the_bibtex_is_that_of_the_citation_file() -> None:
    citation = YAML(typ="safe").load((ROOT / "CITATION.cff").read_text("utf-8"))
    (paper,) = citation["references"]
    entries = bibtex().split("@misc{")[1:]
    fields = [
        {
            name: " ".join(value.replace("{", "").replace("}", "").split())
            for name, value in re.findall(r"^  (\w+) *= \{(.*?)\},?$", entry, re.M | re.S)
        }
        for entry in entries
    ]
    software, insights = fields
    assert software == {
        "title": citation["title"],
        "author": citation["authors"][0]["name"],
        "year": str(citation["date-released"].year),
        "note": f"Software, version {citation['version']}",
    }
    assert insights == {
        "title": paper["title"],
        "author": " and ".join(
            f"{one['family-names']}, {one['given-names']}" for one in paper["authors"]
        ),
        "year": str(paper["year"]),
        "eprint": paper["identifiers"][0]["value"].removeprefix("arXiv:"),
        "archivePrefix": "arXiv",
    }
    for entry in entries:  # braces are closed, and every field but the last has a comma
        assert entry.count("{") + 1 == entry.count("}")
        assert len(re.findall(r"\},?$", entry.strip(), re.M)) == entry.count(" = ") + 1
        assert entry.count("},\n") == entry.count(" = ") - 1
