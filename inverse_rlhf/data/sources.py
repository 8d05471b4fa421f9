"""Labelled comments from the embedded corpus, a local file or a hub data set."""

import math
import os
import re
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.data import corpus
from inverse_rlhf.data.clean import distinct, is_damaged, shows
from inverse_rlhf.data.read_file import (
    KINDS,
    column_of,
    named_columns,
    number_of,
    read_frame,
    shown,
)
from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.files import kind_of, printed
from inverse_rlhf.params import Data, Transfer

_EMBEDDED_SIZE = 24_000
_LABELS = {
    **dict.fromkeys(("true", "yes", "toxic"), 1),
    **dict.fromkeys(("false", "no", "not toxic", "non toxic", "nontoxic"), 0),
}
"""Labels that are written as texts, in lower case, with blanks for hyphens and underscores."""
_LABELS_READ = (
    "write 1, toxic, true or yes, or 0, non-toxic, false or no (of a score, 1 where it is high)"
)


def read_comments(params: Data, *, seed: int) -> pd.DataFrame:
    """Distinct comments of the source named by `data.source`.

    A label is 0 or 1, a boolean, or one of the words toxic and non-toxic, true and false, yes and
    no in any case (a list is at `_LABELS`).

    Returns:
        Columns text (str, stripped, not empty) and toxic (int8, 0 or 1; Int8 and null where
        `data.label_column` is null), in the source's order. Where prompts are given, by
        `data.prompt_column`, prompt (str, stripped, not empty) as well: the text is the prompt, a
        blank and what `data.text_column` has, and the label is of the whole.
        `attrs["facts"]` counts the rows that are left out: left_out_damaged (characters that no
        text has), left_out_invisible (nothing to be seen), left_out_contradictory (a text with both
        labels), left_out_repeated.

    Raises:
        UserError: a missing, empty or unreadable file, an unreachable hub, a wrong column, a null
            or empty text, a label that is none, or only one label present.
    """
    if params.source == "embedded":
        return _embedded(params, seed=seed)
    if kind_of(params.source) or os.path.lexists(params.source):
        frame = read_frame(Path(params.source), "data.source")
    else:
        frame = _read_hub(params)
    return _checked(frame, params)


def _embedded(params: Data, *, seed: int) -> pd.DataFrame:
    """Enough embedded comments, half of them toxic, to sample `data.toxic_share` from."""
    share = params.toxic_share or 0.5
    wanted = 2 * math.ceil((params.comments or _EMBEDDED_SIZE) * max(share, 1 - share))
    if wanted > corpus.MAX_COMMENTS:
        raise UserError(
            f"data.comments is {params.comments}, but of the embedded comments there are at most "
            f"{corpus.MAX_COMMENTS}, half of them toxic: lower it"
        )
    return corpus.generate_comments(wanted, seed=seed)


def read_transfer_prompts(params: Transfer) -> pd.DataFrame:
    """Distinct prompts of another domain, from the file named by `evaluate.transfer_prompts`.

    Returns:
        The transfer_prompts table, `transfer_count` rows at most, none where no file is named. Of a
        file `attrs["facts"]` counts the rows that are left out: left_out_transfer_invisible
        (nothing to be seen), left_out_transfer_repeated.

    Raises:
        UserError: a missing, empty or unreadable file, a wrong column, no prompt in it, or one that
            is null, no text or damaged.
    """
    if params.transfer_prompts is None:
        return pd.DataFrame({"prompt_id": [], "prompt": []}).astype({"prompt": "str"})
    key, path = "evaluate.transfer_prompts", Path(params.transfer_prompts)
    where = f"{key}: {printed(path)}"
    texts = _column(read_frame(path, key), params.transfer_column, "evaluate.transfer_column", path)
    _reject(texts.isna(), where, texts, "is null")
    _reject_non_texts(texts, where)
    _reject(texts.map(is_damaged), where, texts, "has NUL or half a character")
    texts = texts.str.strip()
    seen = texts[texts.map(shows)]
    prompts = seen.drop_duplicates()
    facts = {
        "left_out_transfer_invisible": len(texts) - len(seen),
        "left_out_transfer_repeated": len(seen) - len(prompts),
    }
    prompts = prompts.head(params.transfer_count)
    if prompts.empty:
        raise UserError(
            f"{where} has no prompts in column {params.transfer_column!r}, in whose {len(texts)} "
            "rows nothing can be seen"
        )
    table = pd.DataFrame({"prompt_id": np.arange(len(prompts)), "prompt": prompts.to_numpy()})
    table.attrs["facts"] = facts
    return table


