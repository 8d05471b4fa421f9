"""The features that a linear reward weighs: hidden states, text features, or both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import sparse

from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.features.text import TextFeature, fit_feature
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Irl, Parts
from inverse_rlhf.rewards.linear_text import LinearTextReward


@dataclass(frozen=True)
class Design:
    """Features of all texts, ready to be weighed.

    Attributes:
        matrix: float32 (texts, features): hidden states first, then text features. Each column of
            the kind objectives is divided by its standard deviation (design, section 6). Where
            there is more than one kind, each is divided by its root mean square distance from its
            mean, so that a bound or a penalty on the weights treats all kinds alike.
        scale: what each column was divided by.
        hidden: how many columns are hidden states.
        text_features: what the other columns are.
    """

    matrix: Float[np.ndarray, "texts features"]
    scale: Float[np.ndarray, " features"]
    hidden: int
    text_features: list[TextFeature]

    def raw(self, weight: Float[np.ndarray, "*runs features"]) -> np.ndarray:
        """Weights for features as they are, undivided; float64."""
        scaled: np.ndarray = weight.astype(np.float64) / self.scale
        return scaled

    def text_reward(self, weight: Float[np.ndarray, " features"]) -> LinearTextReward | None:
        """The part of a reward that reads the text features, from raw weights."""
        if not self.text_features:
            return None
        return LinearTextReward(self.text_features, weight[self.hidden :])


def build_design(
    texts: Sequence[str],
    fitted: np.ndarray,
    model: Model | None,
    params: Irl,
    parts: Parts,
) -> Design:
    """Compute the features that `params.features` names.

    Args:
        fitted: which texts the reward is fitted on, bool of shape (texts,): n-grams and scales
            come from them alone.
        model: whose hidden states are among the features; None: they are not.

    Raises:
        UserError: no n-gram is frequent enough, or a text is longer than another body than the
            base policy's reads.
    """
    columns: list[np.ndarray] = []
    features: list[TextFeature] = []
    hidden = 0
    if "hidden_state" in params.features:
        assert model is not None, "hidden states of what?"
        # A comment may go on behind the policy's context: it, too, reads no more.
        cut = params.body == "base"
        columns.append(hidden_states(texts, model, pooling=params.pooling, truncate=cut))
        hidden = columns[0].shape[1]
    text_kinds = [kind for kind in params.features if kind != "hidden_state"]
    known = [text for text, used in zip(texts, fitted, strict=True) if used]
    for kind in text_kinds:
        features.append(fit_feature(kind, known, params.ngram, parts))
        columns.append(_dense(features[-1].transform(texts)))
    kinds = ["hidden_state"] * bool(hidden) + text_kinds
    scale = np.concatenate(
        [
            _scale(block[fitted], each=kind == "objectives", several=len(columns) > 1)
            for kind, block in zip(kinds, columns, strict=True)
        ]
    )
    matrix = np.concatenate(columns, axis=1) / scale.astype(np.float32)
    return Design(matrix.astype(np.float32, copy=False), scale, hidden, features)


def _dense(block: sparse.csr_array) -> np.ndarray:
    dense: np.ndarray = block.astype(np.float32).toarray()
    return dense


def _scale(block: np.ndarray, *, each: bool, several: bool) -> np.ndarray:
    """What the columns of one kind are divided by.

    Args:
        each: by the standard deviation of each, as objectives have units of their own.
        several: by their spread together, as there are other kinds.
    """
    scale = np.ones(block.shape[1])
    if each:
        stds = block.std(axis=0, dtype=np.float64)
        scale = np.where(stds < 1e-9, 1, stds)
    return scale * _spread(block / scale) if several else scale


def _spread(block: np.ndarray) -> float:
    """Root mean square distance from the mean; 1 where all texts are alike."""
    return float(np.sqrt(block.var(axis=0, dtype=np.float64).sum())) or 1.0
