"""Labelled comments from the embedded corpus, a local file or a hub data set."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from inverse_rlhf.data import corpus
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Data, Transfer

_READERS: dict[str, Any] = {
    ".parquet": pd.read_parquet,
    ".csv": lambda file: pd.read_csv(file, keep_default_na=False, na_values=[""]),
    ".jsonl": lambda file: pd.read_json(file, lines=True, dtype=False),
}
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
    if Path(params.source).suffix in _READERS:
        frame = _read_file(Path(params.source))
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
    frame = _read_file(path, key)
    if params.transfer_column not in frame:
        raise UserError(
            f"evaluate.transfer_column: {path} has no column {params.transfer_column!r}; "
            f"its columns are {', '.join(map(repr, frame.columns))}"
        )
    texts = frame[params.transfer_column]
    other = texts.notna() & ~texts.map(_is_text)
    _reject(other, f"{key}: {path}", params.transfer_column, "is not a text")
    texts = texts.dropna().str.strip()
    texts = texts[texts != ""].drop_duplicates().head(params.transfer_count)
    if texts.empty:
        raise UserError(f"{key}: {path} has no prompts in column {params.transfer_column!r}")
    return pd.DataFrame({"prompt_id": np.arange(len(texts)), "prompt": texts.to_numpy()})


def _read_file(path: Path, key: str = "data.source") -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{key}: {path} does not exist")
    if path.stat().st_size == 0:
        raise UserError(f"{key}: {path} is empty")
    if path.suffix not in _READERS:
        raise UserError(f"{key}: {path} is not a .parquet, .csv or .jsonl file")
    try:
        return _READERS[path.suffix](path)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{key}: {path} is not UTF-8 at byte {error.start}: convert the file to UTF-8"
        ) from None
    except (ValueError, OSError, pa.ArrowException, pd.errors.ParserError) as error:
        line = str(error).replace("\n", " ")
        raise UserError(f"{key}: {path} cannot be read as {path.suffix}: {line}") from None


def _read_hub(params: Data) -> pd.DataFrame:
    if params.revision is None:
        raise UserError(
            f"data.source: {params.source} is not 'embedded' nor a .parquet, .csv or .jsonl file; "
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
                f"data.{key}: {source} has no column {column!r}; "
                f"its columns are {', '.join(map(repr, frame.columns))}"
            )
    if frame.empty:
        raise UserError(f"data.source: {source} has no rows")
    text, label = frame[params.text_column], frame[params.label_column]
    _reject(text.isna(), where, params.text_column, "is null")
    _reject(~text.map(_is_text), where, params.text_column, "is not a text")
    _reject(text.str.strip() == "", where, params.text_column, "is empty")
    _reject(text.map(_not_unicode), where, params.text_column, "is not valid UTF-8")
    numbers = pd.to_numeric(label, errors="coerce")
    _reject(~numbers.isin([0, 1]), where, params.label_column, "is not 0 or 1")
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


def _reject(bad: "pd.Series[bool]", where: str, column: str, what: str) -> None:
    if bad.any():
        rows = bad.to_numpy().nonzero()[0]
        more = f" (and {len(rows) - 1} more rows)" if len(rows) > 1 else ""
        raise UserError(f"{where}, column {column!r}, row {rows[0]} {what}{more}: fix or drop it")


def _not_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
