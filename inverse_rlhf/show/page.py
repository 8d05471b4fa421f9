"""Pages that open anywhere: one HTML file each, with its style, script and figures inside.

Templates lie in `templates/`. Each extends `base.html.j2` (style, script, landmarks) and imports
`pieces.html.j2` (headline figures, tables, figures, texts, words by credit, warnings, how it was
made). What is put into them is escaped; nothing is loaded from elsewhere, which the page's own
content security policy forbids too.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from inverse_rlhf.files import atomic
from inverse_rlhf.show.origin import VERSION, made_by

_TEMPLATES = Path(__file__).parent / "templates"
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_INK, _WHITE = "#1a1a1a", "#ffffff"
"""Of figures' text and lines, and of what they stand on, which follow the page's theme."""
_CITE = (
    "Please cite inverse-rlhf (CITATION.cff), and for the idea of recovering an aligned model's "
    "reward by inverse reinforcement learning: Joselowitz et al., Insights from the Inverse, arXiv "
    "2410.12491."
)
_BIBTEX = """\
@misc{inverse_rlhf,
  title  = {{inverse-rlhf}},
  author = {{the inverse-rlhf authors}},
  year   = {2026},
  note   = {Software, version VERSION}
}
@misc{joselowitz2024insights,
  title  = {Insights from the Inverse: Reconstructing {LLM} Training Goals Through Inverse
            Reinforcement Learning},
  author = {Joselowitz, Jared and Majumdar, Ritam and Jagota, Arjun and Bou, Matthieu and
            Patel, Nyal and Krishna, Satyapriya and Parbhoo, Sonali},
  year   = {2024},
  eprint = {2410.12491},
  archivePrefix = {arXiv}
}"""
STEPS = 4
"""Shades of a word's credit, in either direction."""


@dataclass(frozen=True)
class Measured:
    """A number with its 95 % interval.

    Attributes:
        name: of what it is a figure, as the page has it.
        value: the figure.
        low, high: ends of the interval; None: it has none.
        main: what the page is about, and not a control or a reference.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    main: bool = False


@dataclass(frozen=True)
class Headline:
    """A headline figure beside its controls, on one axis.

    Attributes:
        title: what is measured.
        explanation: a sentence: what a value means, which is good.
        rows: the figure, then its controls.
        chance: the value of a guess, marked on the axis; None: there is none.
        start, end: of the axis.
        digits: behind the point.
    """

    title: str
    explanation: str
    rows: Sequence[Measured]
    chance: float | None = None
    start: float = 0.0
    end: float = 1.0
    digits: int = 3

    def at(self, value: float) -> str:
        """Where a value stands on the axis, in percent of it."""
        share = (value - self.start) / (self.end - self.start)
        return f"{100 * min(max(share, 0.0), 1.0):.2f}"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: as shown.
        order: what the column is sorted by, where that is not the text; None of a number: absent,
            sorted last.
        number: align it as a number.
    """

    text: str
    order: float | None = None
    number: bool = True


@dataclass(frozen=True)
class Piece:
    """A piece of a text.

    Attributes:
        text: as it stands there.
        credit: what it adds to the reward; None: it is no word, or was not read without it.
    """

    text: str
    credit: float | None = None


@dataclass(frozen=True)
class Text:
    """A text with the credits of its words.

    Attributes:
        pieces: which together are the completion.
        prompt: what it goes on from.
        scale: the credit that has the strongest colour, in the units of the credits.
        cut: characters left out at the end.
    """

    pieces: Sequence[Piece]
    prompt: str = ""
    scale: float = 1.0
    cut: int = 0

    def shade(self, piece: Piece) -> int:
        """The shade of a piece, from -`STEPS` to `STEPS`; 0 has no colour."""
        if piece.credit is None or not self.scale > 0:
            return 0
        share = max(-1.0, min(1.0, piece.credit / self.scale))
        return round(share * STEPS)

    def extremes(self, count: int = 2) -> tuple[list[Piece], list[Piece]]:
        """The words that raise and that lower the reward most, the most first, coloured ones."""
        coloured = [piece for piece in self.pieces if self.shade(piece)]
        ranked = sorted(coloured, key=lambda piece: piece.credit or 0.0)
        raising = [piece for piece in ranked[::-1] if self.shade(piece) > 0]
        return raising[:count], [piece for piece in ranked if self.shade(piece) < 0][:count]


