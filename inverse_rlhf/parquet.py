"""Parquet tables: checked reading, atomic writing. Schemas stand beside what they describe.

Pages carry checksums, so that a damaged file is refused and never read as other numbers.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic

CATEGORY = pa.dictionary(pa.int8(), pa.string())


def table_schema(*columns: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    """A schema of (name, type) columns; a third entry allows nulls."""
    return pa.schema([pa.field(c[0], c[1], nullable=len(c) > 2) for c in columns])


def write_table(frame: pd.DataFrame, path: Path | str, schema: pa.Schema) -> None:
    """Write `frame`'s columns and `schema`'s metadata, whole or not at all."""
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    for name in schema.names:
        if not schema.field(name).nullable and table.column(name).null_count:
            raise ValueError(f"{path}: column {name} has nulls")
    with atomic(path) as temporary:
        pq.write_table(
            table.replace_schema_metadata(schema.metadata),
            temporary,
            compression="zstd",
            write_page_checksum=True,
        )


def read_table(
    path: Path | str, schema: pa.Schema, columns: list[str] | None = None
) -> pd.DataFrame:
    """Read a table, or some of its columns, after checking them against `schema`.

    Raises:
        UserError: the file is missing or unreadable, or a column is absent, of another type, or
            has nulls where the schema allows none. Another type of texts or of categories, as
            pandas writes, is cast.
    """
    columns = columns or schema.names
    try:
        metadata = pq.read_metadata(path)
        present = metadata.schema.to_arrow_schema().names
        table = pq.read_table(
            path,
            columns=[name for name in columns if name in present],
            page_checksum_verification=True,
        )
        table.validate(full=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run `dvc repro`") from None
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise UserError(
            f"{path} is not a readable Parquet file, or it is damaged: {_line(error)}"
        ) from None
    if table.num_rows != metadata.num_rows:  # pages have checksums, their index has none
        raise UserError(f"{path} is damaged: {table.num_rows} of {metadata.num_rows} rows are left")
    for name in columns:
        field = schema.field(name)
        if name not in table.column_names:
            raise UserError(
                f"{path} has no column {name}, which it has since: "
                "run the stage that writes it with `dvc repro --force --single-item STAGE`"
            )
        column = table.column(name)
        if not _plain(column.type).equals(_plain(field.type)):
            raise UserError(f"{path}: column {name} is {column.type}, it must be {field.type}")
        table = table.set_column(table.column_names.index(name), name, column.cast(field.type))
        if column.null_count and not field.nullable:
            raise UserError(f"{path}: column {name} has {column.null_count} nulls, none is allowed")
    return table.to_pandas()


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type as this project writes it: texts and categories have several, as writers choose."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(pa.int8(), _plain(kind.value_type))
    is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return pa.string() if is_text else kind


def _line(error: Exception) -> str:
    return str(error).replace("\n", " ")
