"""The pipeline's Parquet tables: their schemas, checked reading, atomic writing."""

from pathlib import Path
from typing import NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic

_CATEGORY = pa.dictionary(pa.int8(), pa.string())


def _schema(*columns: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(c[0], c[1], nullable=len(c) > 2) for c in columns])


COMMENTS = _schema(
    ("comment_id", pa.int64()),
    ("text", pa.string()),
    ("toxic", pa.int8(), True),
    ("split", _CATEGORY),
)
PROMPTS = _schema(
    ("prompt_id", pa.int64()),
    ("prompt", pa.string()),
    ("human_completion", pa.string()),
    ("toxic", pa.int8(), True),
    ("split", _CATEGORY),
)
PAIRS = _schema(
    ("prompt_id", pa.int64()),
    ("prompt", pa.string()),
    ("sample", pa.int32()),
    ("base_completion", pa.string()),
    ("aligned_completion", pa.string()),
    ("split", _CATEGORY),
)
IRL_RUNS = _schema(
    ("kind", _CATEGORY),
    ("run", pa.int32()),
    ("epoch", pa.int32()),
    ("loss", pa.float64()),
    ("valid_discrimination", pa.float64()),
    ("selected", pa.bool_()),
    ("mean", pa.float64(), True),
    ("std", pa.float64(), True),
    ("threshold", pa.float64(), True),
    ("threshold_otsu", pa.float64(), True),
    ("threshold_mixture", pa.float64(), True),
    ("threshold_median", pa.float64(), True),
    ("threshold_midpoint", pa.float64(), True),
    ("threshold_positive_unlabelled", pa.float64(), True),
    ("threshold_human_median", pa.float64(), True),
)
IRL_SCORES = _schema(
    ("kind", _CATEGORY),
    ("run", pa.int32()),
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("source", _CATEGORY),
    ("split", _CATEGORY),
    ("irl_reward", pa.float32()),
)
OUTLIERS = _schema(
    ("kind", _CATEGORY),
    ("prompt_id", pa.int64(), True),
    ("sample", pa.int32(), True),
    ("text", pa.string()),
    ("distance", pa.float64()),
    ("flagged", pa.bool_()),
)
SCORES = _schema(
    ("prompt_id", pa.int64()),
    ("prompt", pa.string()),
    ("completion", pa.string()),
    ("sample", pa.int32()),
    ("source", _CATEGORY),
    ("toxic", pa.int8(), True),
    ("toxicity", pa.float32(), True),
    ("true_reward", pa.float32(), True),
    ("irl_reward", pa.float32()),
    ("irl_ensemble", pa.float32(), True),
    ("irl_std", pa.float32(), True),
)
RUN_CORRELATIONS = _schema(
    ("run", pa.int32()), ("other_run", pa.int32()), ("spearman", pa.float64(), True)
)
TOKEN_CREDITS = _schema(
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("source", _CATEGORY),
    ("position", pa.int32()),
    ("token", pa.string()),
    ("reward", pa.float32()),
    ("credit", pa.float32()),
)
NGRAMS = _schema(("ngram", pa.string()), ("weight", pa.float64()), ("texts", pa.int64()))
DISAGREEMENTS = _schema(
    ("kind", _CATEGORY),
    ("disagreement", pa.float64()),
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("source", _CATEGORY),
    ("prompt", pa.string()),
    ("completion", pa.string()),
    ("true_reward", pa.float32(), True),
    ("irl_reward", pa.float32()),
    ("irl_std", pa.float32(), True),
)


def write_table(frame: pd.DataFrame, path: Path | str, schema: pa.Schema) -> None:
    """Write `frame`'s columns as `schema` has them, whole or not at all."""
    table = pa.Table.from_pandas(frame, schema=schema, preserve_index=False)
    for name in schema.names:
        if not schema.field(name).nullable and table.column(name).null_count:
            raise ValueError(f"{path}: column {name} has nulls")
    with atomic(path) as temporary:
        pq.write_table(table.replace_schema_metadata(None), temporary, compression="zstd")


def read_table(
    path: Path | str, schema: pa.Schema, columns: list[str] | None = None
) -> pd.DataFrame:
    """Read a table, or some of its columns, after checking them against `schema`.

    Raises:
        UserError: the file is missing or unreadable, or a column is absent, of another type, or
            has nulls where the schema allows none.
    """
    columns = columns or schema.names
    try:
        present = pq.read_schema(path).names
        table = pq.read_table(path, columns=[name for name in columns if name in present])
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run `dvc repro`") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {_line(error)}") from None
    for name in columns:
        field = schema.field(name)
        if name not in table.column_names:
            raise UserError(f"{path} has no column {name}: delete the file and run `dvc repro`")
        column = table.column(name)
        if not column.type.equals(field.type):
            raise UserError(f"{path}: column {name} is {column.type}, it must be {field.type}")
        if column.null_count and not field.nullable:
            raise UserError(f"{path}: column {name} has {column.null_count} nulls, none is allowed")
    return table.to_pandas()


def _line(error: Exception) -> str:
    return str(error).replace("\n", " ")


def read_prompts(path: Path | str, *splits: str) -> pd.DataFrame:
    """The prompts of some splits, without their labels: prompt_id, prompt, human_completion, split.

    Labels are for `evaluate` alone.
    """
    columns = ["prompt_id", "prompt", "human_completion", "split"]
    prompts = read_table(path, PROMPTS, columns)
    return prompts[prompts["split"].isin(splits)].reset_index(drop=True)


def read_pairs(path: Path | str, prompts: pd.DataFrame) -> pd.DataFrame:
    """The pairs table, after checking that its pairs can be compared prompt by prompt.

    Args:
        prompts: with the prompt_id of every pair.

    Raises:
        UserError: see `read_table`; or a split without pairs, a pair that is there twice, a prompt
            with fewer samples than another, a prompt that is not in `prompts`.
    """
    pairs = read_table(path, PAIRS)

    def fail(what: str) -> NoReturn:
        raise UserError(f"{path} {what}: run `dvc repro`")

    for split in ("irl", "valid", "test"):
        if not (pairs["split"] == split).any():
            fail(f"has no pairs in split {split}")
    twice = pairs.duplicated(["prompt_id", "sample"])
    if twice.any():
        row = pairs[twice].iloc[0]
        fail(f"has sample {row['sample']} of prompt {row['prompt_id']} twice")
    samples = pairs.groupby("prompt_id").size()
    if samples.nunique() > 1:
        fail(f"has {samples.max()} samples a prompt, but {samples.min()} of {samples.idxmin()}")
    unknown = pairs.loc[~pairs["prompt_id"].isin(prompts["prompt_id"]), "prompt_id"]
    if len(unknown):
        fail(f"has prompt {unknown.iloc[0]}, which the prompts table has not")
    return pairs


def completions_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row for each completion of the pairs table: its columns, with completion and source.

    All base completions come first, then all aligned ones, each in the order of the pairs.
    """
    return pd.concat(
        [
            pairs.drop(columns=f"{other}_completion")
            .rename(columns={f"{source}_completion": "completion"})
            .assign(source=source)
            for source, other in (("base", "aligned"), ("aligned", "base"))
        ],
        ignore_index=True,
    )