def number(value: float | None, digits: int = 3, *, signed: bool = False) -> str:
    """A number as pages have it: with a true minus, and a dash where it is absent or no number."""
    if value is None or value != value:  # NaN
        return "\N{EN DASH}"
    shown = f"{value:{'+' if signed else ''},.{digits}f}"
    if not any(digit in shown for digit in "123456789"):
        shown = shown.replace("-", "").replace("+", "")  # no sign where all that is shown is 0
    return shown.replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval's ends; nothing where there is none."""
    if low is None or high is None:
        return ""
    return f"{number(low, digits)} to {number(high, digits)}"


def value_cell(value: float | None, digits: int = 3, *, signed: bool = False) -> Cell:
    """A cell with a number, sorted by it."""
    return Cell(number(value, digits, signed=signed), value)


def clean(text: str) -> str:
    """A text that can stand in a page and be written as UTF-8.

    Control characters become their pictures or U+FFFD, as do halves of surrogate pairs. So do marks
    that turn the direction of text around, which could make a page say something else.
    """

    def shown(found: re.Match[str]) -> str:
        code = ord(found.group())
        return chr(0x2400 + code) if code < 0x20 else "\u2421" if code == 0x7F else "\ufffd"

    return _BIDI.sub("\ufffd", _CONTROL.sub(shown, text))


def inline_svg(svg: str, name: str, *, title: str, description: str) -> Markup:
    """An SVG to stand in a page beside others.

    Its ids and what refers to them begin with `name`; its size is the page's matter, and so are the
    colours of text, of lines and of the ground; what it would load or change elsewhere in the page
    (styles, metadata, scripts) is left out.

    Args:
        svg: as a file has it.
        name: of letters, digits and hyphens, unique within the page.
        title, description: read instead of the picture.
    """
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in list(parent):
            if _plain(child.tag) in ("style", "metadata", "script", "title", "desc"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _plain(element.tag)  # HTML knows an SVG's names without their namespace
        named = {_plain(key): value for key, value in element.attrib.items()}
        element.attrib.clear()
        element.attrib |= {key: _renamed(key, value, name) for key, value in named.items()}
        if "style" in element.attrib:
            element.set("style", _in_theme(element.tag, element.attrib["style"]))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    read = {f"{name}-title": ("title", title), f"{name}-description": ("desc", description)}
    root.attrib |= {"role": "img", "aria-labelledby": " ".join(read), "class": "drawing"}
    for position, (key, (tag, text)) in enumerate(read.items()):
        words = ElementTree.Element(tag, {"id": key})
        words.text = clean(text)
        root.insert(position, words)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _in_theme(tag: str, style: str) -> str:
    """A style in the page's colours; white text stays, since it stands on a colour of data."""
    style = style.replace(_INK, "var(--ink)")
    return style if tag == "text" else style.replace(_WHITE, "var(--paper)")


def _plain(name: str) -> str:
    """A name without its namespace."""
    return name.rpartition("}")[2]


def _renamed(key: str, value: str, name: str) -> str:
    """An attribute's value with ids that begin with `name`."""
    if key == "id":
        return f"{name}-{value}"
    if key == "href":
        return f"#{name}-{value[1:]}" if value.startswith("#") else value
    return _REFERENCE.sub(rf"url(#{name}-\1)", value)


def bibtex() -> str:
    """How to cite the software and the paper, as BibTeX; a test holds it to CITATION.cff."""
    return _BIBTEX.replace("VERSION", VERSION)


def render(template: str, **content: Any) -> str:
    """A page: the same content gives the same text.

    Args:
        template: a file of `templates/`.
        content: what the template names; each name must be there.
    """
    return clean(_environment().get_template(template).render(**content))


def write_page(path: Path | str, template: str, **content: Any) -> None:
    """Write a page as one file, whole or not at all; see `render`."""
    page = render(template, **content)
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": number, "interval": interval}
    environment.globals |= {
        "inlined": _inlined,
        "hash_of": _hash_of,
        "how_to_cite": _CITE,
        "bibtex": bibtex(),
        "version": VERSION,
        "made_by": made_by,
    }
    return environment


def _inlined(name: str) -> Markup:
    """A file of `templates/` as it is: the style or the script of a page."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def _hash_of(name: str) -> str:
    """What a content security policy allows the inlined script `name` by."""
    digest = hashlib.sha256(_inlined(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
