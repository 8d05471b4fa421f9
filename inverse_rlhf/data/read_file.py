"""Tables from anyone's files: what can be read in one way only, or one line that says why not."""

import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import kind_of, missing, printed, tables_in

KINDS = ".parquet, .csv, .json or .jsonl file (the last three also with .gz)"
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,9})?\s*", re.ASCII | re.IGNORECASE)
_GZIPPED = b"\x1f\x8b"
_POINTER = b"version https://git-lfs"  # what git has of a file that Git LFS keeps
_FEW = 20  # values; a column of texts has more
_SHOWN = 20  # names in a message


def read_frame(path: Path, key: str) -> pd.DataFrame:
    """The table in a file, or in the .parquet files of a folder, see `tables_in`.

    | name | content |
    |---|---|
    | .parquet | any; categories are read as their values, an index as a column, structs as objects |
    | .csv, .csv.gz | comma-separated with a header; a field is the text that it is, see `number_of`, and null where it is empty |
    | .json, .jsonl, with .gz too | an array of objects, or an object a line; a key that an object lacks is null in its row |

    Names are read in upper and lower case, texts as UTF-8 with or without a byte-order mark.

    Args:
        key: the setting that names the file, for the messages.

    Returns:
        Its rows, numbered from 0 without a CSV's header; of a folder "0 of a.parquet".

    Raises:
        UserError: a missing, empty or unreadable file, one of another kind, a CSV row with more or
            fewer fields than the header, a quoted field that holds rows, a name or key that is
            there twice; a folder without .parquet files or with others.
    """  # noqa: E501
    if os.path.isdir(path):
        return _read_folder(path, key)
    if not os.path.isfile(path):  # which says no of any name, too long or with NUL
        raise UserError(f"{key}: {missing(path)}")
    kind, name = kind_of(path), printed(path)
    if kind is None:
        raise UserError(f"{key}: {name} is not a {KINDS}, nor a folder of .parquet files")
    if path.stat().st_size == 0:
        raise UserError(f"{key}: {name} is empty")
    try:
        with path.open("rb") as stream:
            if stream.read(len(_POINTER)) == _POINTER:
                raise ValueError("it is Git LFS's pointer to the file: run `git lfs pull`")
        return _read_parquet(path) if kind == ".parquet" else _read_text(path, kind)
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{key}: {name} is not UTF-8 at byte {error.start} (line {number}, "
            f"{error.object[error.start : error.start + 1]!r}): convert the file to UTF-8"
        ) from None
    except _Empty:
        raise UserError(f"{key}: {name} is empty") from None
    except (ValueError, OSError, EOFError, RecursionError, zlib.error, pa.ArrowException) as error:
        line = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{key}: {name} cannot be read as {kind}: {line[:500]}") from None


class _Empty(Exception):
    """A file without content."""


