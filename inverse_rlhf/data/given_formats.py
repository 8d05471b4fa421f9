"""The formats of pairs and answers that an audit reads.

| one file | columns |
|---|---|
| pairs | prompt; base_completion or _answer, or base; aligned_completion or _answer, or aligned |
| preferences | prompt; rejected, taken as the base's answer; chosen, as the aligned's |
| preferences, implicit prompt | rejected, chosen: whole texts, hh-rlhf's dialogues or messages |

| two files, the base model's first | columns of each |
|---|---|
| answers | prompt; completion, output or answer |
| AlpacaEval | instruction; output; dataset, taken as the category |
| lm-eval's samples | arguments; resps: of a task that generates |

Prompts and answers are texts or lists of messages {role, content}. An empty field of a CSV file is
null, which neither may be. Columns that may be there: in both category or dataset, and split; in
one file base_score, base_preference or score_rejected, the same with aligned and chosen,
base_log_ratio and aligned_log_ratio; in two files score or preference.
"""

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from inverse_rlhf.data.dialogues import (
    Cell,
    UnreadableError,
    is_dialogue,
    is_null,
    is_written_messages,
    led,
    parted,
    read_cell,
)
from inverse_rlhf.data.given_file import (
    GivenFile,
    category,
    is_samples,
    number,
    samples_as_answers,
    setting,
)
from inverse_rlhf.data.read_file import named, shown
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import printed

_SIDES = ("base", "aligned")
_PROMPT = ("prompt", "instruction")
_ANSWER = ("completion", "output", "answer")
_ANSWERS = {
    "base": ("base_completion", "base_answer", "base", "rejected"),
    "aligned": ("aligned_completion", "aligned_answer", "aligned", "chosen"),
}
_CATEGORY = ("category", "dataset")
_SCORE = ("score", "preference")
_SCORES = {
    "base": ("base_score", "base_preference", "score_rejected"),
    "aligned": ("aligned_score", "aligned_preference", "score_chosen"),
}
RATIOS = ("base_log_ratio", "aligned_log_ratio")


def from_one_file(file: GivenFile) -> pd.DataFrame:
    """The pairs of one file.

    Returns:
        Text columns of GIVEN_PAIRS, category, scores and log ratios, and split where the file has
        it; a row each of the file's that counts.

    Raises:
        UserError: a column that is absent or doubtful, a cell that is not what it must be.
    """
    found = {side: file.find(side, _ANSWERS[side]) for side in _SIDES}
    if None in found.values() and (is_samples(file) or any(n in file.frame for n in _ANSWER)):
        file.fail(
            f"has one model's answers (its columns are {named(file.frame)}): name two files, the "
            f"base model's first, or set {setting('base')} and {setting('aligned')}"
        )
    base, aligned = (file.need(s, _ANSWERS[s], f"the {s} model's answers") for s in _SIDES)
    if base == aligned:
        file.fail(
            f"has both models' answers in one column, {base!r}: set {setting('base')} and "
            f"{setting('aligned')}"
        )
    prompt = file.find("prompt", _PROMPT)
    scores = {f"{s}_score": file.find(f"{s}_score", _SCORES[s]) for s in _SIDES}
    ratios = {name: name if name in file.frame else None for name in RATIOS}
    if prompt is None and {base, aligned} == {"rejected", "chosen"}:
        texts = _implicit(file, base, aligned)
    else:
        prompt = file.need("prompt", _PROMPT, "prompts")
        texts = _explicit(file, prompt, {"base": base, "aligned": aligned})
    return texts.join(_others(file, scores | ratios))


