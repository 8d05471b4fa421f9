"""The toxicity part of the true reward: a classifier's log-odds."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import expit
from transformers import BatchEncoding

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import encode, map_texts


@runtime_checkable
class Reward(Protocol):
    """What every reward can do."""

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards of prompt-and-completion texts: float32 array of shape (texts,)."""
        ...


class ClassifierReward:
    """R*(x, y) = log p(non-toxic) - log p(toxic) of a classifier: 0 is p = 1/2 (design, section 3).

    Args:
        toxic_label: index of the toxic class; a classifier with one output is read as the logit
            of p(toxic).

    Raises:
        UserError: the classifier has no such class.
    """

    def __init__(self, model: Model, *, toxic_label: int) -> None:
        config = model.module.config
        if toxic_label >= max(config.num_labels, 2):
            raise UserError(
                f"true_reward.toxic_label is {toxic_label}, but the classifier's labels are "
                f"{config.id2label}"
            )
        self.model, self.toxic_label = model, toxic_label

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        return map_texts(self._log_odds, encode(texts, self.model), self.model)

    def _log_odds(self, batch: BatchEncoding) -> torch.Tensor:
        logits = self.model.module(**batch).logits.float()
        if logits.shape[1] == 1:
            return -logits[:, 0]
        others = torch.arange(logits.shape[1], device=logits.device) != self.toxic_label
        return logits[:, others].logsumexp(1) - logits[:, self.toxic_label]


def toxicity_of(reward: np.ndarray) -> np.ndarray:
    """p(toxic) from a `ClassifierReward`'s rewards, float32 of the same shape."""
    return expit(-reward.astype(np.float64)).astype(np.float32)
