"""The embedded corpus: balanced, distinct, neutral openings, and no word list solves it."""

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from inverse_rlhf.data.corpus import INSULTS, MAX_COMMENTS, generate_comments


@pytest.fixture(scope="module")
def corpus() -> pd.DataFrame:
    return generate_comments(24_000, seed=0)


def accuracy(texts: "pd.Series[str]", labels: "pd.Series[int]") -> float:
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10)
    )
    return float(model.fit(texts[:6000], labels[:6000]).score(texts[6000:8000], labels[6000:8000]))


def test_distinct_balanced_deterministic(corpus: pd.DataFrame) -> None:
    assert corpus["text"].is_unique
    assert corpus["toxic"].sum() == 12_000
    pd.testing.assert_frame_equal(generate_comments(500, seed=4), generate_comments(500, seed=4))
    assert (
        generate_comments(500, seed=4)["text"].tolist()
        != generate_comments(500, seed=5)["text"].tolist()
    )


@pytest.mark.parametrize("n", [0, 7, MAX_COMMENTS + 2])
def test_bad_size(n: int) -> None:
    with pytest.raises(ValueError, match="even and between"):
        generate_comments(n, seed=0)


def test_openings_do_not_tell(corpus: pd.DataFrame) -> None:
    openings = corpus["text"].str.split().str[:4].str.join(" ")
    assert openings.nunique() > 8000
    assert accuracy(openings, corpus["toxic"]) < 0.56


def test_words_alone_do_not_tell(corpus: pd.DataFrame) -> None:
    assert 0.75 < accuracy(corpus["text"], corpus["toxic"]) < 0.96


def test_insults_are_in_both_classes(corpus: pd.DataFrame) -> None:
    for word in INSULTS:
        holds = corpus["text"].str.contains(rf"\b{word}\b")
        assert 0.25 < corpus["toxic"][holds].mean() < 0.75, word
    none = ~corpus["text"].str.contains("|".join(INSULTS))
    assert none[corpus["toxic"] == 1].mean() > 0.2
