"""Named objectives: what a text may have more or less of, in words that need no model."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import log, log1p
from typing import Any

import emoji
import numpy as np
import pyphen  # type: ignore[import-untyped]
from scipy import sparse
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from inverse_rlhf.features import lexicons
from inverse_rlhf.features.words import FENCED, Reading


@dataclass(frozen=True)
class Objective:
    """Something that a text may have more or less of.

    Attributes:
        unit: of its values.
        more: what a higher value means, as in "the aligned policy is ...": "longer".
        measure: its value, finite for every text; of an empty one mostly 0.
    """

    unit: str
    more: str
    measure: Callable[[Reading], float]


class _Vader(SentimentIntensityAnalyzer):
    """VADER, handing its checks of a word the words around it, of which they read no more.

    They put all that they are handed into lower case: of a whole text, word by word, this took the
    square of its length.
    """

    def _negation_check(self, valence: float, words: list[str], start: int, i: int) -> float:
        low = max(0, i - 3)
        return super()._negation_check(valence, words[low : i + 1], start, i - low)

    def _special_idioms_check(self, valence: float, words: list[str], i: int) -> float:
        low = max(0, i - 3)
        return super()._special_idioms_check(valence, words[low : i + 3], i - low)


_VADER = _Vader()
_SYLLABLES = pyphen.Pyphen(lang="en_US")
_WINDOW = 50  # words; Covington & McFall's example
_REPEATS = 0.22  # share of words in a window of ordinary prose that stand in it before
_LONGEST = 20  # letters; what is longer is a link or a run of signs
_EMOJI = frozenset("".join(emoji.EMOJI_DATA)) - frozenset(map(chr, range(128))) - {"©", "®", "™"}


def _word_length(read: Reading) -> float:
    """Mean letters of a word, of at most 20."""
    return sum(min(len(word), _LONGEST) for word in read.words) / max(len(read.words), 1)


def _sentence_length(read: Reading) -> float:
    """Log of the mean words of a sentence."""
    return log(len(read.words) / read.sentences) if read.sentences else 0.0


def _lexical_diversity(read: Reading) -> float:
    """Share of distinct words in every window of 50 words, on average (Covington & McFall 2010).

    A text shorter than the window has fewer pairs of words, and so of repeats, in proportion to its
    squared length. The pairs it lacks are taken to repeat as in ordinary prose, so that the value
    neither falls with length nor jumps at 50 words.
    """
    last: dict[str, int] = {}
    before = np.full(len(read.lower), -1)  # where each word stands before
    for i, word in enumerate(read.lower):
        before[i] = last.get(word, -1)
        last[word] = i
    if len(before) < _WINDOW:
        missing = 1 - (len(before) / _WINDOW) ** 2
        return 1 - _REPEATS * missing - float((before >= 0).sum()) / _WINDOW
    # A word is the first of its kind in the windows that start after `before` and hold it.
    place = np.arange(len(before))
    first = np.maximum(before + 1, place - _WINDOW + 1).clip(min=0)
    windows = len(before) - _WINDOW + 1
    firsts = (np.minimum(place, windows - 1) - first + 1).clip(min=0)
    return float(firsts.sum()) / (windows * _WINDOW)


@lru_cache(maxsize=100_000)
def _syllables(word: str) -> int:
    """Where a word can be hyphenated, and one: somewhat too few, in all texts alike."""
    return len(_SYLLABLES.positions(word[: 2 * _LONGEST])) + 1


def _readability(read: Reading) -> float:
    """Flesch's (1948) reading ease, within its scale of 0 to 100."""
    if not read.sentences:
        return 0.0
    syllables = sum(_syllables(word) * count for word, count in read.counts.items())
    per_sentence, per_word = len(read.words) / read.sentences, syllables / len(read.words)
    return min(max(206.835 - 1.015 * per_sentence - 84.6 * per_word, 0.0), 100.0)


def _paragraphs(read: Reading) -> int:
    """Blocks of lines between blank ones."""
    return sum(bool(line) and not above for above, line in pairwise(["", *read.lines]))


def _code(read: Reading) -> int:
    """Lines of fenced code and inline pieces."""
    fenced = sum(piece.count("\n") for piece in FENCED.findall(read.plain))
    return fenced + len(_INLINE_CODE.findall(read.outside_code))


def _emoji(read: Reading) -> int:
    if read.text.isascii() or _EMOJI.isdisjoint(read.text):
        return 0
    return sum(found["emoji"][0] not in "©®™" for found in emoji.emoji_list(read.text))


