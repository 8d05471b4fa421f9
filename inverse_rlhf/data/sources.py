"""Labelled comments from the embedded corpus, a local file or a hub data set."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.data import corpus
from inverse_rlhf.data.read_file import KINDS, kind_of, named, read_frame, shown
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Data, Transfer

_EMBEDDED_SIZE = 24_000


def read_comments(params: Data, *, seed: int) -> pd.DataFrame:
    """Distinct comments of the source named by `data.source`.

    Returns:
        Columns text (str, stripped, not empty) and toxic (int8, 0 or 1), in the source's order.

    Raises:
        UserError: a missing, empty or unreadable file, an unreachable hub, a wrong column, a null,
            empty or non-UTF-8 text, a label that is not 0 or 1, or only one label present.
    """
    if params.source == "embedded":
        return _embedded(params, seed=seed)
    if kind_of(params.source) or Path(params.source).is_dir():
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
        The transfer_prompts table, `transfer_count` rows at most, none where no file is named.

    Raises:
        UserError: a missing, empty or unreadable file, a wrong column, no prompt in it, or one that
            is not a text.
    """
    if params.transfer_prompts is None:
        return pd.DataFrame({"prompt_id": [], "prompt": []}).astype({"prompt": "str"})
    key, path = "evaluate.transfer_prompts", Path(params.transfer_prompts)
    frame = read_frame(path, key)
    if params.transfer_column not in frame:
        raise UserError(
            f"evaluate.transfer_column: {path} has no column {params.transfer_column!r}; "
            f"its columns are {named(frame)}"
        )
    texts = frame[params.transfer_column]
    texts = texts.dropna()
    where = f"{key}: {path}"
    _reject(~texts.map(_is_text), where, texts, "is not a text but {}")
    _reject(texts.map(_not_unicode), where, texts, "is not valid UTF-8")
    texts = texts.str.strip()
    texts = texts[texts != ""].drop_duplicates().head(params.transfer_count)
    if texts.empty:
        raise UserError(f"{key}: {path} has no prompts in column {params.transfer_column!r}")
    return pd.DataFrame({"prompt_id": np.arange(len(texts)), "prompt": texts.to_numpy()})


def _read_hub(params: Data) -> pd.DataFrame:
    if params.revision is None:
        raise UserError(
            f"data.source: {params.source} is not 'embedded' nor a {KINDS} nor a folder; "
            "if it is a hub data set, set data.revision to a commit, tag or branch"
        )
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        data = load_dataset(params.source, revision=params.revision, split=params.hub_split)
    except (DatasetNotFoundError, ConnectionError, FileNotFoundError, ValueError, OSError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"data.source: the hub data set {params.source} at {params.revision} "
            f"cannot be loaded (no network, or a wrong id, revision or hub_split): {line}"
        ) from None
    frame: pd.DataFrame = data.to_pandas()
    return frame


def _checked(frame: pd.DataFrame, params: Data) -> pd.DataFrame:
    source, where = params.source, f"data.source: {params.source}"
    for key in ("text_column", "label_column"):
        column = getattr(params, key)
        if column not in frame.columns:
            raise UserError(
                f"data.{key}: {source} has no column {column!r}; its columns are {named(frame)}"
            )
    if frame.empty:
        raise UserError(f"data.source: {source} has no rows")
    text, label = frame[params.text_column], frame[params.label_column]
    _reject(text.isna(), where, text, "is null")
    _reject(~text.map(_is_text), where, text, "is not a text but {}")
    _reject(text.str.strip() == "", where, text, "is empty")
    _reject(text.map(_not_unicode), where, text, "is not valid UTF-8")
    numbers = pd.to_numeric(label, errors="coerce")
    _reject(~numbers.isin([0, 1]), where, label, "is not 0 or 1 but {}")
    comments = pd.DataFrame({"text": text.str.strip(), "toxic": numbers.astype("int8")})
    comments = comments.drop_duplicates("text", ignore_index=True)
    if comments["toxic"].nunique() < 2:
        raise UserError(
            f"data.label_column: every {params.label_column!r} in {source} is "
            f"{comments['toxic'].iloc[0]}, both 0 and 1 are needed"
        )
    return comments


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _reject(bad: "pd.Series[bool]", where: str, cells: "pd.Series[Any]", what: str) -> None:
    """Raise for the first bad row; in `what`, {} is its cell."""
    if bad.any():
        rows = bad.index[bad.to_numpy(bool)]
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        what = what.format(shown(cells[rows[0]]))
        raise UserError(
            f"{where}, column {cells.name!r}, row {rows[0]} {what}{more}: fix or drop it"
        )


def _not_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