def _read_folder(folder: Path, key: str) -> pd.DataFrame:
    paths = tables_in(folder, key)
    frames = [read_frame(path, key) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if set(frame) != set(frames[0]):
            raise UserError(
                f"{key}: {printed(path)} has the columns {named(frame)}, but "
                f"{printed(paths[0].name)} beside it has {named(frames[0])}: name a folder with "
                "files of one table"
            )
        frame.index = pd.Index([f"{row} of {printed(path.name)}" for row in frame.index])
    return pd.concat(frames)


def column_of(frame: pd.DataFrame, name: str) -> "pd.Series[Any] | None":
    """A column by its name, or by one such as `prompt.text` a key of the objects in a column.

    Returns:
        None where there is neither; of objects, null in rows that lack the key.
    """
    if name in frame:
        return frame[name]
    for outer in sorted(map(str, frame), key=len, reverse=True):
        if name.startswith(f"{outer}."):
            cells = [_within(cell, name.removeprefix(f"{outer}.")) for cell in frame[outer]]
            if any(cell is not None for cell in cells):
                return pd.Series(cells, frame.index, dtype=object, name=name)
    return None


def _within(cell: Any, name: str) -> Any:
    """What an object has at a name such as `scores.toxicity`; keys may have points, too."""
    if not isinstance(cell, dict) or name in cell:
        return cell[name] if isinstance(cell, dict) else None
    inner = (
        _within(value, name.removeprefix(f"{key}."))
        for key, value in cell.items()
        if name.startswith(f"{key}.")
    )
    return next((value for value in inner if value is not None), None)


def number_of(text: str) -> Decimal | None:
    """The number that a text is, as CSV files have them; None where it is none."""
    return Decimal(text.strip()) if _NUMBER.fullmatch(text) else None


def named_columns(frame: pd.DataFrame) -> str:
    """A table's columns as messages have them, those of objects by their keys: prompt.text."""
    names: list[str] = []
    for name, cells in frame.items():
        first = next((cell for cell in cells if cell is not None), None)
        names += [f"{name}.{key}" for key in first] if isinstance(first, dict) else [str(name)]
    return named(names)


def named(names: Iterable[Any]) -> str:
    """Names, such as a table's columns, as messages have them."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(shown, names[:_SHOWN])) + more


def shown(value: Any) -> str:
    """A value, shortened, as messages have it."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _read_parquet(path: Path) -> pd.DataFrame:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read()
    table.validate(full=True)  # texts that are no UTF-8 would be found when they are used only
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    if len(set(table.column_names)) < len(table.column_names):
        raise ValueError(f"a column is there twice among {named(table.column_names)}")
    # The index of a data frame is a column like any other: nothing vanishes into it, nor does what
    # tells large whole numbers apart where there are nulls beside them.
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    return frame


def _read_text(path: Path, kind: str) -> pd.DataFrame:
    content = path.read_bytes()
    if kind.endswith(".gz"):
        content = gzip.decompress(content)
    elif content.startswith(_GZIPPED):
        raise ValueError("it is gzipped: give it a name that ends in .gz")
    text = content.decode("utf-8-sig")
    if not text.strip():
        raise _Empty
    return _read_csv(text) if kind.startswith(".csv") else _read_json(text)


def _read_csv(text: str) -> pd.DataFrame:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"line {line} has a NUL character: it is damaged or no UTF-8: mend it")
    rows, lines = _csv_rows(text)
    header = rows[0]
    if len(header) == 1 and (other := re.search("[;\t|]", header[0])):
        raise ValueError(
            f"the header is one name, {shown(header[0])}: separate fields by commas, not by "
            f"{other[0]!r}"
        )
    for number, row in enumerate(rows[1:]):
        if len(row) != len(header):
            raise ValueError(
                f"row {number} (line {lines[number + 1]}) has {len(row)} fields, the header has "
                f"{len(header)}, and its last field is {shown(row[-1])}: put fields with "
                "commas or line breaks between double quotes"
            )
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"the header has {shown(twice[0])} twice: rename one")
    _refuse_swallowed(rows[1:], lines[1:])
    columns = list(zip(*rows[1:], strict=True)) if rows[1:] else [() for _ in header]
    for name, fields in zip(header, columns, strict=True):
        spaced = [field for field in fields if field[:1] == " " and field.lstrip()[:1] == '"']
        if 2 * len(spaced) > len(fields):
            raise ValueError(
                f"column {shown(name)} has blanks before its quotes, as in {shown(spaced[0])}, "
                "which make them part of the text: begin fields with their quotes"
            )
    return pd.DataFrame(
        {
            name: pd.Series([field or None for field in fields], dtype=object)
            for name, fields in zip(header, columns, strict=True)
        }
    )


def _csv_rows(text: str) -> tuple[list[list[str]], list[int]]:
    """Rows, the header's among them, without blank lines, and the line each begins at."""
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    started = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(started)
            started = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"row {len(rows) - 1} (line {started}): {error}: within a quoted field, write a double "
            'quote twice (""), not with a backslash'
        ) from None
    return rows, lines


def _refuse_swallowed(rows: list[list[str]], lines: list[int]) -> None:
    """Raise where a quoted field has lines that look like rows: a quote was opened by mistake.

    Of the lines of such a field the first ends a row that begins before it, the last begins one
    that ends behind it, and those between are rows. Each that has so many fields is like a row
    where what stands in columns of few values, as labels are, or of numbers is such a value or
    number. Where columns are of texts all, every line has to have so many, without blanks around
    them, which commas in prose have.
    """
    columns: list[_Column] = []
    for at, (row, started) in enumerate(zip(rows, lines, strict=True)):
        for place, field in enumerate(row):
            inner = re.split(r"\r\n|\r|\n", field) if "\n" in field or "\r" in field else []
            pieces = _pieces(inner, place, len(row))
            if not any(pieces):
                continue
            columns = columns or [_Column(cells) for cells in zip(*rows, strict=True)]
            like = [
                line
                for line, parts in zip(inner, pieces, strict=True)
                if parts and _is_like(parts, columns)
            ]
            if not like and _is_run(inner, pieces, place, columns):
                like = [line for line, parts in zip(inner, pieces, strict=True) if parts]
            if like:
                raise ValueError(
                    f"row {at} (line {started}) has a quoted field with {len(like)} lines like "
                    f"rows, the first {shown(like[0])}: close its quote, or write quotes within a "
                    "field twice; where it is meant so, give the table as .jsonl or .parquet"
                )


