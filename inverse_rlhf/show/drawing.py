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
"""Of text and axes."""
# Okabe and Ito's colours for the colour-blind, those that stand out from white and from black.
BLUE, RED, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#b0679b", "#7f7f7f"
POLICIES: dict[str, dict[str, Any]] = {
    "base": {"color": GREY, "marker": "o", "linestyle": ":", "hatch": ""},
    "aligned": {"color": BLUE, "marker": "s", "linestyle": "-", "hatch": "//"},
    "rerl": {"color": RED, "marker": "^", "linestyle": "--", "hatch": "xx"},
}
"""How each policy is drawn everywhere."""
KEYS = {"base": "base", "aligned": "rlhf", "rerl": "rerl"}
"""Of each policy in files of metrics."""
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
_RASTER = 150  # dots per inch of what is a picture within an SVG
_SVG = "http://www.w3.org/2000/svg"
# What matplotlib asks of every element of a page, of the figure only, and the font once.
_ROOT_STYLE = "stroke-linejoin: round; stroke-linecap: butt; font-family: 'DejaVu Sans', sans-serif"
_FONT = re.compile(r"font-family: [^;]*;?\s*")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
_REFERENCE = re.compile(r"(?:^|url\()#([^)]+)")
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


@contextmanager
def style() -> Iterator[None]:
    """Within the block figures are drawn in the house's style."""
    with mpl.rc_context(_STYLE):
        yield


def svg_text(figure: Figure, name: str, title: str) -> str:
    """A figure as an SVG on white, of the same bytes each time.

    Args:
        name: of the figure; ids differ between figures of different names.
        title: what the figure shows, for those who do not see it.
    """
    stream = io.BytesIO()
    with style(), mpl.rc_context({"svg.hashsalt": name}):
        unsigned = {"Date": None, "Creator": None}
        figure.savefig(stream, format="svg", dpi=_RASTER, metadata=unsigned)
    root = ElementTree.fromstring(stream.getvalue())
    _thin(root)
    root.set("style", _ROOT_STYLE)
    root.set("role", "img")
    root.set("aria-label", title)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def write_figures(
    figures: Mapping[str, Figure], titles: Mapping[str, str], pictures: Path, drawings: Path
) -> dict[str, str]:
    """Write every figure, all of a folder or none.

    Args:
        titles: what each figure shows, by its name.
        pictures: the folder for NAME.png.
        drawings: the folder for NAME.svg; another one, since `dvc plots` shows a folder whole.

    Returns:
        The SVGs, by name.
    """
    svgs = {name: svg_text(figure, name, titles[name]) for name, figure in figures.items()}
    with atomic(pictures) as temporary:
        temporary.mkdir()
        for name, figure in figures.items():
            write_png(figure, temporary / f"{name}.png")
    with atomic(drawings) as temporary:
        temporary.mkdir()
        for name, svg in svgs.items():
            (temporary / f"{name}.svg").write_text(svg, encoding="utf-8", newline="\n")
    return svgs


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, of the same bytes each time."""
    with style():
        figure.savefig(path, format="png", dpi=120, metadata={"Software": None})


def _thin(root: ElementTree.Element) -> None:
    """Without metadata, indents, the same font at every text, digits that nobody sees, and ids
    that nothing refers to.
    """
    used: set[str] = set()
    for element in list(root.iter()):
        for child in list(element):
            if child.tag in {f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"}:
                element.remove(child)
        if element.tag != f"{{{_SVG}}}text" and not (element.text or "").strip():
            element.text = None
        element.tail = None
        for key, value in element.attrib.items():
            if value.startswith("data:"):
                continue
            used.update(_REFERENCE.findall(value))
            value = _FONT.sub("", value) if key == "style" else value
            element.set(key, _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}", value))
    for element in root.iter():
        if element.attrib.get("id") not in used:
            element.attrib.pop("id", None)
