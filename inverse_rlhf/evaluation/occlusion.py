"""What each word of a completion adds to a reward: the reward of the text with it, minus without.

Where a reward reads the last token of a finished text, its values on the beginnings of that text
say little about it; a text that lacks one word is still a finished text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from inverse_rlhf.data.tables import texts_of

if TYPE_CHECKING:  # it loads torch, which an audit of given pairs does without
    from inverse_rlhf.rewards.classifier import Reward

READINGS = 20_000
"""How many texts without a word are enough: those of the first prompts that come to as many.

That is more than half of the default run's, for a fifth of the time of `evaluate`. A text costs as
many readings as it has words: without a bound they would be most of what `evaluate` does wherever
texts are longer.
"""
_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_KEYS = ["prompt_id", "sample", "source"]


def word_credits(rows: pd.DataFrame, reward: "Reward") -> pd.DataFrame:
    """The credit R(x, y) - R(x, y without the word) of each word of completions.

    A word is a run of letters, digits and underscores, with apostrophes between them; punctuation
    stays when it goes. A word that comes again has a row each time: only one of them goes.

    Args:
        rows: prompt_id, sample, source, prompt and completion; those within `READINGS` are read.
        reward: it is asked for the same text more than once, see `ScoredOnce`.

    Returns:
        The word_credits table, in the rewards' units: a row a word, without words that are all of
        their text; position counts the words of the completion from 0.
    """
    rows = _within_bound(rows)
    found = [
        (row, position, word, rest)
        for row, (prompt, completion) in enumerate(
            zip(rows["prompt"], rows["completion"], strict=True)
        )
        for position, (word, rest) in enumerate(each_left_out(prompt, completion))
        if rest.strip()
    ]
    at = np.array([row for row, *_ in found], dtype=np.int64)
    whole = reward.score(texts_of(rows))[at]
    table = rows[_KEYS].iloc[at].reset_index(drop=True)
    return table.assign(
        position=np.array([position for _, position, *_ in found], dtype=np.int32),
        word=pd.Series([word for *_, word, _ in found], dtype=str),
        reward=whole,
        credit=whole - reward.score([rest for *_, rest in found]),
    )


def each_left_out(prompt: str, completion: str) -> Iterator[tuple[str, str]]:
    """Each word of a completion, and the text (with the prompt) without it.

    The blank before the word goes too, so that none is doubled; where none stands there, the one
    after it. Line breaks stay. A completion may go on with the prompt's last word: then its part
    goes alone.
    """
    text = prompt + completion
    for found in _WORD.finditer(text, len(prompt)):
        start, end = found.span()
        before = text[:start]
        if before.endswith((" ", "\t")):
            before = before[:-1]
        elif text.startswith((" ", "\t"), end) and not re.search(r"\w\Z", before):
            end += 1
        yield found.group(), before + text[end:]


def pieces(
    prompt: str, completion: str, credits: Mapping[int, float]
) -> list[tuple[str, float | None]]:
    """A completion in pieces, each with what it adds to the reward.

    Args:
        credits: by position among the words of the completion, as `word_credits` counts them.

    Returns:
        Pieces that together are the completion: words with a known credit, and what is between
        them, which has none (None).
    """
    text, end = prompt + completion, len(prompt)
    found: list[tuple[str, float | None]] = []
    for position, word in enumerate(_WORD.finditer(text, len(prompt))):
        if position in credits:
            found += [(text[end : word.start()], None), (word.group(), credits[position])]
            end = word.end()
    return [(piece, credit) for piece, credit in [*found, (text[end:], None)] if piece]


def _within_bound(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the first prompts, up to the one that `READINGS` ends in."""
    words = rows["completion"].map(lambda text: len(_WORD.findall(text)))
    by_prompt = words.groupby(rows["prompt_id"], sort=False).sum()
    begun = by_prompt.cumsum() - by_prompt < READINGS
    return rows[rows["prompt_id"].isin(begun.index[begun])]


def common_words(credits: pd.DataFrame, count: int = 15, min_texts: int = 5) -> dict[str, Any]:
    """The words of the lowest and of the highest mean credit.

    Args:
        credits: the word_credits table.
        count: words of each kind.
        min_texts: words of fewer texts are left out.

    Returns:
        most_penalised and most_rewarded: word (lower case), mean_credit (reward units, over all
        its occurrences) and texts (that it occurs in), the most extreme first.
    """
    words = credits.assign(word=credits["word"].str.lower()).astype({"credit": np.float64})
    texts = words.drop_duplicates([*_KEYS, "word"]).groupby("word").size()
    table = pd.DataFrame(
        {"mean_credit": words.groupby("word")["credit"].mean(), "texts": texts}
    ).reset_index()
    table = table[table["texts"] >= min_texts].sort_values("mean_credit", kind="stable")
    lowest, highest = (table[sign * table["mean_credit"] > 0] for sign in (-1, 1))
    return {
        "most_penalised": lowest.head(count).to_dict("records"),
        "most_rewarded": highest.tail(count)[::-1].to_dict("records"),
    }
