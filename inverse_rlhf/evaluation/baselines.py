"""What one would do otherwise to say in which objectives two sets of completions differ."""

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import stats

from inverse_rlhf.evaluation.pair_features import PairFeatures
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.features.words import Reading

PRIOR_WORDS = 500
"""Words of the Dirichlet prior, shared out by how frequent each is on both sides together."""
_OF_TEXTS = {
    "length",
    "word_length",
    "sentence_length",
    "lexical_diversity",
    "readability",
    "repetition",
    "unfinished_end",
    "paragraphs",
}
_TOKEN = re.compile(r"\w+(?:'\w+)?|[^\w\s]")


def t_tests(features: PairFeatures, rows: np.ndarray, level: float) -> pd.DataFrame:
    """Student's paired t-test of each objective's mean difference, Bonferroni's bound on all.

    Args:
        features: the named objectives.
        rows: which pairs.

    Returns:
        name, weight (t) and found, an objective a row, in the order of the features.
    """
    deltas = features.deltas[rows]
    varies = deltas.std(axis=0) > 1e-9
    t, p = np.zeros(deltas.shape[1]), np.ones(deltas.shape[1])
    t[varies], p[varies] = stats.ttest_1samp(deltas[:, varies], 0.0)
    found = varies & (p * varies.sum() < level)
    return pd.DataFrame({"name": features.names, "weight": t, "found": found})


def log_odds(base: Iterable[str], aligned: Iterable[str], level: float) -> pd.DataFrame:
    """Log-odds of words, marks and pairs of them with an informative Dirichlet prior (Monroe,
    Colaresi & Quinn 2008, "Fightin' Words", section 3.5), read as objectives.

    A word beyond Bonferroni's bound names every objective that the word alone has a value of, a
    pair those that neither of its words has; an objective's weight is the strongest z-score that
    names it. Objectives of whole texts, such as length, have no words.

    Returns:
        name, weight and found, an objective a row.
    """
    counts = [Counter(tokens(base)), Counter(tokens(aligned))]
    words = sorted(counts[0].keys() | counts[1].keys())
    z = z_scores(*(np.array([side[word] for word in words], dtype=np.float64) for side in counts))
    critical = stats.norm.isf(level / 2 / max(len(words), 1))
    strongest = dict.fromkeys(OBJECTIVES, 0.0)
    for word, score in zip(words, z, strict=True):
        for name, sign in named_by(word).items():
            if abs(score) > abs(strongest[name]):
                strongest[name] = float(sign * score)
    table = pd.DataFrame({"name": list(strongest), "weight": list(strongest.values())})
    return table.assign(found=table["weight"].abs() > critical)


def tokens(texts: Iterable[str]) -> list[str]:
    """Words in lower case and marks, and pairs of them with a space between, of all texts."""
    found = []
    for text in texts:
        single = _TOKEN.findall(Reading(text).plain.lower())
        found += single + [f"{first} {second}" for first, second in pairwise(single)]
    return found


def z_scores(base: np.ndarray, aligned: np.ndarray) -> np.ndarray:
    """How far each word's log-odds are apart, in standard deviations; positive: more in aligned.

    Args:
        base, aligned: counts of each word, (words,).

    Returns:
        float64 of shape (words,); formulas 16, 20 and 22 of the paper.
    """
    both = base + aligned
    prior = PRIOR_WORDS * both / max(both.sum(), 1.0)

    def log_odds(counts: np.ndarray) -> np.ndarray:
        known = counts + prior
        return np.asarray(np.log(known / (known.sum() - known)))

    with np.errstate(divide="ignore", invalid="ignore"):
        difference = log_odds(aligned) - log_odds(base)
        deviation = np.sqrt(1 / (aligned + prior) + 1 / (base + prior))
        return np.nan_to_num(difference / deviation)


_WORDED = [name for name in OBJECTIVES if name not in _OF_TEXTS]


@lru_cache(maxsize=100_000)
def named_by(word: str) -> dict[str, int]:
    """The objectives that a word or mark, or a pair and neither of its words, has a value of, with
    its sign.
    """
    read = Reading(word)
    values = {name: OBJECTIVES[name].measure(read) for name in _WORDED}
    found = {name: 1 if value > 0 else -1 for name, value in values.items() if value}
    parts = word.split(" ") if " " in word else []
    return {
        name: sign for name, sign in found.items() if not any(name in named_by(p) for p in parts)
    }
