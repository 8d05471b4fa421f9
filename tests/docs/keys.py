"""What docs/files.md says of reports: their keys, and whether a key is there."""

import re
from collections.abc import Iterator
from typing import Any

from tests.docs.pages import ROOT, rows, sections

TEXT = (ROOT / "docs/files.md").read_text("utf-8")
TABLES = {name.strip("`"): rows(text)[1:] for name, text in sections(TEXT).items() if "`" in name}
"""Rows by the file that they are of."""
NAMES = {
    row[0]: re.findall(r"`(\w+)`", row[1])
    for row in rows(sections(TEXT)["Reports"])
    if row[0].isupper()
}
"""What stands for several names in keys; other words in capitals stand for anything."""
Key = tuple[str, ...]


def untold(path: str, content: Any) -> list[str]:
    """The keys of a report's content that the page has no row of."""
    patterns = [key for row in TABLES[path] for key in keys_of(row)]
    return [
        ".".join(key)
        for key, value in leaves(content)
        if not any(fits(key, value, pattern) for pattern in patterns)
    ]


def keys_of(row: list[str]) -> Iterator[Key]:
    """The keys of a row: lists have [] behind their name, and intervals ends of their own."""
    key = tuple(row[0].strip("`").replace("[]", ".[]").split("."))
    yield key
    if row[2].endswith("with interval"):
        yield from ((*key[:-1], f"{key[-1]}_{end}") for end in ("low", "high"))


def leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*key, name))
    elif isinstance(value, list) and value:
        for inner in value:
            yield from leaves(inner, (*key, "[]"))
    else:
        yield key, value


def fits(key: Key, value: Any, pattern: Key) -> bool:
    if pattern[-1] == "*":
        pattern, key = pattern[:-1], key[: len(pattern) - 1]
    if value in (None, [], {}):  # nothing is there of what would be beneath
        pattern = pattern[: len(key)]
    return len(key) == len(pattern) and all(
        name in NAMES[word] if word in NAMES else word.isupper() or name == word
        for name, word in zip(key, pattern, strict=True)
    )
