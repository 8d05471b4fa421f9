"""How figures are kept: the same bytes, ids of their own, text that stays text."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from matplotlib.figure import Figure

from inverse_rlhf.show.drawing import POLICIES, style, svg_text, write_figures


def figure() -> Figure:
    with style():
        drawn = Figure(figsize=(3, 2))
        axes = drawn.subplots()
        axes.plot([1, 2, 3], [2, 1, 3], marker="o", label="$5 < $6 & more")
        axes.bar([1], [1], hatch="//")
        axes.imshow(np.eye(2), extent=(1, 2, 1, 2))
        axes.legend()
    return drawn


def test_an_svg_says_what_it_shows_and_keeps_its_words() -> None:
    text = svg_text(figure(), "one", "Gains & <losses>")
    root = ElementTree.fromstring(text)
    assert (root.get("role"), root.get("aria-label")) == ("img", "Gains & <losses>")
    words = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert "$5 < $6 & more" in words
    assert "metadata" not in text
    assert "<style" not in text  # which would hold in all of a page
    assert text.count("font-family") == 1
    assert "data:image/png;base64," in text


def test_ids_are_referred_to_and_none_is_lost() -> None:
    text = svg_text(figure(), "one", "One")
    root = ElementTree.fromstring(text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    referred = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert len(ids) == len(set(ids))
    assert set(ids) == referred
    assert referred
    others = set(re.findall(r'id="([^"]+)"', svg_text(figure(), "two", "Two")))
    assert not others & set(ids)


def test_the_same_bytes_twice_and_nothing_of_when_or_by_what(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_figures(
            {"one": figure()}, {"one": "One"}, tmp_path / name / "png", tmp_path / name / "svg"
        )
    first, second = (
        {path.name: path.read_bytes() for path in sorted((tmp_path / name).rglob("one.*"))}
        for name in ("a", "b")
    )
    assert set(first) == {"one.png", "one.svg"}
    assert first == second
    assert b"Software" not in first["one.png"]
    assert b"date" not in first["one.svg"].lower()


def test_policies_are_told_apart_without_colour() -> None:
    for mark in ("marker", "linestyle", "hatch"):
        assert len({look[mark] for look in POLICIES.values()}) == len(POLICIES)
