"""What a policy's completions look like: diversity, emptiness, repetition."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from inverse_rlhf.features.words import words

_LOOP = re.compile(r"(\b\w[\w'\s,.!?-]{0,80}?)(?:[\s,.!?-]+\1\b){2,}")


def distinct(completions: Sequence[str], n: int) -> float:
    """Distinct word n-grams as a share of all, over all completions (Li et al. 2016)."""
    tokens = [words(text) for text in completions]
    grams: Counter[object] = Counter()
    for row in tokens:
        grams.update(row if n == 1 else pairwise(row))
    return len(grams) / grams.total() if grams else 0.0


def empty(completions: Sequence[str]) -> np.ndarray:
    """Which completions have no word: bool of shape (completions,)."""
    return np.array([not words(text) for text in completions])


def repeated(completions: Sequence[str], prompt_ids: Sequence[int]) -> np.ndarray:
    """Which completions loop or are not the prompt's own: bool of shape (completions,).

    A completion loops when a word or phrase stands three times in a row; it is not the prompt's own
    when another prompt has the same completion, word for word.
    """
    texts = [" ".join(words(text)) for text in completions]
    owners: dict[str, set[int]] = {}
    for text, prompt in zip(texts, prompt_ids, strict=True):
        owners.setdefault(text, set()).add(prompt)
    loops = [bool(_LOOP.search(text)) for text in texts]
    shared = [bool(text) and len(owners[text]) > 1 for text in texts]
    return np.array(loops) | np.array(shared)