def _explicit(file: GivenFile, prompt: str, answers: Mapping[str, str]) -> pd.DataFrame:
    """Prompts and answers of columns of their own."""
    _check_input(file, prompt)
    cells = _cells(file, prompt)
    texts: dict[str, list[str]] = {}
    for side, column in answers.items():
        answered = _cells(file, column)
        pairs = file.read(column, lambda _, lead, cell: led(lead, cell), cells, answered)
        prompts = [before for before, _ in pairs]
        if texts:
            file.read(column, _same, prompts, texts["prompt"])
        texts["prompt"] = prompts
        texts[f"{side}_completion"] = _without_prompt(file, column, side, pairs)
    return pd.DataFrame(texts, index=file.frame.index, dtype=object)


def _same(_: object, prompt: str, other: str) -> None:
    if prompt != other:
        raise UnreadableError(
            f"answers {shown(prompt)}, and the other model's answer is to {shown(other)}"
        )


def _check_input(file: GivenFile, prompt: str) -> None:
    """Refuse Alpaca's instructions with inputs, which are the other half of their prompts."""
    if prompt != "instruction" or "input" not in file.frame:
        return
    for row, cell in file.frame["input"].items():
        if not is_null(cell) and not (isinstance(cell, str) and not cell.strip()):
            file.fail(
                f"has the column 'input' beside 'instruction', and it is not empty (row {row} is "
                f"{shown(cell)}): join them into a column 'prompt', or set "
                f"{setting('prompt')}"
            )


def _without_prompt(
    file: GivenFile, column: str, side: str, pairs: Sequence[tuple[str, str]]
) -> list[str]:
    """The answers, without their prompts where all begin with them, as whole texts do."""
    given = [(prompt, answer) for prompt, answer in pairs if prompt and answer]
    repeats = sum(answer.startswith(prompt) for prompt, answer in given)
    # A model says its prompt again now and then; so many is neither that nor whole texts.
    if 2 * repeats <= len(given):
        return [answer for _, answer in pairs]
    if repeats < len(given):
        file.fail(
            f"has {repeats} of {len(given)} answers in column {column!r} that begin with their "
            "prompt: cut it from all of them, or add it to all"
        )
    file.facts[f"repeated_{side}"] = repeats
    return [answer.removeprefix(prompt) for prompt, answer in pairs]


def _cells(file: GivenFile, column: str) -> list[Cell]:
    """Texts or messages; a column of messages that are written as texts is refused."""
    cells = file.read(column, read_cell)
    # A model may answer so once; a column of it has lost its lists in a CSV file.
    if 2 * sum(map(is_written_messages, cells)) > len(cells):
        file.fail(
            f"has messages written as texts in column {column!r}, as {shown(cells[0])}: give them "
            "as lists, in a .jsonl or .parquet file"
        )
    return cells


def _implicit(file: GivenFile, base: str, aligned: str) -> pd.DataFrame:
    """Prompts that begin both of the answers."""
    ones, others = _cells(file, base), _cells(file, aligned)
    dialogues = [is_dialogue(a) and is_dialogue(b) for a, b in zip(ones, others, strict=True)]
    if any(dialogues) and not all(dialogues):
        row = file.frame.index[dialogues.index(False)]
        file.fail(
            f"has dialogues that begin with 'Human:' and have turns of 'Assistant:', but row {row} "
            f"is not one ({len(dialogues) - sum(dialogues)} such rows): fix or drop it"
        )
    texts = file.read(base, lambda _, *cells: parted(*cells), ones, others)
    known = [text is not None for text in texts]
    file.facts["left_out_undivided"] = len(known) - sum(known)
    return pd.DataFrame(
        [text for text in texts if text],
        columns=["prompt", "base_completion", "aligned_completion"],
        index=file.frame.index[known],
        dtype=object,
    )


def _others(file: GivenFile, numbers: Mapping[str, str | None]) -> pd.DataFrame:
    """Category, split where there is one, and numbers by the names of their columns."""
    column = file.find("category", _CATEGORY)
    others = pd.DataFrame(index=file.frame.index)
    if "split" in file.frame:
        others["split"] = file.frame["split"]
    names = file.read(column, category) if column else None
    others["category"] = pd.Series(names, index=others.index, dtype=object)
    for name, column in numbers.items():
        values = file.read(column, number) if column else np.nan
        others[name] = pd.Series(values, index=others.index, dtype=np.float64)
    return others


