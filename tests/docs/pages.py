"""The project's pages, as their tests read them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
"""All of them, but for what is not written for readers of the project."""


def blocks(page: Path, language: str) -> Iterator[str]:
    """The content of a page's fenced blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def rows(text: str) -> list[list[str]]:
    """The cells of every table's rows, without the lines below heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [
        [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        for line in lines
    ]
    return [row for row in cells if set("".join(row)) - set("-: ")]


def sections(text: str) -> dict[str, str]:
    """A page's text by heading, of any level."""
    parts = re.split(r"^#+ (.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def as_committed(*paths: str) -> bool:
    """Whether params and reports, and what else is named, are those of the repository, and not of
    an experiment of anyone's.
    """
    command = ["git", "diff", "--quiet", "HEAD", "--", "params.yaml", "dvc.lock", "metrics", *paths]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0
