"""What completions look like, by hand."""

import pytest

from inverse_rlhf.measures.text import distinct, empty, repeated


def test_distinct_by_hand() -> None:
    assert distinct(["a b a", "b a"], 1) == pytest.approx(2 / 5)
    assert distinct(["a b a", "b a"], 2) == pytest.approx(2 / 3)
    assert distinct(["", "!"], 1) == 0


def test_empty_and_repeated() -> None:
    assert empty(["", " .!", "word"]).tolist() == [True, True, False]
    texts = ["so so so good", "the same text", "The same text!", "one of its own", "one of its own"]
    assert repeated(texts, [1, 2, 3, 4, 4]).tolist() == [True, True, True, False, False]
    assert repeated(["go away, go away, go away", "he said that that was it"], [1, 2]).tolist() == [
        True,
        False,
    ]
