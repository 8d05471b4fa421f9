"""One of the files that an audit is given: its columns by role, its cells read or refused."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import pandas as pd

from inverse_rlhf.data.clean import is_unicode
from inverse_rlhf.data.dialogues import UnreadableError, is_null, messages_of, prompt_text
from inverse_rlhf.data.read_file import (
    column_of,
    named,
    named_columns,
    number_of,
    read_frame,
    shown,
)
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import printed

SPLITS = ("irl", "valid", "test")
Value = TypeVar("Value")


def setting(role: str) -> str:
    """What names the column of a role: a param, or an option of the command."""
    return f"columns.{role} (--column {role}=NAME)"


@dataclass(frozen=True)
class GivenFile:
    """A table, where it is from, and what its user says of it.

    Attributes:
        key: the setting that names the file.
        frame: rows by their number in the file.
        columns: names by role, as far as they are given.
        facts: counts of rows that were left out, to be filled.
    """

    key: str
    path: Path
    frame: pd.DataFrame
    columns: Mapping[str, str]
    facts: dict[str, int] = field(default_factory=dict)

    def fail(self, what: str) -> NoReturn:
        """Raise what is wrong with the file."""
        raise UserError(f"{self.key}: {printed(self.path)} {what}")

    def check_splits(self, table: pd.DataFrame) -> None:
        """Refuse a prompt that is in two splits, where the file's table has the column split."""
        if "split" not in table:
            return
        splits = table.groupby("prompt", sort=False)["split"].unique()
        several = splits[splits.map(len) > 1]
        if len(several):
            self.fail(
                f"has the prompt {shown(several.index[0])} in the splits "
                f"{named(several.iloc[0])}: put all its rows in one"
            )

    def find(self, role: str, names: Sequence[str]) -> str | None:
        """The column of a role: the one that the user names, or one of the usual names."""
        if role in self.columns:
            name = self.columns[role]
            if name not in self.frame:
                self.fail(
                    f"has no column {name!r}, which columns.{role} names; "
                    f"its columns are {named_columns(self.frame)}"
                )
            return name
        # Two roles have one column only where the user says so.
        found = [n for n in names if n in self.frame and n not in self.columns.values()]
        if len(found) > 1:
            self.fail(f"has the columns {named(found)}: set {setting(role)} to the one that counts")
        return found[0] if found else None

    def need(self, role: str, names: Sequence[str], what: str) -> str:
        """The column of a role that has to be there."""
        found = self.find(role, names)
        if found is None:
            self.fail(
                f"has no column of {what} ({', '.join(names)}); its columns are "
                f"{named(self.frame)}: set {setting(role)} to the one that is meant"
            )
        return found

    def read(self, column: str, read: Callable[..., Value], *more: Sequence[Any]) -> list[Value]:
        """The cells of a column by `read`, each with its entries of `more`.

        Raises:
            UserError: names the first row whose cell `read` says is unreadable, and how many are.
        """
        values: list[Value] = []
        bad: list[tuple[Any, UnreadableError]] = []
        for row, *cells in zip(self.frame.index, self.frame[column], *more, strict=True):
            try:
                values.append(read(*cells))
            except UnreadableError as error:
                bad.append((row, error))
        if bad:
            rows = len({row for row, _ in bad})
            others = f" (and {rows - 1} more rows)" if rows > 1 else ""
            raise UserError(
                f"{self.key}: {printed(self.path)}, column {column!r}, row {bad[0][0]} "
                f"{bad[0][1]}{others}: fix or drop it"
            )
        return values


def open_given(path: Path, key: str, columns: Mapping[str, str]) -> GivenFile:
    """A file's rows, of the splits irl, valid and test where it has those.

    What `columns` names may be a key of a column's objects, such as prompt.text.

    Raises:
        UserError: see `read_frame`; or no rows, or irl beside no valid or no test.
    """
    frame = read_frame(path, key)
    for name in columns.values():
        cells = column_of(frame, name)
        if cells is not None:
            frame[name] = cells
    given = GivenFile(key, path, frame, columns)
    if frame.empty:
        given.fail("has no rows")
    if "split" not in frame:
        return given
    found = {value for value in frame["split"] if isinstance(value, str)}
    like = {value: value.strip().lower() for value in found}
    has_irl = "irl" in like.values()
    for row, value in frame["split"].items():
        # Somebody else's may be numbers, as folds are.
        none = isinstance(value, Real) and not has_irl
        if not isinstance(value, str) and not is_null(value) and not none:
            given.fail(
                f"has the split {shown(value)} in row {row}: write irl, valid or test, or drop "
                "the column 'split'"
            )
        if has_irl and value not in SPLITS and like.get(value) in SPLITS:
            given.fail(f"has the split {shown(value)} in row {row}: write {like[value]}")
    if "irl" not in found:
        # "train" and "test", say: shares of somebody else's, for something else.
        return GivenFile(key, path, frame.drop(columns="split"), columns)
    missing = [name for name in SPLITS if name not in found]
    if missing:
        given.fail(
            f"has the splits {named(sorted(found))} in column 'split', but not {named(missing)}: "
            "add them, or drop the column"
        )
    ours = frame["split"].isin(SPLITS)
    left_out = {"left_out_rows": int((~ours).sum())}
    return GivenFile(key, path, frame[ours], columns, left_out)