def _answers(file: GivenFile, side: str) -> pd.DataFrame:
    """One model's answers of one file: prompt, completion, score, category, perhaps split."""
    if is_samples(file):
        file = samples_as_answers(file)
    answer = file.need(side, _ANSWER, f"the {side} model's answers")
    prompt = file.need("prompt", _PROMPT, "prompts")
    score = file.find(f"{side}_score", _SCORE)
    texts = _explicit(file, prompt, {side: answer}).reset_index(drop=True)
    others = _others(file, {f"{side}_score": score}).reset_index(drop=True)
    return texts.join(others)


def _refuse_alike(
    first: GivenFile, second: GivenFile, ones: dict[str, None], others: dict[str, None]
) -> None:
    """Refuse prompts of one file only that the other has but for white space or how it is encoded.

    They would be left out on both sides, though they are the same prompt in all likelihood.
    """
    alike = {_squeezed(prompt): prompt for prompt in others if prompt not in ones}
    pairs = [(p, alike[_squeezed(p)]) for p in ones if p not in others and _squeezed(p) in alike]
    if pairs:
        one, other = pairs[0]
        characters = enumerate(zip(one, other, strict=False))
        start = max(0, next((i for i, (a, b) in characters if a != b), len(min(one, other))) - 20)
        raise UserError(
            f"{first.key}: {printed(first.path)} and {printed(second.path)} have {len(pairs)} "
            f"prompts that differ in white space or in how characters are encoded alone, one in "
            f"{one[start : start + 50]!a} and {other[start : start + 50]!a}: make them "
            "the same"
        )


def _squeezed(prompt: str) -> str:
    return " ".join(unicodedata.normalize("NFC", prompt).split())


def from_two_files(first: GivenFile, second: GivenFile) -> pd.DataFrame:
    """The base model's answers of one file with the aligned model's of another, by prompt.

    Returns:
        Like `from_one_file`, in the order of the first file's prompts.

    Raises:
        UserError: like `from_one_file`; or no prompt that both have, one that the other file has
            with other white space, or one with two categories.
    """
    base, aligned = _answers(first, "base"), _answers(second, "aligned")
    rows = [side.groupby("prompt", sort=False).indices for side in (base, aligned)]
    _refuse_alike(first, second, *(dict.fromkeys(side["prompt"]) for side in (base, aligned)))
    shared = [prompt for prompt in dict.fromkeys(base["prompt"]) if prompt in rows[1]]
    if not shared:
        raise UserError(
            f"{first.key}: {printed(first.path)} and {printed(second.path)} have no prompt in "
            "common: one begins "
            f"with {shown(base['prompt'].iloc[0])}, the other with "
            f"{shown(aligned['prompt'].iloc[0])}: give both models' answers to the same prompts"
        )
    first.facts["left_out_prompts"] = len(set(base["prompt"]) ^ set(aligned["prompt"]))
    taken: tuple[list[int], list[int]] = ([], [])
    for prompt in shared:
        most = max(len(side[prompt]) for side in rows)
        for places, side in zip(taken, rows, strict=True):
            places += np.resize(side[prompt], most).tolist()
    table = base.iloc[taken[0]].reset_index(drop=True)
    other = aligned.iloc[taken[1]].reset_index(drop=True)
    for name in ("split", "category"):
        if name not in table or name not in other:
            continue
        differ = table[name].notna() & other[name].notna() & (table[name] != other[name])
        if differ.any():
            row = int(np.flatnonzero(differ)[0])
            first.fail(
                f"has {name} {shown(table[name][row])} for {shown(table['prompt'][row])}, but "
                f"{printed(second.path)} has {shown(other[name][row])}: make them the same"
            )
        table[name] = table[name].fillna(other[name])
    return table.join(other.drop(columns=[name for name in other if name in table]))