_Parts = dict[int, str]
"""Fields by the number of their column."""


def _pieces(inner: list[str], place: int, width: int) -> list[_Parts]:
    """The fields of each line of a field where they are as many as a swallowed row has there.

    Empty for another line, and for one that would be a single field, which tells nothing.
    """
    found: list[_Parts] = []
    for number, line in enumerate(inner):
        start = place if number == 0 else 0
        end = place + 1 if number == len(inner) - 1 else width
        may_be = end - start > 1 and line.count(",") >= end - start - 1
        parts = _parts(line) if may_be else []
        found.append(dict(enumerate(parts, start)) if parts and len(parts) == end - start else {})
    return found


def _is_like(parts: _Parts, columns: "list[_Column]") -> bool:
    found = [columns[i].has(part) for i, part in parts.items()]
    return True in found and False not in found


def _is_run(inner: list[str], pieces: list[_Parts], place: int, columns: "list[_Column]") -> bool:
    """Whether all lines are pieces of rows, and as many of them whole rows as is no chance."""
    single = {len(inner) - 1 if place == 0 else -1, 0 if place == len(columns) - 1 else -1}
    for number, (line, parts) in enumerate(zip(inner, pieces, strict=True)):
        if not parts and (number not in single or "," in line):
            return False
        for i, part in parts.items():
            if columns[i].has(part) is False or not part or part != part.strip():
                return False
    whole = sum(len(parts) == len(columns) for parts in pieces)
    return whole >= (1 if len(columns) > 2 else 2)


def _parts(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


class _Column:
    """What a CSV column holds: a few values, numbers, or anything."""

    def __init__(self, cells: Sequence[str]) -> None:
        values = set(cells) - {""}
        self.values = values if len(values) <= _FEW else set()
        numbers = pd.to_numeric(pd.Series(sorted(values), dtype=object), errors="coerce")
        self.numbers = bool(values) and not numbers.isna().any()
        self.certain = self.numbers or 2 * len(values) < len(cells)

    def has(self, field: str) -> bool | None:
        """Whether a field is like the others; None where that cannot be known."""
        if self.values:
            return (field in self.values) or (False if self.certain else None)
        if self.numbers:
            return field == field.strip() and bool(pd.notna(pd.to_numeric(field, errors="coerce")))
        return None


def _read_json(text: str) -> pd.DataFrame:
    rows = _array(text) if text.lstrip().startswith("[") else _lines(text)
    if len(rows) == 1 and isinstance(rows[0], dict) and _holds_rows(rows[0]):
        raise ValueError(_NOT_ROWS.format(named(rows[0])))
    if not rows:
        raise _Empty
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"row {i} is {shown(row)}, not an object with keys")
    # Not from the rows at once, which would turn whole numbers beside nulls into others.
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pd.DataFrame({n: pd.Series([row.get(n) for row in rows], dtype=object) for n in names})


def _array(text: str) -> list[Any]:
    rows: list[Any] = json.loads(text, object_pairs_hook=_once)
    return rows


_NOT_ROWS = (
    "it is one object with the keys {}: write one array of objects, or one object a line, each a "
    "row with its columns as keys"
)


def _holds_rows(content: dict[str, Any]) -> bool:
    """Whether an object is a table: its rows under a key, or columns of lists or by row numbers.

    Messages {role, content} are no rows.
    """
    for value in content.values():
        if isinstance(value, list) and value:
            if all(isinstance(row, dict) and "role" not in row for row in value):
                return True
        elif isinstance(value, dict) and value and all(key.isdigit() for key in value):
            return True
    sizes = {len(value) if isinstance(value, list) else None for value in content.values()}
    scalars = [cell for value in content.values() if isinstance(value, list) for cell in value]
    plain = not any(isinstance(cell, dict | list) for cell in scalars)
    return None not in sizes and len(sizes) == 1 and plain


def _lines(text: str) -> list[Any]:
    rows: list[Any] = []
    # Not splitlines(), which also cuts at line separators within JSON strings.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line, object_pairs_hook=_once))
            except json.JSONDecodeError as error:
                if not rows and (whole := _whole(text)) is not None:
                    raise ValueError(_NOT_ROWS.format(named(whole))) from None
                raise ValueError(
                    f"row {len(rows)} (line {number}) is not a JSON object: {error.msg} at "
                    f"character {error.colno}: write one object a line, or one array of objects"
                ) from None
            except ValueError as error:
                raise ValueError(f"row {len(rows)} (line {number}): {error}") from None
    return rows


def _whole(text: str) -> dict[str, Any] | None:
    """A text that is one object over several lines."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless a key is there twice: which of its values is meant cannot be known."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} is there twice in an object")
    return found