def number(cell: Any) -> float:
    """A score, also one that a text writes; not a number where there is none."""
    if is_null(cell):
        return math.nan
    value = number_of(cell) if isinstance(cell, str) else cell
    try:
        found = float(value) if isinstance(value, Real | Decimal) else math.nan
    except OverflowError:
        found = math.inf
    if isinstance(value, bool) or not math.isfinite(found):
        raise UnreadableError(f"is {shown(cell)}, not a finite number")
    return found


def category(cell: Any) -> str | None:
    """A category's name; whole numbers are names, too."""
    if is_null(cell):
        return None
    if isinstance(cell, str):
        if not is_unicode(cell):
            raise UnreadableError("is not valid UTF-8")
        return cell
    is_number = isinstance(cell, Real | Decimal) and not isinstance(cell, bool)
    # A fraction of 53 bits may stand for several whole numbers beyond them.
    exact = is_number and (isinstance(cell, Integral | Decimal) or abs(cell) < 2**53)
    if not exact or cell != int(cell):
        raise UnreadableError(f"is {shown(cell)}, not a category's name")
    return str(int(cell))


def is_samples(given: GivenFile) -> bool:
    """Whether these are lm-eval's samples, and the user names no columns of theirs."""
    return {"arguments", "resps"} <= set(given.frame) and not {
        "prompt",
        "base",
        "aligned",
    } & set(given.columns)


def samples_as_answers(given: GivenFile) -> GivenFile:
    """lm-eval's samples with the columns prompt and completion, a row an answer.

    The prompt is the context that the model was given, answers are what it said before any filter.
    A document is there once for each filter, with the same answers: only the first counts.

    Raises:
        UserError: samples of tasks that do not generate, or not of one request a document.
    """
    prompts = given.read("arguments", _context)
    answers = given.read("resps", _answers)
    documents = given.frame.get("doc_id", given.frame.index)
    seen: set[tuple[str, ...]] = set()
    rows: list[int] = []
    for i, (document, prompt, texts) in enumerate(zip(documents, prompts, answers, strict=True)):
        same = (str(document), prompt, *texts)
        if same not in seen:
            seen.add(same)
            rows += [i] * len(texts)
    kept = list(dict.fromkeys(rows))
    frame = given.frame.iloc[rows].drop(columns=["prompt", "completion"], errors="ignore")
    frame = frame.assign(
        prompt=[prompts[i] for i in rows], completion=[text for i in kept for text in answers[i]]
    )
    return GivenFile(given.key, given.path, frame, given.columns, given.facts)


def _context(arguments: Any) -> str:
    """The prompt of {"gen_args_0": {"arg_0": prompt, ...}} or [[prompt, ...]]."""
    requests = list(arguments.values() if isinstance(arguments, dict) else _list(arguments))
    requests = [request for request in requests if request is not None]
    if requests and isinstance(requests[0], str):
        requests = [requests]
    if len(requests) != 1:
        raise UnreadableError(
            f"has {len(requests)} requests, as tasks with choices do: give samples of a task that "
            "generates"
        )
    request = requests[0]
    context = (
        request.get("arg_0") if isinstance(request, dict) else next(iter(_list(request)), None)
    )
    if len(_list(context)) == 1:
        context = _list(context)[0]
    if not isinstance(context, str):
        raise UnreadableError(f"has the context {shown(context)}, not a text")
    return prompt_text(messages_of(context))


def _answers(resps: Any) -> tuple[str, ...]:
    """The answers of [[answer, ...]]."""
    requests = _list(resps)
    texts = _list(requests[0]) if len(requests) == 1 else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise UnreadableError(f"is {shown(resps)}, not one request's list of answers")
    return tuple(texts)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | np.ndarray) else []
