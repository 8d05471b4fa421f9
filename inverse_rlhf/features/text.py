"""What a text tells without a language model: n-grams, named objectives, a keyword.

In the pipeline a text is a prompt and its completion, read as one: nothing is known as the prompt.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.objectives import OBJECTIVES, Objective, Objectives
from inverse_rlhf.features.words import Reading, words
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
            UserError: no n-gram is frequent enough.
        """
        vectorizer = TfidfVectorizer(
            analyzer=params.analyzer,
            ngram_range=(params.min_n, params.max_n),
            max_features=params.max_features,
            min_df=params.min_texts,
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


@dataclass(frozen=True)
class NamedKind:
    """A feature of one column with a fixed meaning; it can also be a part of a true reward.

    Attributes:
        measure: (text, setting) -> value.
        setting: what the params say of it, as JSON.
    """

    measure: Callable[[str, Any], float]
    setting: Callable[[Parts], dict[str, Any]] = lambda _: {}


def _of_objective(objective: Objective) -> NamedKind:
    return NamedKind(lambda text, _: objective.measure(Reading(text)))


NAMED: dict[str, NamedKind] = {
    # minus the distance of the number of words to a target, relative to the target: at most 0
    "length_target": NamedKind(
        lambda text, its: -abs(len(words(text)) - its["target"]) / its["target"],
        lambda parts: {"target": parts.length_target},
    ),
    # 1 where a word stands in the text, in any case, else 0
    "keyword": NamedKind(
        lambda text, its: bool(re.search(rf"\b{re.escape(its['word'])}\b", text, re.IGNORECASE)),
        lambda parts: {"word": parts.keyword},
    ),
    **{name: _of_objective(objective) for name, objective in OBJECTIVES.items()},
}
"""The named features: two that the params set, and every objective."""


@dataclass(frozen=True)
class Named:
    """A feature in `NAMED` with its setting."""

    kind: str
    setting: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """Its kind."""
        return [self.kind]

    def transform(self, texts: Sequence[str]) -> sparse.csr_array:
        """Values, (texts, 1)."""
        measure = NAMED[self.kind].measure
        values = [float(measure(text, self.setting)) for text in texts]
        return sparse.csr_array(np.array(values, dtype=np.float64)[:, None])

    def state(self) -> dict[str, Any]:
        """Kind and setting."""
        return {"kind": self.kind, **self.setting}


TEXT_FEATURES = ("ngram", "objectives", *NAMED)
"""The text features that `irl.features` may name; objectives are all of them, side by side."""


def named_feature(kind: str, parts: Parts) -> Named:
    """The named feature of a kind, as the params set it."""
    return Named(kind, NAMED[kind].setting(parts))


def fit_feature(kind: str, texts: Sequence[str], ngram: NGram, parts: Parts) -> TextFeature:
    """The text feature of a kind; n-grams are chosen on the texts."""
    if kind == "ngram":
        return NGrams.fit(texts, ngram)
    return Objectives() if kind == "objectives" else named_feature(kind, parts)


def restore(state: dict[str, Any]) -> TextFeature:
    """A text feature from its `state`."""
    kind = state["kind"]
    if kind == "ngram":
        return NGrams.restore(state)
    if kind == "objectives":
        return Objectives.restore(state)
    if kind not in NAMED:
        raise ValueError(f"{kind} is no text feature")
    named = Named(kind, {name: value for name, value in state.items() if name != "kind"})
    named.transform(["a"])  # now, and not later, should its setting lack something
    return named


def stacked(features: list[TextFeature], texts: Sequence[str]) -> sparse.csr_array:
    """All features side by side, float64 of shape (texts, columns)."""
    return sparse.csr_array(sparse.hstack([feature.transform(texts) for feature in features]))
