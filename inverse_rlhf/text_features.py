"""What a text's words tell without a language model: n-grams, sentiment, length, a keyword."""

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from inverse_rlhf.measures.text import words
from inverse_rlhf.params import NGram, Parts


@runtime_checkable
class TextFeature(Protocol):
    """What every kind of text feature can do."""

    @property
    def names(self) -> list[str]:
        """A name for each column."""
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
    def fit(cls, texts: Sequence[str], params: NGram) -> "NGrams":
        """Choose n-grams and their idf on the texts.

        Raises:
            ValueError: no n-gram is frequent enough.
        """
        vectorizer = TfidfVectorizer(
            analyzer=params.analyzer,
            ngram_range=(params.min_n, params.max_n),
            max_features=params.max_features,
            min_df=params.min_texts,
            sublinear_tf=True,
        )
        return cls(vectorizer.fit(texts))

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

    def transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """Presence, (texts, 1)."""
        word = re.compile(rf"\b{re.escape(self.word)}\b", re.IGNORECASE)
        return _column([float(bool(word.search(text))) for text in texts])

    def state(self) -> dict[str, Any]:
        """Kind and word."""
        return {"kind": "keyword", "word": self.word}


def _column(values: list[float]) -> sparse.csr_array:
    return sparse.csr_array(np.array(values, dtype=np.float64)[:, None])


def named_feature(kind: str, parts: Parts) -> TextFeature:
    """The text feature of a kind that is not fitted: sentiment, length or keyword."""
    match kind:
        case "sentiment":
            return Sentiment()
        case "length":
            return Length(parts.length_target)
        case "keyword":
            return Keyword(parts.keyword)
    raise ValueError(f"{kind} is no text feature")


def restore(state: dict[str, Any]) -> TextFeature:
    """A text feature from its `state`."""
    match state["kind"]:
        case "ngram":
            vectorizer = TfidfVectorizer(
                analyzer=state["analyzer"],
                ngram_range=tuple(state["ngram_range"]),
                vocabulary=state["vocabulary"],
                sublinear_tf=True,
            )
            vectorizer.idf_ = np.array(state["idf"])
            return NGrams(vectorizer)
        case "sentiment":
            return Sentiment()
        case "length":
            return Length(state["target"])
        case "keyword":
            return Keyword(state["word"])
    raise ValueError(f"{state['kind']} is no text feature")


class LinearTextReward:
    """A weighted sum of text features.

    Args:
        features: in the order of `weight`.
        weight: float64 of shape (columns of all features,).
    """

    def __init__(self, features: list[TextFeature], weight: np.ndarray) -> None:
        self.features, self.weight = features, weight

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        values: np.ndarray = stacked(self.features, texts) @ self.weight
        return values.astype(np.float32)

    def part_weights(self) -> dict[str, float]:
        """The weights of sentiment, length and keyword, as far as they are among the features."""
        ends = np.cumsum([len(feature.names) for feature in self.features])
        return {
            feature.names[0]: float(self.weight[end - 1])
            for feature, end in zip(self.features, ends, strict=True)
            if not isinstance(feature, NGrams)
        }

    def to_json(self) -> str:
        """What `from_json` reads."""
        states = [feature.state() for feature in self.features]
        return json.dumps({"features": states, "weight": self.weight.tolist()}) + "\n"

    @classmethod
    def from_json(cls, content: str) -> "LinearTextReward":
        """The reward that `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it did not.
        """
        read = json.loads(content)
        features = [restore(state) for state in read["features"]]
        weight = np.array(read["weight"], dtype=np.float64)
        if weight.shape != (sum(len(feature.names) for feature in features),):
            raise ValueError("its weights do not match its features")
        return cls(features, weight)


def stacked(features: list[TextFeature], texts: Sequence[str]) -> sparse.csr_array:
    """All features side by side, float64 of shape (texts, columns)."""
    return sparse.csr_array(sparse.hstack([feature.transform(texts) for feature in features]))
