"""Tables from anyone's files: what can be read in one way only, or one line that says why not."""

import csv
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inverse_rlhf.errors import UserError

KINDS = ".parquet, .csv, .json or .jsonl file (the last three also with .gz)"
_KINDS = (".parquet", ".csv", ".json", ".jsonl", ".csv.gz", ".json.gz", ".jsonl.gz")
_BOOLEANS = {"true": True, "false": False}


def kind_of(path: Path | str) -> str | None:
    """The format that a file's name says, as ".csv" or ".csv.gz", none where there is none."""
    name = Path(path).name.lower()
    return next((kind for kind in _KINDS if name.endswith(kind) and name != kind), None)


def read_frame(path: Path, key: str) -> pd.DataFrame:
    """The table in a file, or in a folder's .parquet files in the order of their names.

    | name | content |
    |---|---|
    | .parquet | any; categories are read as their values, an index as a column |
    | .csv, .csv.gz | comma-separated with a header; an empty field is null; a column is of numbers or of booleans where every field that is not null is one, else of texts |
    | .json, .jsonl, with .gz too | an array of objects, or an object a line; a key that an object lacks is null in its row |

    Names are read in upper and lower case, texts as UTF-8 with or without a byte-order mark.

    Args:
        key: the setting that names the file, for the messages.

    Returns:
        Its rows, numbered from 0 without a CSV's header.

    Raises:
        UserError: a missing, empty or unreadable file, one of another kind, a CSV row with more or
            fewer fields than the header, a name or key that is there twice.
    """  # noqa: E501
    if path.is_dir():
        return _read_folder(path, key)
    if not path.is_file():
        raise UserError(f"{key}: {path} does not exist")
    kind = kind_of(path)
    if kind is None:
        raise UserError(f"{key}: {path} is not a {KINDS}, nor a folder of .parquet files")
    if path.stat().st_size == 0:
        raise UserError(f"{key}: {path} is empty")
    try:
        return _read_parquet(path) if kind == ".parquet" else _read_text(path, kind)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{key}: {path} is not UTF-8 at byte {error.start}: convert the file to UTF-8"
        ) from None
    except _Empty:
        raise UserError(f"{key}: {path} is empty") from None
    except (ValueError, OSError, EOFError, RecursionError, zlib.error, pa.ArrowException) as error:
        line = str(error).replace("\n", " ") or type(error).__name__
        raise UserError(f"{key}: {path} cannot be read as {kind}: {line}") from None


class _Empty(Exception):
    """A file without content."""


def _read_folder(folder: Path, key: str) -> pd.DataFrame:
    paths = sorted(path for path in folder.iterdir() if kind_of(path) == ".parquet")
    if not paths:
        raise UserError(f"{key}: {folder} is a folder without .parquet files")
    frames = [read_frame(path, key) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if set(frame) != set(frames[0]):
            raise UserError(
                f"{key}: {path} has the columns {named(frame)}, but {paths[0].name} beside it has "
                f"{named(frames[0])}: name a folder with files of one table"
            )
    return pd.concat(frames, ignore_index=True)


def named(names: Any) -> str:
    """Names, such as a table's columns, as messages have them."""
    return ", ".join(map(repr, names))


def shown(value: Any) -> str:
    """A value, shortened, as messages have it."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pq.ParquetFile(path).read()
    for i, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(field.type.value_type))
    if len(set(table.column_names)) < len(table.column_names):
        raise ValueError(f"a column is there twice among {named(table.column_names)}")
    # The index of a data frame is a column like any other: nothing vanishes into it.
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame


def _read_text(path: Path, kind: str) -> pd.DataFrame:
    content = path.read_bytes()
    if kind.endswith(".gz"):
        content = gzip.decompress(content)
    text = content.decode("utf-8-sig")
    if not text.strip():
        raise _Empty
    return _read_csv(text) if kind.startswith(".csv") else _read_json(text)


def _read_csv(text: str) -> pd.DataFrame:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[list[str]] = []
    started = 1
    try:
        for row in reader:
            if row and rows and len(row) != len(rows[0]):
                raise ValueError(
                    f"row {len(rows) - 1} (line {started}) has {len(row)} fields, the header has "
                    f"{len(rows[0])}, and its last field is {shown(row[-1])}: put fields with "
                    "commas or line breaks between double quotes"
                )
            if row:  # not a blank line
                rows.append(row)
            started = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"row {len(rows) - 1} (line {started}): {error}: within a quoted field, write a double "
            'quote twice (""), not with a backslash'
        ) from None
    header = rows[0]
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise ValueError(f"the header has {twice[0]!r} twice: rename one")
    columns = zip(*rows[1:], strict=True) if rows[1:] else [() for _ in header]
    return pd.DataFrame(
        {name: _typed(values) for name, values in zip(header, columns, strict=True)}
    )


def _typed(fields: tuple[str, ...]) -> pd.Series:
    """Fields as numbers or as booleans where they all are, else as texts; empty ones as null."""
    values = pd.Series([field or None for field in fields], dtype=object)
    given = values.dropna()
    if given.empty:
        return values
    if all(field.lower() in _BOOLEANS for field in given):
        return values.map(lambda v: v and _BOOLEANS[v.lower()])
    # The first field decides for almost every column of texts, without reading them all.
    if pd.isna(pd.to_numeric(given.iloc[:1], errors="coerce")).any():
        return values
    numbers = pd.to_numeric(given, errors="coerce")
    return values if numbers.isna().any() else pd.to_numeric(values)


def _read_json(text: str) -> pd.DataFrame:
    rows = _array(text) if text.lstrip().startswith("[") else _lines(text)
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


def _lines(text: str) -> list[Any]:
    rows: list[Any] = []
    # Not splitlines(), which also cuts at line separators within JSON strings.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append(json.loads(line, object_pairs_hook=_once))
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"row {len(rows)} (line {number}) is not a JSON object: {error.msg} at "
                    f"character {error.colno}: write one object a line, or one array of objects"
                ) from None
            except ValueError as error:
                raise ValueError(f"row {len(rows)} (line {number}): {error}") from None
    return rows


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, unless a key is there twice: which of its values is meant cannot be known."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} is there twice in an object")
    return found
