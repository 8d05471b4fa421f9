"""The toxicity part of the true reward: a classifier's log-odds."""

import re
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import expit
from transformers import BatchEncoding, PreTrainedConfig

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import encode, map_texts

# Labels of Jigsaw's two challenges, any number of which a comment has, and names for none of them.
_JIGSAW = {
    *("toxic", "toxicity", "severe_toxic", "severe_toxicity", "obscene", "threat", "insult"),
    *("identity_hate", "identity_attack", "sexual_explicit"),
}
_CLEAN = re.compile("(non|not|no|none|clean|neutral|normal|safe|civil|ok|okay)(_|$)|nontoxic")


@runtime_checkable
class Reward(Protocol):
    """What every reward can do."""

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards of prompt-and-completion texts: float32 array of shape (texts,)."""
        ...


class ClassifierReward:
    """R*(x, y) = log p(non-toxic) - log p(toxic) of a classifier: 0 is p = 1/2 (design, section 3).

    The head is read by the `problem_type` of its configuration and by its number of outputs:

    - one output is a logit of p(toxic), or a score where problem_type is regression;
    - multi_label_classification: each output is a logit of its own, and the toxic one is read;
    - regression with several outputs: the toxic one is a score;
    - single_label_classification: classes that exclude each other (softmax), as transformers takes
      several outputs without a problem_type to be. With two or more of Jigsaw's labels among them
      (toxic, severe_toxic, insult, ...) and none for clean text they are logits of their own.

    Of a score R* is the distance from `neutral` in the score's unit, and what `toxicity_of` makes
    of it no probability: toxicity rates count the texts beyond `neutral`, means of it say little.

    Args:
        toxic_label: index of the toxic class; a classifier with one output has no other.
        higher_is: what a higher value of that output means.
        neutral: the output (of classes the log-odds) where a text is as toxic as not.

    Attributes:
        head: how it is read, in words.

    Raises:
        UserError: the classifier has no such class.
    """

    def __init__(
        self,
        model: Model,
        *,
        toxic_label: int,
        higher_is: Literal["toxic", "non_toxic"] = "toxic",
        neutral: float = 0.0,
    ) -> None:
        config = model.module.config
        if toxic_label >= max(config.num_labels, 2):
            raise UserError(
                f"true_reward.toxic_label is {toxic_label}, but the classifier's labels are "
                f"{config.id2label}"
            )
        self.model, self.neutral = model, neutral
        self.toxic_label = toxic_label if config.num_labels > 1 else 0
        self._sign = -1 if higher_is == "toxic" else 1
        self._softmax = _exclude_each_other(config)
        kind = "a score" if config.problem_type == "regression" else "a logit"
        name = f"{config.id2label[self.toxic_label]!r}, output {self.toxic_label}"
        how = "by softmax" if self._softmax else kind
        self.head = f"{name} of {config.num_labels}, {how}, higher is {higher_is}"

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        return map_texts(self._rewards, encode(texts, self.model), self.model)

    def _rewards(self, batch: BatchEncoding) -> torch.Tensor:
        logits = self.model.module(**batch).logits.float()
        output = logits[:, self.toxic_label]
        if self._softmax:
            others = torch.arange(logits.shape[1], device=logits.device) != self.toxic_label
            output = output - logits[:, others].logsumexp(1)
        return self._sign * (output - self.neutral)


def _exclude_each_other(config: PreTrainedConfig) -> bool:
    """Whether the outputs are logits of classes of which a text has one."""
    if config.num_labels == 1 or config.problem_type in (
        "multi_label_classification",
        "regression",
    ):
        return False
    if config.problem_type is not None:
        return True
    labels = {re.sub(r"[\W_]+", "_", str(label).lower()) for label in config.id2label.values()}
    return len(labels & _JIGSAW) < 2 or any(_CLEAN.match(label) for label in labels)


def toxicity_of(reward: np.ndarray) -> np.ndarray:
    """p(toxic) from a `ClassifierReward`'s rewards, float32 of the same shape."""
    return expit(-reward.astype(np.float64)).astype(np.float32)
