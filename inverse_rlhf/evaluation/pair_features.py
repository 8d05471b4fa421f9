"""The features of an audit's pairs: named objectives, n-grams, hidden states of a body."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from inverse_rlhf.audit_params import AuditSettings
from inverse_rlhf.errors import UserError
from inverse_rlhf.features.objectives import Objectives
from inverse_rlhf.features.text import NGrams

if TYPE_CHECKING:
    from inverse_rlhf.models.checkpoints import Model

SIDES = ("base", "aligned")


@dataclass(frozen=True)
class PairFeatures:
    """One kind of features of both completions of every pair.

    Attributes:
        deltas: aligned minus base features, (pairs, features), dense or sparse; objectives in
            units of their spread, others as they are.
        names: of the features; none of hidden states.
        scale: what each feature was divided by.
    """

    deltas: Any
    names: list[str]
    scale: Float[np.ndarray, " features"]


def objective_values(pairs: pd.DataFrame) -> dict[str, Float[np.ndarray, "pairs objectives"]]:
    """All named objectives of each side's completions, each in its own unit."""
    prompts = pairs["prompt"].tolist()
    return {
        side: Objectives().transform(pairs[f"{side}_completion"].tolist(), prompts).toarray()
        for side in SIDES
    }


def named_objectives(pairs: pd.DataFrame, values: dict[str, np.ndarray]) -> PairFeatures:
    """The objectives, each over its standard deviation on the fitted completions of both sides
    (design, section 6). One that is the same in all of them has differences 0.

    Args:
        values: see `objective_values`.
    """
    fitted = by_split(pairs, "irl")
    scale = np.concatenate([values[side][fitted] for side in SIDES]).std(axis=0)
    constant = scale < 1e-9
    deltas = (values["aligned"] - values["base"]) / np.where(constant, 1, scale)
    deltas[:, constant] = 0
    return PairFeatures(deltas, Objectives().names, np.where(constant, 1, scale))


def ngrams(pairs: pd.DataFrame, settings: AuditSettings) -> PairFeatures | None:
    """tf-idf of n-grams, chosen on the fitted completions; None where none is frequent enough."""
    fitted = pairs[by_split(pairs, "irl")]
    known = [text for side in SIDES for text in fitted[f"{side}_completion"]]
    try:
        vectorizer = NGrams.fit(known, settings.audit.ngram)
    except UserError:
        return None
    base, aligned = (vectorizer.transform(pairs[f"{side}_completion"].tolist()) for side in SIDES)
    return PairFeatures(aligned - base, vectorizer.names, np.ones(base.shape[1]))


def body_of(settings: AuditSettings) -> "Model":
    """The transformer that `audit.body` names.

    Raises:
        UserError: it cannot be loaded as one.
    """
    from inverse_rlhf.models.checkpoints import load  # loads torch

    audit = settings.audit
    assert audit.body is not None
    return load(
        "body", audit.body, settings.compute, key="audit.body", revision=audit.body_revision
    )


def hidden_states_of(
    pairs: pd.DataFrame, settings: AuditSettings
) -> tuple[PairFeatures, dict[str, Any]]:
    """Hidden states of `audit.body` for the completions alone; the mean of all others' for those
    of no token, as empty ones are to some tokenizers.

    Returns:
        The features, over the root mean square distance from their mean; and how many completions
        were longer than the body's context and cut there.
    """
    from inverse_rlhf.features.hidden_state import hidden_states  # loads torch
    from inverse_rlhf.models.reading import token_counts

    audit, model = settings.audit, body_of(settings)
    texts = [text for side in SIDES for text in pairs[f"{side}_completion"]]
    distinct = list(dict.fromkeys(texts))
    counts = token_counts(distinct, model)
    readable = [text for text, count in zip(distinct, counts, strict=True) if count]
    known = hidden_states(readable, model, pooling=audit.pooling, truncate=True).astype(np.float64)
    states = np.tile(known.mean(axis=0), (len(distinct), 1))
    states[counts > 0] = known
    rows = pd.Index(distinct).get_indexer(pd.Index(texts))
    base, aligned = np.split(states[rows], 2)
    spread = np.sqrt(np.concatenate([base, aligned]).var(axis=0).mean()) or 1.0
    features = PairFeatures((aligned - base) / spread, [], np.full(base.shape[1], spread))
    return features, {"cut": int((counts[rows] > model.max_tokens).sum())}


def by_split(pairs: pd.DataFrame, name: str) -> Bool[np.ndarray, " pairs"]:
    """Which pairs are of a split."""
    return (pairs["split"] == name).to_numpy()
