"""Texts unlike those the reward was fitted on, and how well they are noticed."""

import inspect
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from inverse_rlhf.data.tables import whole_texts
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.models.checkpoints import Model

Features = Float[np.ndarray, "_ features"]
_MODULES = ("argparse", "calendar", "csv", "datetime", "decimal", "logging", "random", "statistics")


def with_markers(prompts: Sequence[str], completions: Sequence[str], *, seed: int) -> list[str]:
    """The texts with a marker between prompt and completion that no comment has."""
    generator = np.random.default_rng(seed)
    marks = generator.integers(16**6, size=len(prompts))
    return whole_texts(
        [f"{prompt} [[{mark:06x}]]" for prompt, mark in zip(prompts, marks, strict=True)],
        completions,
    )


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


def flag_outliers(texts: pd.DataFrame, model: Model, *, seed: int) -> pd.DataFrame:
    """Which of the base policy's test texts, of the same with a marker injected, and of sentences
    of another domain are unlike its irl texts, on which the reward was fitted; see `notice`.

    The features are the hidden states' means over the tokens: a marker has to be noticed wherever
    it stands.

    Args:
        texts: columns source, split, prompt_id, sample, prompt, completion and text.

    Returns:
        The outliers table.
    """
    base = texts[texts["source"] == "base"]
    fitted, known, test = (base[base["split"] == split] for split in ("irl", "valid", "test"))
    marked = with_markers(test["prompt"].tolist(), test["completion"].tolist(), seed=seed)
    table = pd.concat(
        [
            test[["prompt_id", "sample", "text"]].assign(kind="inside"),
            test[["prompt_id", "sample"]].assign(kind="marker", text=marked),
            pd.DataFrame({"text": other_domain(len(test))}).assign(kind="other_domain"),
        ],
        ignore_index=True,
    ).astype({"prompt_id": "Int64", "sample": "Int32"})
    features = [
        hidden_states(group["text"].tolist(), model, pooling="mean", truncate=True)
        for group in (fitted, known, table)
    ]
    distance, flagged = notice(*features)
    return table.assign(distance=distance, flagged=flagged)


def notice(fitted: Features, known: Features, others: Features) -> tuple[np.ndarray, np.ndarray]:
    """Squared Mahalanobis distances of texts to the fitted ones, and which of them are flagged.

    The covariance is shrunk (Ledoit & Wolf 2004). A text is flagged beyond the 95 % quantile of the
    distances of the `known` texts.

    Args:
        fitted: features of the texts that the reward was fitted on.
        known: of other texts of the same kind.
        others: of the texts to be measured.

    Returns:
        Distances, float64, and flags, bool, each of shape (others,).
    """
    space = LedoitWolf().fit(fitted)
    distance: np.ndarray = space.mahalanobis(others)
    return distance, distance > np.quantile(space.mahalanobis(known), 0.95)


def outlier_report(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """How well the distance tells each kind of outlier from the held-out texts, `inside`.

    Args:
        table: columns kind, distance and flagged.

    Returns:
        For each kind of outlier: auroc and flagged_share; for `inside` its flagged_share, which are
        false alarms.
    """
    near = table.loc[table["kind"] == "inside", "distance"]
    report = {}
    for kind, rows in table.groupby("kind"):
        report[str(kind)] = {"flagged_share": float(rows["flagged"].mean())}
        if kind != "inside":
            label = np.repeat([0, 1], [len(near), len(rows)])
            distance = np.concatenate([near, rows["distance"]])
            report[str(kind)]["auroc"] = float(roc_auc_score(label, distance))
    return report
