"""What a text's words tell without a language model: n-grams, sentiment, length, a keyword."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from inverse_rlhf.errors import UserError
from inverse_rlhf.measures.text import words
from inverse_rlhf.params import NGram, Parts


@runtime_checkable
class TextFeature(Protocol):
    """What every kind of text feature can do."""

    @property
    def names(self) -> list[str]:
        """A name for each column."""
        ...

    @classmethod
    def fit(cls, texts: Sequence[str], ngram: NGram | None, parts: Parts) -> "TextFeature":
        """The feature by its settings; a kind that learns its columns learns them on the texts."""
        ...

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "TextFeature":
        """The feature whose `state` this is."""
        ...

    def transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """Features, float64 of shape (texts, columns)."""
        ...

    def state(self) -> dict[str, Any]:
        """What `restore` needs, as JSON."""
        ...


class NGrams:
    """tf-idf of word or character n-grams, rows of norm 1 (scikit-learn's TfidfVectorizer)."""

    def __init__(self, vectorizer: TfidfVectorizer) -> None:
        self.vectorizer = vectorizer

    @classmethod
    def fit(cls, texts: Sequence[str], ngram: NGram | None, parts: Parts) -> "NGrams":
        """Choose n-grams and their idf on the texts.

        Raises:
            UserError: no n-gram is frequent enough.
        """
        assert ngram is not None
        vectorizer = TfidfVectorizer(
            analyzer=ngram.analyzer,
            ngram_range=(ngram.min_n, ngram.max_n),
            max_features=ngram.max_features,
            min_df=ngram.min_texts,
            sublinear_tf=True,
        )
        try:
            return cls(vectorizer.fit(texts))
        except ValueError as error:
            raise UserError(f"irl.ngram: {error}: lower min_texts") from None

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "NGrams":
        """N-grams with the vocabulary and idf of the state."""
        vectorizer = TfidfVectorizer(
            analyzer=state["analyzer"],
            ngram_range=tuple(state["ngram_range"]),
            vocabulary=state["vocabulary"],
            sublinear_tf=True,
        )
        vectorizer.idf_ = np.array(state["idf"])
        return cls(vectorizer)

    @property
    def names(self) -> list[str]:
        """The n-grams."""
        return [str(name) for name in self.vectorizer.get_feature_names_out()]

    def transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """tf-idf, (texts, n-grams)."""
        return sparse.csr_array(self.vectorizer.transform(texts))

    def state(self) -> dict[str, Any]:
        """Vocabulary, idf and settings."""
        return {
            "kind": "ngram",
            "analyzer": self.vectorizer.analyzer,
            "ngram_range": list(self.vectorizer.ngram_range),
            "vocabulary": self.names,
            "idf": self.vectorizer.idf_.tolist(),
        }


class Sentiment:
    """VADER's compound score, -1 (negative) to 1 (positive) (Hutto & Gilbert 2014)."""

    names: ClassVar[list[str]] = ["sentiment"]

    @classmethod
    def fit(cls, texts: Sequence[str], ngram: NGram | None, parts: Parts) -> "Sentiment":
        """Nothing to learn or to set."""
        return cls()

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Sentiment":
        """The same."""
        return cls()

    def transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """Compound scores, (texts, 1)."""
        analyzer = SentimentIntensityAnalyzer()
        return _column([analyzer.polarity_scores(text)["compound"] for text in texts])

    def state(self) -> dict[str, Any]:
        """Nothing but the kind."""
        return {"kind": "sentiment"}


class Length:
    """Minus the distance of the number of words to a target, relative to the target: at most 0."""

    names: ClassVar[list[str]] = ["length"]

    def __init__(self, target: int) -> None:
        self.target = target

    @classmethod
    def fit(cls, texts: Sequence[str], ngram: NGram | None, parts: Parts) -> "Length":
        """The target that `parts.length_target` names."""
        return cls(parts.length_target)

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Length":
        """The same."""
        return cls(state["target"])

    def transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """Closeness to the target, (texts, 1)."""
        return _column([-abs(len(words(text)) - self.target) / self.target for text in texts])

    def state(self) -> dict[str, Any]:
        """Kind and target."""
        return {"kind": "length", "target": self.target}


class Keyword:
    """1 where a word stands in the text, in any case, else 0."""

    names: ClassVar[list[str]] = ["keyword"]

    def __init__(self, word: str) -> None:
        self.word = word

    @classmethod
    def fit(cls, texts: Sequence[str], ngram: NGram | None, parts: Parts) -> "Keyword":
        """The word that `parts.keyword` names."""
        return cls(parts.keyword)

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Keyword":
        """The same."""
        return cls(state["word"])

    def transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """Presence, (texts, 1)."""
        word = re.compile(rf"\b{re.escape(self.word)}\b", re.IGNORECASE)
        return _column([float(bool(word.search(text))) for text in texts])

    def state(self) -> dict[str, Any]:
        """Kind and word."""
        return {"kind": "keyword", "word": self.word}


def _column(values: list[float]) -> sparse.csr_array:
    return sparse.csr_array(np.array(values, dtype=np.float64)[:, None])


TEXT_FEATURES: dict[str, type[TextFeature]] = {
    "ngram": NGrams,
    "sentiment": Sentiment,
    "length": Length,
    "keyword": Keyword,
}
"""Every kind of text feature by its name in `irl.features`."""

NAMED = tuple(name for name, kind in TEXT_FEATURES.items() if kind is not NGrams)
"""The kinds with one column of a fixed meaning: they can be parts of a true reward."""


def named_feature(kind: str, parts: Parts) -> TextFeature:
    """The text feature of a kind in `NAMED`."""
    return TEXT_FEATURES[kind].fit([], None, parts)


def restore(state: dict[str, Any]) -> TextFeature:
    """A text feature from its `state`."""
    return TEXT_FEATURES[state["kind"]].restore(state)


def stacked(features: list[TextFeature], texts: Sequence[str]) -> sparse.csr_array:
    """All features side by side, float64 of shape (texts, columns)."""
    return sparse.csr_array(sparse.hstack([feature.transform(texts) for feature in features]))
