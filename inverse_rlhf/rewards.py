"""Rewards of texts: the true one of a classifier, the recovered one of a scalar head."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.errors import UserError
from inverse_rlhf.features import Pooling, encode, map_texts, pooled_hidden_state
from inverse_rlhf.models import load, save
from inverse_rlhf.params import Compute


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

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        compute: Compute,
        *,
        toxic_label: int,
    ) -> None:
        if toxic_label >= max(model.config.num_labels, 2):
            raise UserError(
                f"true_reward.toxic_label is {toxic_label}, but the classifier's labels are "
                f"{model.config.id2label}"
            )
        self.model, self.tokenizer, self.compute = model, tokenizer, compute
        self.toxic_label = toxic_label

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        encoded = encode(texts, self.model, self.tokenizer)
        return map_texts(self._log_odds, encoded, self.model, self.tokenizer, self.compute)

    def _log_odds(self, batch: BatchEncoding) -> torch.Tensor:
        logits = self.model(**batch).logits.float()
        if logits.shape[1] == 1:
            return -logits[:, 0]
        others = torch.arange(logits.shape[1], device=logits.device) != self.toxic_label
        return logits[:, others].logsumexp(1) - logits[:, self.toxic_label]


class RewardCard(BaseModel):
    """What reward.json says beside a recovered reward's weights.

    Attributes:
        pooling: what the head reads: the last token's hidden state or the mean over tokens.
        mean, std: of the reward on the texts it was fitted on; re-RL uses (score - mean) / std.
        threshold: texts below it are called toxic (Otsu, on the base policy's valid scores).
        threshold_midpoint: the midpoint of the two policies' mean valid scores.
        run, epoch, loss, trainable, valid_discrimination: where the weights come from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pooling: Pooling
    mean: float
    std: float
    threshold: float
    threshold_midpoint: float
    run: int
    epoch: int
    loss: str
    trainable: str
    valid_discrimination: float


class IrlReward:
    """A recovered reward: a scalar head on a transformer's pooled last hidden state."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        compute: Compute,
        card: RewardCard,
    ) -> None:
        self.model, self.tokenizer, self.compute, self.card = model, tokenizer, compute, card

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        encoded = encode(texts, self.model, self.tokenizer)
        return map_texts(self._head, encoded, self.model, self.tokenizer, self.compute)

    def standardised(self, texts: Sequence[str]) -> np.ndarray:
        """Scores with mean 0 and standard deviation 1 on the texts the reward was fitted on."""
        return (self.score(texts) - np.float32(self.card.mean)) / np.float32(self.card.std)

    def save(self, path: Path | str) -> None:
        """Write a sequence-classification checkpoint with reward.json beside the weights."""
        card = json.dumps(self.card.model_dump(), indent=2, sort_keys=True) + "\n"
        save(self.model, self.tokenizer, path, reward_json=card)

    def _head(self, batch: BatchEncoding) -> torch.Tensor:
        pooled = pooled_hidden_state(self.model, batch, self.card.pooling)
        values: torch.Tensor = self.model.score(pooled).squeeze(-1)
        return values


def load_true_reward(path: Path, compute: Compute, *, toxic_label: int) -> ClassifierReward:
    """The true reward from a classifier's folder."""
    model, tokenizer = load("classifier", path, compute)
    return ClassifierReward(model, tokenizer, compute, toxic_label=toxic_label)


def load_irl_reward(path: Path, compute: Compute) -> IrlReward:
    """A recovered reward from its checkpoint folder; raises like `read_card` and `load`."""
    card = read_card(path)
    model, tokenizer = load("classifier", path, compute)
    return IrlReward(model, tokenizer, compute, card)


def read_card(path: Path) -> RewardCard:
    """What reward.json in a recovered reward's folder says.

    Raises:
        UserError: there is no valid reward.json.
    """
    try:
        return RewardCard.model_validate_json((path / "reward.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{path} is no recovered reward: reward.json: {line}") from None