def _capitals(read: Reading) -> int:
    return sum(len(word) > 1 and word.isupper() for word in read.words)


def _repetition(read: Reading) -> float:
    """Share of runs of three words that stand in the text before."""
    runs = list(zip(read.lower, read.lower[1:], read.lower[2:], strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def _prompt_overlap(read: Reading) -> float:
    """Share of the distinct words, but for stop words, that stand in the prompt."""
    content = read.distinct - lexicons.STOPWORDS.words
    return len(content & Reading(read.prompt).distinct) / max(len(content), 1)


def _unfinished_end(read: Reading) -> float:
    """1 where the last sign neither ends a sentence nor closes anything, else 0."""
    last = read.plain.rstrip()[-1:]
    return float(last.isalnum() or (last != "" and last in ",;:-—(/&"))


def _sentiment(read: Reading) -> float:
    """VADER's compound score, -1 (negative) to 1 (positive) (Hutto & Gilbert 2014)."""
    return float(_VADER.polarity_scores(read.text)["compound"])


def _opens_agreeing(read: Reading) -> float:
    return float(lexicons.AGREEMENT.opens(read))


_BULLET = re.compile(r"(?:> ?)*[-*+•\u2013] ")
_ITEM = re.compile(rf"{_BULLET.pattern}|(?:> ?)*\**\d{{1,3}}[.)]\**\s|step \d+\b", re.IGNORECASE)
_TABLE_ROW = re.compile(r"\|.+\|")
_HEADER = re.compile(r"#{1,6} ")
_BOLD = re.compile(r"\*\*(?![ *])[^*\n]+(?<! )\*\*")
_INLINE_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"(?:https?://|www\.)\S+|\]\((?!http)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_COMMA = re.compile(r",(?!\d)")
_COLON = re.compile(r":(?![\w/])")
_DASH = re.compile(r"—|(?<!\d)\u2013(?!\d)|(?<=\w) --? (?=\w)")
_EXCLAMATION = re.compile(r"!(?!=)")
_QUESTION = re.compile(r"\?(?!\w)")


def _count(more: str, count: Callable[[Reading], int]) -> Objective:
    return Objective("log of 1 + count", more, lambda read: log1p(count(read)))


def _rate(more: str, count: Callable[[Reading], float]) -> Objective:
    return Objective("per 100 words", more, lambda read: read.per_100_words(count(read)))


def _lines(belongs: Callable[[str], Any]) -> Callable[[Reading], int]:
    return lambda read: sum(bool(belongs(line)) for line in read.lines)


def _matches(pattern: re.Pattern[str]) -> Callable[[Reading], int]:
    return lambda read: len(pattern.findall(read.outside_code))


OBJECTIVES: dict[str, Objective] = {
    # size and make of the text
    "length": Objective("log of 1 + words", "longer", lambda read: log1p(len(read.words))),
    "word_length": Objective("letters", "longer words", _word_length),
    "sentence_length": Objective("log of words", "longer sentences", _sentence_length),
    "lexical_diversity": Objective("share", "more varied words", _lexical_diversity),
    "readability": Objective("Flesch's reading ease", "easier to read", _readability),
    "repetition": Objective("share", "more repetition of its own phrases", _repetition),
    "unfinished_end": Objective("0 or 1", "more often cut off", _unfinished_end),
    # layout
    "paragraphs": _count("more paragraphs", _paragraphs),
    "list_items": _count("more list items", _lines(_ITEM.match)),
    "bullets": _count("more bullets", _lines(_BULLET.match)),
    "headers": _count("more headers", _lines(_HEADER.match)),
    "table_rows": _count("more table rows", _lines(_TABLE_ROW.fullmatch)),
    "bold": _count("more bold type", _matches(_BOLD)),
    "links": _count("more links", _matches(_LINK)),
    "code": _count("more code", _code),
    "emoji": _count("more emoji", _emoji),
    # signs
    "exclamations": _rate("more exclamation marks", _matches(_EXCLAMATION)),
    "questions": _rate("more questions", _matches(_QUESTION)),
    "quotes": _rate("more quotation marks", lambda read: read.outside_code.count('"')),
    "parentheses": _rate("more parentheses", lambda read: read.outside_code.count("(")),
    "commas": _rate("more commas", _matches(_COMMA)),
    "colons": _rate("more colons", _matches(_COLON)),
    "semicolons": _rate("more semicolons", lambda read: read.outside_code.count(";")),
    "dashes": _rate("more dashes", _matches(_DASH)),
    "numbers": _rate("more numbers", lambda read: len(_NUMBER.findall(read.prose))),
    "capitals": _rate("more words in capitals", _capitals),
    # who speaks to whom
    "first_person": _rate('more "I"', lexicons.FIRST_PERSON.count),
    "second_person": _rate('more "you"', lexicons.SECOND_PERSON.count),
    "we": _rate('more "we"', lexicons.WE.count),
    "third_person": _rate('more "he", "she" and "they"', lexicons.THIRD_PERSON.count),
    "ai_self_reference": _count("more mentions of being an AI", lexicons.AI_SELF_REFERENCE.count),
    "prompt_overlap": Objective("share", "more words of the prompt", _prompt_overlap),
    # stance
    "hedges": _rate("more hedging", lexicons.HEDGES.count),
    "certainty": _rate("more words of certainty", lexicons.CERTAINTY.count),
    "intensifiers": _rate("more intensifiers", lexicons.INTENSIFIERS.count),
    "opinions": _count("more opinions of its own", lexicons.OPINIONS.count),
    "directives": _rate('more "should" and "must"', lexicons.DIRECTIVES.count),
    "negations": _rate("more negations", lexicons.NEGATIONS.count),
    # tone
    "sentiment": Objective("VADER's compound score", "more positive in tone", _sentiment),
    "positive_words": _rate("more positive words", lexicons.POSITIVE.count),
    "negative_words": _rate("more negative words", lexicons.NEGATIVE.count),
    "insults": _rate("more insults and swear words", lexicons.INSULTS.count),
    # manners
    "refusal": _count("more refusals", lexicons.REFUSAL.count),
    "warnings": _rate("more warnings", lexicons.WARNINGS.count),
    "apology": _count("more apologies", lexicons.APOLOGY.count),
    "politeness": _count("more polite phrases", lexicons.POLITENESS.count),
    "offers_of_help": _count("more offers of help", lexicons.OFFERS_OF_HELP.count),
    "empathy": _count("more empathy", lexicons.EMPATHY.count),
    "flattery": _count("more praise of the reader", lexicons.FLATTERY.count),
    "greetings": _count("more greetings", lexicons.GREETINGS.count),
    "opens_agreeing": Objective("0 or 1", 'more openings such as "Sure"', _opens_agreeing),
    # course of the argument
    "additions": _rate('more "also" and "moreover"', lexicons.ADDITIONS.count),
    "contrasts": _rate('more "but" and "however"', lexicons.CONTRASTS.count),
    "causes": _rate('more "because" and "therefore"', lexicons.CAUSES.count),
    "examples": _rate("more examples", lexicons.EXAMPLES.count),
    "sequence": _rate('more "first" and "then"', lexicons.SEQUENCE.count),
    "conclusions": _count("more summing up", lexicons.CONCLUSIONS.count),
    # kinds of words
    "stopwords": _rate("more function words", lexicons.STOPWORDS.count),
    "contractions": _rate("more contractions", lexicons.CONTRACTIONS.count),
}
"""The objectives by name: rates of what a text is full of, logs of counts of what it does once."""


class Objectives:
    """Named objectives side by side, each in its own unit.

    Args:
        names: which; all of `OBJECTIVES` where not said.

    Raises:
        ValueError: there is no objective of a name.
    """

    def __init__(self, names: Sequence[str] = tuple(OBJECTIVES)) -> None:
        for name in names:
            if name not in OBJECTIVES:
                raise ValueError(f"{name} is no objective")
        self.names = list(names)

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Objectives":
        """The objectives that the state names, whatever else the registry now has."""
        return cls(state["names"])

    def transform(
        self, texts: Sequence[str], prompts: Sequence[str] | None = None
    ) -> sparse.csr_array:
        """Values, float64 of shape (texts, objectives).

        Args:
            prompts: of each text; None where the texts are all there is, so that nothing overlaps
                with a prompt.
        """
        measures = [OBJECTIVES[name].measure for name in self.names]
        asked = prompts if prompts is not None else [""] * len(texts)
        values = np.zeros((len(texts), len(measures)))
        for row, (text, prompt) in enumerate(zip(texts, asked, strict=True)):
            read = Reading(text, prompt)
            values[row] = [measure(read) for measure in measures]
        return sparse.csr_array(values)

    def state(self) -> dict[str, Any]:
        """The names."""
        return {"kind": "objectives", "names": self.names}
