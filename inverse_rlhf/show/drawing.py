"""What all figures share: style, marks that are told apart without colour, and how they are kept.

Text of an SVG stays text: smaller than outlines of letters, and a screen reader, a search and a
selection find it. It is set in the reader's own sans-serif where DejaVu Sans is missing.
"""

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure

from inverse_rlhf.files import atomic

INK = "#1a1a1a"
"""Of text and axes, and of nothing else: within a page it takes the page's colour of text."""
# Okabe and Ito's colours for the colour-blind, those that stand out from white and from black.
BLUE, RED, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#b0679b", "#7f7f7f"
POLICIES: dict[str, dict[str, Any]] = {
    "base": {"color": GREY, "marker": "o", "linestyle": ":", "hatch": ""},
    "rlhf": {"color": BLUE, "marker": "s", "linestyle": "-", "hatch": "//"},
    "rerl": {"color": RED, "marker": "^", "linestyle": "--", "hatch": ".."},
}
"""How each policy is drawn everywhere."""
_STYLE: Any = {
    "font.size": 10,
    "font.family": ["DejaVu Sans", "sans-serif"],
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "none",
    "text.parse_math": False,  # names are of anyone's choice, dollars in them too
    **dict.fromkeys(
        ["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], INK
    ),
}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
# What matplotlib asks of every element of a page, of the figure only, and the font once.
_ROOT_STYLE = "stroke-linejoin: round; stroke-linecap: butt; font-family: 'DejaVu Sans', sans-serif"
_FONT = re.compile(r"font-family: [^;]*;?\s*")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
ElementTree.register_namespace("", _SVG)


@contextmanager
def style() -> Iterator[None]:
    """Within the block figures are drawn in the house's style."""
    with mpl.rc_context(_STYLE):
        yield


def svg_text(figure: Figure, name: str, title: str, *, page: bool = True) -> str:
    """A figure as an <svg> element, of the same bytes each time.

    Args:
        name: of the figure; its ids begin with it, so that figures of other names can stand in the
            same page.
        title: what the figure shows, for those who do not see it.
        page: for within a page: without background, and with text of the page's colour. Otherwise
            on white, a file of its own.
    """
    root = ElementTree.fromstring(_written(figure, name, transparent=page))
    _thin(root)
    _own_ids(root, name)
    root.set("style", _ROOT_STYLE)
    root.set("role", "img")
    root.set("aria-label", title)
    text = ElementTree.tostring(root, encoding="unicode")
    return text.replace(INK, "currentColor") if page else text


def write_figures(figures: Mapping[str, Figure], titles: Mapping[str, str], folder: Path) -> None:
    """Write every figure as NAME.png and NAME.svg into a folder, all of them or none.

    Args:
        titles: what each figure shows, by its name.
    """
    with atomic(folder) as temporary:
        temporary.mkdir()
        for name, figure in figures.items():
            write_png(figure, temporary / f"{name}.png")
            svg = svg_text(figure, name, titles[name], page=False)
            (temporary / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, of the same bytes each time."""
    with style():
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def _written(figure: Figure, name: str, *, transparent: bool) -> bytes:
    stream = io.BytesIO()
    with style(), mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(
            stream, format="svg", transparent=transparent, metadata={"Date": None, "Creator": None}
        )
    return stream.getvalue()


def _thin(root: ElementTree.Element) -> None:
    """Without metadata, indents, the same font at every text, and digits that nobody sees."""
    for element in list(root.iter()):
        for child in list(element):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                element.remove(child)
        if element.tag != f"{{{_SVG}}}text" and not (element.text or "").strip():
            element.text = None
        element.tail = None
        for key, value in element.attrib.items():
            if key == "style":
                value = _FONT.sub("", value)
            element.set(key, _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}", value))


def _own_ids(root: ElementTree.Element, name: str) -> None:
    """Ids that are referred to begin with the figure's name; others go."""
    used = set()
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == _LINK:
                used.add(value[1:])
                del element.attrib[key]
                element.set("href", f"#{name}-{value[1:]}")
            elif "url(#" in value:
                used.update(_REFERENCE.findall(value))
                element.set(key, _REFERENCE.sub(rf"url(#{name}-\1)", value))
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{name}-{identity}")
