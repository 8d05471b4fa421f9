"""A text as its words, its sentences and its lines."""

import re
from collections import Counter
from functools import cached_property

_WORD = re.compile(r"\w+(?:'\w+)?")
FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
"""A block of code."""
_STRAIGHT = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "“": '"', "”": '"', "„": '"', "\r": "\n"}
)
# A list item's bullet or number, or a header's hashes.
_MARK = re.compile(r"^[ \t>]*(?:[-*+•\u2013]|\d{1,3}[.)]|#{1,6})[ \t]+", re.MULTILINE)
# All repetitions are bounded, or a long run of points would take the square of its length.
_SENTENCE_END = re.compile(
    r"[.!?…](?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)[\"')\]*]{0,3}\s"
    r"|[\u3002\uff01\uff1f\n]"
)
_SHORT = 10


def words(text: str) -> list[str]:
    """Lower-case words of a text."""
    return _WORD.findall(text.lower())


class Reading:
    """A text that is taken apart once, however much is then measured in it.

    Curly quotes and apostrophes are read as straight ones. A list item's bullet or number is no
    word and ends no sentence.

    Args:
        text: a completion.
        prompt: what it answers; empty where that is not known.
    """

    def __init__(self, text: str, prompt: str = "") -> None:
        self.text, self.prompt = text, prompt

    @cached_property
    def plain(self) -> str:
        """The text with straight quotes and line feeds."""
        return self.text.replace("\r\n", "\n").translate(_STRAIGHT)

    @cached_property
    def outside_code(self) -> str:
        """What stands outside fenced code."""
        return FENCED.sub("\n", self.plain)

    @cached_property
    def lines(self) -> list[str]:
        """The lines outside fenced code, without the space around them."""
        return [line.strip() for line in self.outside_code.split("\n")]

    @cached_property
    def prose(self) -> str:
        """The text without the marks of its list items and headers."""
        return _MARK.sub("", self.plain)

    @cached_property
    def words(self) -> list[str]:
        """Words as they are written."""
        return _WORD.findall(self.prose)

    @cached_property
    def lower(self) -> list[str]:
        """Words in lower case."""
        return [word.lower() for word in self.words]

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each lower-case word occurs."""
        return Counter(self.lower)

    @cached_property
    def distinct(self) -> frozenset[str]:
        """The lower-case words."""
        return frozenset(self.counts)

    @cached_property
    def spaced(self) -> str:
        """The lower-case words, each between spaces of its own, for finding phrases."""
        return f" {'  '.join(self.lower)} "

    @cached_property
    def sentences(self) -> int:
        """Stretches with a word between ends of sentences or lines."""
        return sum(_WORD.search(piece) is not None for piece in _SENTENCE_END.split(self.prose))

    def per_100_words(self, count: float) -> float:
        """A count per 100 words.

        A text of fewer than 10 words is taken to have 10: else one "sorry" would be a rate of 100.
        """
        return 100 * count / max(len(self.words), _SHORT)
