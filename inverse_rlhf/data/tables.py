"""Comments, prompts, pairs: their tables, and the one way from pairs to completions to texts."""

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pandas as pd
import pyarrow as pa

from inverse_rlhf.errors import UserError
from inverse_rlhf.parquet import CATEGORY, read_table, table_schema

COMMENTS = table_schema(
    ("comment_id", pa.int64()),
    ("text", pa.string()),
    ("toxic", pa.int8(), True),
    ("split", CATEGORY),
)
PROMPTS = table_schema(
    ("prompt_id", pa.int64()),
    ("prompt", pa.string()),
    ("human_completion", pa.string()),
    ("toxic", pa.int8(), True),
    ("split", CATEGORY),
)
TRANSFER_PROMPTS = table_schema(("prompt_id", pa.int64()), ("prompt", pa.string()))
PAIRS = table_schema(
    ("prompt_id", pa.int64()),
    ("prompt", pa.string()),
    ("sample", pa.int32()),
    ("base_completion", pa.string()),
    ("base_ids", pa.list_(pa.int32())),
    ("base_ended", pa.bool_()),
    ("aligned_completion", pa.string()),
    ("aligned_ids", pa.list_(pa.int32())),
    ("aligned_ended", pa.bool_()),
    ("split", CATEGORY),
)
"""Completions with their tokens as they were sampled, see `sample_completions`."""
KEYS = ["split", "source", "prompt_id", "sample"]
"""Of a completion, in tables of several policies'."""

_SIDES = ("base", "aligned")


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
            with fewer samples than another, a prompt that is not in `prompts`, a completion
            without tokens.
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
    for side in _SIDES:
        empty = pairs[f"{side}_ids"].map(len) == 0
        if empty.any():
            fail(f"has no {side}_ids of prompt {pairs.loc[empty, 'prompt_id'].iloc[0]}")
    return pairs


def whole_texts(prompts: Iterable[str], completions: Iterable[str]) -> list[str]:
    """The texts that rewards read: each prompt with its completion."""
    return [prompt + text for prompt, text in zip(prompts, completions, strict=True)]


def texts_of(rows: pd.DataFrame) -> list[str]:
    """The texts of a table with the columns prompt and completion."""
    return whole_texts(rows["prompt"], rows["completion"])


def human_rows(prompts: pd.DataFrame) -> pd.DataFrame:
    """The prompts table with its human completions as completions: source human, sample 0."""
    rows = prompts.rename(columns={"human_completion": "completion"})
    return rows.assign(source="human", sample=0)


def paired(prompts: pd.DataFrame, base: pd.DataFrame, aligned: pd.DataFrame) -> pd.DataFrame:
    """The pairs table of two policies' completions of the same prompts.

    Args:
        prompts: prompt_id, prompt and split.
        base, aligned: prompt_id, sample, and columns of a completion: its text, its tokens.
    """
    keys = ["prompt_id", "sample"]
    sides = [
        side.rename(columns={column: f"{name}_{column}" for column in side if column not in keys})
        for name, side in zip(_SIDES, (base, aligned), strict=True)
    ]
    both = sides[0].merge(sides[1], on=keys, validate="one_to_one")
    return prompts.merge(both, on="prompt_id", validate="one_to_many")


def completions_of(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row for each completion of the pairs table: its columns, of those of a side its own
    (completion, ids, ended), and source.

    All base completions come first, then all aligned ones, each in the order of the pairs.
    """
    names = [str(name) for name in pairs]
    columns = {
        side: {name: name.removeprefix(f"{side}_") for name in names if name.startswith(f"{side}_")}
        for side in _SIDES
    }
    parts = []
    for source, other in (_SIDES, _SIDES[::-1]):
        part = pairs.drop(columns=list(columns[other])).rename(columns=columns[source])
        parts.append(part.assign(source=source))
    return pd.concat(parts, ignore_index=True)


def pair_rows(completions: pd.DataFrame) -> np.ndarray:
    """Row numbers of the aligned and the base completion of each pair, int64 of shape (pairs, 2).

    Args:
        completions: with the column source, in the order of `completions_of`.
    """
    rows = [np.flatnonzero(completions["source"] == source) for source in ("aligned", "base")]
    return np.stack(rows, axis=1)


def both_policies(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the two policies whose completions are paired: base and aligned."""
    return rows[rows["source"].isin(["base", "aligned"])]