def _read_hub(params: Data) -> pd.DataFrame:
    if params.revision is None:
        raise UserError(
            f"data.source: {printed(params.source)} is not 'embedded' nor a {KINDS} nor a folder; "
            "if it is a hub data set, set data.revision to a commit, tag or branch"
        )
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        data = load_dataset(params.source, revision=params.revision, split=params.hub_split)
    except (DatasetsError, ValueError, OSError) as error:
        raise UserError(
            f"data.source: the hub data set {printed(params.source)} at {params.revision} "
            "cannot be loaded (no network, or a wrong id, revision or hub_split): "
            f"{first_line(error)}"
        ) from None
    frame: pd.DataFrame = data.to_pandas()
    return frame


def _checked(frame: pd.DataFrame, params: Data) -> pd.DataFrame:
    source, where = params.source, f"data.source: {printed(params.source)}"
    text = _column(frame, params.text_column, "data.text_column", source)
    if frame.empty:
        raise UserError(f"{where} has no rows")
    text = _filled(text, where)
    parts = {"text": text}
    if params.prompt_column is not None:
        column = _column(frame, params.prompt_column, "data.prompt_column", source)
        prompt = _filled(column, where)
        if (again := sum(map(str.startswith, text, prompt))) > len(text) / 2:
            raise UserError(
                f"data.text_column: {again} of {len(text)} {params.text_column!r} in "
                f"{printed(source)} begin with their {params.prompt_column!r}, which would stand "
                "there twice: name the column of what follows it, or set data.prompt_column to null"
            )
        parts = {"text": prompt + " " + text, "prompt": prompt}
        text = parts["text"]
    if params.label_column is None:
        labels = pd.Series(pd.NA, frame.index, dtype="Int8")
    else:
        labels = _labels(_column(frame, params.label_column, "data.label_column", source), where)
    damaged = text.map(is_damaged)
    invisible = ~damaged & ~text.map(shows)
    kept = ~(damaged | invisible)
    comments = pd.DataFrame(parts | {"toxic": labels})[kept]
    comments, counts = distinct(comments)
    comments.attrs["facts"] = {
        "left_out_damaged": int(damaged.sum()),
        "left_out_invisible": int(invisible.sum()),
        **counts,
    }
    if comments.empty:
        raise UserError(
            f"{where} has {len(frame)} rows and none is left: {damaged.sum()} have NUL or half "
            f"characters, in {invisible.sum()} nothing can be seen, and "
            f"{counts['left_out_contradictory']} have a text with both labels"
        )
    if params.label_column is not None and comments["toxic"].nunique() < 2:
        raise UserError(
            f"data.label_column: every {params.label_column!r} in {printed(source)} is "
            f"{comments['toxic'].iloc[0]}, both 0 and 1 are needed"
        )
    return comments


def _column(frame: pd.DataFrame, name: str, key: str, source: Path | str) -> "pd.Series[Any]":
    found = column_of(frame, name)
    if found is None:
        raise UserError(
            f"{key}: {printed(source)} has no column {name!r}; "
            f"its columns are {named_columns(frame)}"
        )
    return found


def _filled(cells: "pd.Series[Any]", where: str) -> "pd.Series[Any]":
    """The cells stripped, each of which must be a text with something in it."""
    _reject(cells.isna(), where, cells, "is null")
    _reject_non_texts(cells, where)
    stripped = cells.str.strip()
    _reject(stripped == "", where, cells, "is empty")
    return stripped


def _labels(cells: "pd.Series[Any]", where: str) -> "pd.Series[int]":
    _reject(cells.isna(), where, cells, "is null")
    labels = cells.map(_label)
    _reject(labels.isna(), where, cells, "is not 0 or 1 but {}", _LABELS_READ)
    return labels.astype("int8")


def _label(cell: Any) -> float:
    """0 or 1; not a number where it is no label."""
    if isinstance(cell, str):
        word = re.sub(r"[\s_-]+", " ", cell.strip().lower())
        cell = _LABELS.get(word, number_of(cell))
    is_number = isinstance(cell, Real | np.bool_ | Decimal)
    return float(cell) if is_number and cell in (0, 1) else math.nan


def _reject_non_texts(texts: "pd.Series[Any]", where: str) -> None:
    objects = texts.map(lambda cell: isinstance(cell, dict))
    advice = f"name the key that has it, as in {texts.name}.text"
    _reject(objects, where, texts, "is not a text but {}", advice)
    _reject(~texts.map(lambda cell: isinstance(cell, str)), where, texts, "is not a text but {}")


def _reject(
    bad: "pd.Series[bool]",
    where: str,
    cells: "pd.Series[Any]",
    what: str,
    advice: str = "fix or drop it",
) -> None:
    """Raise for the first bad row; in `what`, {} is its cell."""
    if bad.any():
        rows = bad.index[bad.to_numpy(bool)]
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        what = what.format(shown(cells[rows[0]]))
        raise UserError(f"{where}, column {cells.name!r}, row {rows[0]} {what}{more}: {advice}")
