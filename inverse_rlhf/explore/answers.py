"""What the explorer is asked and what it answers, apart from any page or model."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from inverse_rlhf.data.clean import shows
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.occlusion import each_left_out
from inverse_rlhf.features.objectives import OBJECTIVES, Objectives
from inverse_rlhf.show.page import Piece, Text

LONGEST = 200_000
"""Characters of a text."""
MOST = 8
"""Completions at a time."""
CREDITED = 120
"""Words of a completion that are credited: each is a reading of the whole text without it."""
_READ = 5_000  # characters of a completion, and of a prompt, within which words are credited
_SHOWN = 2_000  # characters of a prompt that are shown before its completion
_FAINTEST = 0.02  # of the reward's standard deviation: a credit that has the strongest colour


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TextsAsked(_Asked):
    """A prompt, which may be empty, and completions of it to score."""

    prompt: str
    completions: Annotated[list[str], Field(min_length=1)]

    def check(self) -> None:
        """Raise a UserError where something is missing, or too long or too much."""
        _check_length("the prompt", self.prompt)
        if len(self.completions) > MOST:
            raise UserError(f"there are {len(self.completions)} completions: score {MOST} at most")
        for number, text in enumerate(self.completions, start=1):
            if not text.strip():
                raise UserError(f"completion {number} is empty: type a text, or remove it")
            _check_length(f"completion {number}", text)
            if not shows(text):
                raise UserError(
                    f"nothing can be seen in completion {number}: type a text, or remove it"
                )


class SamplesAsked(_Asked):
    """A prompt to be completed by the policies, and a seed."""

    prompt: str
    seed: Annotated[int, Field(ge=0, lt=2**31)]

    def check(self) -> None:
        """Raise a UserError where the prompt is missing or too long."""
        if not self.prompt.strip():
            raise UserError("the prompt is empty: type the first words of a text")
        _check_length("the prompt", self.prompt)
        if not shows(self.prompt):
            raise UserError("nothing can be seen in the prompt: type the first words of a text")


def _check_length(what: str, text: str) -> None:
    if len(text) > LONGEST:
        raise UserError(f"{what} has {len(text):,} characters: {LONGEST:,} are the most")


@dataclass(frozen=True)
class Front:
    """What a page says before anything is asked.

    Attributes:
        title: of the page.
        question: that it answers.
        facts: of what is explored, by their names.
        measures: of a completion, and what each means.
        unit: of word credits.
        reads: what the named objectives are measured in.
        policies: what is sampled, and how; None: there are none.
        seed: that sampling begins with.
    """

    title: str
    question: str
    facts: Mapping[str, str]
    measures: Mapping[str, str]
    unit: str
    reads: str
    policies: str | None = None
    seed: int = 0


class Subject(Protocol):
    """A reward that is explored."""

    @property
    def front(self) -> Front:
        """What its page says."""
        ...

    def score(self, asked: TextsAsked) -> dict[str, Any]:
        """The scores of completions, see `scored`."""
        ...

    def sample(self, asked: SamplesAsked) -> dict[str, Any]:
        """Completions by each policy.

        Raises:
            UserError: there are no policies, or the prompt is too long for them.
        """
        ...


def scored(
    rows: Sequence[Mapping[str, str]],
    notes: Sequence[Sequence[str]],
    credited: Sequence["Credited"],
    objectives: Mapping[str, Any],
    std: float,
) -> dict[str, Any]:
    """The answer to `TextsAsked`, as JSON.

    Args:
        rows: of each completion, by measure.
        notes: on how each was read.
        credited: words with credits.
        std: of the reward, in the units of the credits.
    """
    largest = max((abs(p.credit) for c in credited for p in c.pieces if p.credit), default=0.0)
    scale = max(largest, _FAINTEST * std)
    return {
        "rows": [dict(row) for row in rows],
        "notes": [list(lines) for lines in notes],
        "texts": [credits.shown(scale) for credits in credited],
        "objectives": dict(objectives),
    }


@dataclass(frozen=True)
class Credited:
    """A completion with the credits of its first words.

    Attributes:
        prompt: what it goes on from; empty where it is read by itself.
        pieces: which together are its beginning.
        left: characters behind them.
        note: what was left out; None: nothing.
    """

    prompt: str
    pieces: list[Piece]
    left: int
    note: str | None

    def shown(self, scale: float) -> dict[str, Any]:
        """As JSON; each piece with its credit and its shade, see `Text`."""
        text = Text(self.pieces, self.prompt, scale, self.left)
        return {
            "prompt": text.prompt[-_SHOWN:],
            "left_of_prompt": max(len(text.prompt) - _SHOWN, 0),
            "pieces": [[piece.text, piece.credit, text.shade(piece)] for piece in text.pieces],
            "left": self.left,
        }


def credit_words(
    prompt: str, completion: str, score: Callable[[Sequence[str]], np.ndarray], *, joined: bool
) -> Credited:
    """Credit the first words of a completion by occlusion, see `evaluation.occlusion`.

    A longer completion is read as if it ended behind them.

    Args:
        score: rewards, (texts,).
        joined: whether the texts that it reads begin with the prompt; if not it is not shown.
    """
    beginning, note = completion[:_READ], None
    if len(prompt) > _READ:
        note = f"Words are not credited: the prompt has more than {_READ:,} characters."
        return Credited(prompt, [Piece(beginning)], len(completion) - len(beginning), note)
    before = prompt = prompt if joined else ""
    found = list(islice(each_left_out(before, beginning), CREDITED + 1))
    ends = _ends(beginning, [word for word, _ in found])
    if len(found) > CREDITED:
        beginning = beginning[: ends[CREDITED - 1]]
        found = list(each_left_out(before, beginning))
    if len(beginning) < len(completion):
        note = (
            f"Words are credited in the first {len(beginning):,} characters, as if the completion "
            "ended there: each takes a reading of the text without it."
        )
    read = [number for number, (_, rest) in enumerate(found) if rest.strip()]
    values = score([before + beginning, *(found[number][1] for number in read)])
    credit: dict[int, float] = dict(zip(read, (values[0] - values[1:]).tolist(), strict=True))
    pieces, at = [], 0
    for number, ((word, _), end) in enumerate(zip(found, ends, strict=False)):
        if end - len(word) > at:
            pieces.append(Piece(beginning[at : end - len(word)]))
        pieces.append(Piece(word, credit.get(number)))
        at = end
    if at < len(beginning):
        pieces.append(Piece(beginning[at:]))
    return Credited(prompt, pieces, len(completion) - len(beginning), note)


def _ends(text: str, words: Sequence[str]) -> list[int]:
    """Where each of the words, which stand in the text in this order, ends."""
    ends, at = [], 0
    for word in words:
        at = text.index(word, at) + len(word)
        ends.append(at)
    return ends


def joined_with(prompt: str, completion: str) -> tuple[str, str | None]:
    """A completion as it goes on from a prompt, and a note where a blank was put before it."""
    if re.search(r"\w\Z", prompt) and re.match(r"\w", completion):
        return f" {completion}", "A blank was put between prompt and completion."
    return completion, None


def objective_rows(
    texts: Sequence[str],
    prompts: Sequence[str] | None,
    weights: Mapping[str, float],
    sizes: Mapping[str, float],
    remarks: Mapping[str, str],
) -> dict[str, Any]:
    """The named objectives of texts, as JSON: those that a text has anything of. Where the reward
    weighs them, those first that tell the texts most apart; of one text, that are weighed most.

    Args:
        prompts: see `Objectives.transform`.
        weights: for a unit of each objective, in the reward; empty where it weighs none.
        sizes: of the weights, in whatever unit they compare.
        remarks: on the weights of objectives.
    """
    values = Objectives().transform(texts, prompts).toarray()
    names = list(OBJECTIVES)
    parts = values * [weights.get(name, 0.0) for name in names]
    apart = np.ptp(parts, axis=0)
    order = sorted(
        np.flatnonzero(values.any(axis=0)).tolist(),
        key=lambda n: (-float(apart[n]), -sizes.get(names[n], 0.0)),
    )
    return {
        "rows": [
            {
                "name": names[n].replace("_", " "),
                "more": OBJECTIVES[names[n]].more,
                "unit": OBJECTIVES[names[n]].unit,
                "values": values[:, n].tolist(),
                "parts": parts[:, n].tolist() if weights else [],
                "remark": remarks.get(names[n], ""),
            }
            for n in order
        ],
        "absent": len(names) - len(order),
    }
