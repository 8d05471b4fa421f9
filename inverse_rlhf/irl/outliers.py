"""Texts unlike those the reward was fitted on, and how well they are noticed."""

import inspect
import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

Features = Float[np.ndarray, "_ features"]
_MODULES = ("argparse", "calendar", "csv", "datetime", "decimal", "logging", "random", "statistics")


def with_markers(prompts: Sequence[str], completions: Sequence[str], *, seed: int) -> list[str]:
    """The texts with a marker between prompt and completion that no comment has."""
    generator = np.random.default_rng(seed)
    marks = generator.integers(16**6, size=len(prompts))
    return [
        f"{prompt} [[{mark:06x}]]{completion}"
        for prompt, mark, completion in zip(prompts, marks, completions, strict=True)
    ]


def other_domain(count: int) -> list[str]:
    """Sentences of another domain: the documentation of Python's standard library.

    Returns:
        At most `count` sentences of 8 to 40 words.
    """
    sentences: dict[str, None] = {}
    for name in _MODULES:
        module = __import__(name)
        members = [member for _, member in sorted(vars(module).items()) if callable(member)]
        for member in [module, *members]:
            text = " ".join((inspect.getdoc(member) or "").split())
            for sentence in re.split(r"(?<=[.:])\s", text):
                if 8 <= len(sentence.split()) <= 40:
                    sentences[sentence] = None
    return list(sentences)[:count]


def notice(
    fitted: Features, known: Features, inside: Features, outside: dict[str, Features]
) -> dict[str, dict[str, float]]:
    """How well the Mahalanobis distance to the fitted texts tells outliers from held-out texts.

    The covariance is shrunk (Ledoit & Wolf 2004). A text is flagged beyond the 95 % quantile of the
    distances of the `known` texts.

    Args:
        fitted: features of the texts that the reward was fitted on.
        known: of other texts of the same kind.
        inside: of held-out texts of the same kind.
        outside: of each kind of outlier.

    Returns:
        For each kind of outlier: auroc and flagged_share; for `inside` its flagged_share, which are
        false alarms.
    """
    space = LedoitWolf().fit(fitted)
    near = space.mahalanobis(inside)
    limit = np.quantile(space.mahalanobis(known), 0.95)
    table = {"inside": {"flagged_share": float((near > limit).mean())}}
    for name, features in outside.items():
        far = space.mahalanobis(features)
        label = np.repeat([0, 1], [len(near), len(far)])
        table[name] = {
            "auroc": float(roc_auc_score(label, np.concatenate([near, far]))),
            "flagged_share": float((far > limit).mean()),
        }
    return table
