"""Rewards of texts: the true one of a classifier, the recovered one of a scalar head."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.special import expit
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.errors import UserError
from inverse_rlhf.features import Pooling, encode, map_texts, pooled_hidden_state, scalar_head
from inverse_rlhf.models import load, save
from inverse_rlhf.params import Compute, Parts, TrueReward
from inverse_rlhf.text_features import LinearTextReward, named_feature


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


def toxicity_of(reward: np.ndarray) -> np.ndarray:
    """p(toxic) from a `ClassifierReward`'s rewards, float32 of the same shape."""
    return expit(-reward.astype(np.float64)).astype(np.float32)


class RewardCard(BaseModel):
    """What reward.json says beside a recovered reward's weights.

    Attributes:
        features: what the reward reads.
        pooling: where it reads hidden states: at the last token, or their mean over the tokens.
        mean, std: of the reward on the texts it was fitted on; re-RL uses (score - mean) / std.
        threshold: texts below it are called toxic: the one of `thresholds` that was asked for.
        thresholds: every threshold by name.
        run: number of the run that the weights come from; None: the ensemble of all runs.
        epoch, valid_discrimination: of that run; the ensemble has no epoch.
        method, loss, trainable: how it was fitted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    features: list[str]
    pooling: Pooling
    mean: float
    std: float
    threshold: float
    thresholds: dict[str, float]
    run: int | None
    epoch: int | None
    valid_discrimination: float
    method: str
    loss: str
    trainable: str


class IrlReward:
    """A recovered reward: a scalar head on a transformer, weighted text features, or their sum.

    Args:
        body: a sequence classifier with one output and its tokenizer; None: text features only.
        text: the weighted text features; None: the transformer only.
    """

    def __init__(
        self,
        body: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None,
        text: LinearTextReward | None,
        compute: Compute,
        card: RewardCard,
    ) -> None:
        if body is None and text is None:
            raise ValueError("a reward needs a transformer or text features")
        self.body, self.text, self.compute, self.card = body, text, compute, card

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        values = np.zeros(len(texts), dtype=np.float32)
        if self.body is not None:
            model, tokenizer = self.body
            encoded = encode(texts, model, tokenizer)
            values += map_texts(self._head, encoded, model, tokenizer, self.compute)
        if self.text is not None:
            values += self.text.score(texts)
        return values

    def standardised(self, texts: Sequence[str]) -> np.ndarray:
        """Scores with mean 0 and standard deviation 1 on the texts the reward was fitted on."""
        return (self.score(texts) - np.float32(self.card.mean)) / np.float32(self.card.std)

    def save(self, path: Path | str) -> None:
        """Write reward.json; beside it a sequence-classification checkpoint for what reads hidden
        states, and linear.json for what reads text features.
        """
        card = json.dumps(self.card.model_dump(), indent=2, sort_keys=True) + "\n"
        files = {"reward.json": card}
        if self.text is not None:
            files["linear.json"] = self.text.to_json()
        save(self.body, path, files)

    def _head(self, batch: BatchEncoding) -> torch.Tensor:
        assert self.body is not None
        model = self.body[0]
        return scalar_head(pooled_hidden_state(model, batch, self.card.pooling), model.score.weight)


class CombinedReward:
    """The true reward as a weighted sum of named parts.

    Args:
        parts: rewards by name.
        weights: of each part.
    """

    def __init__(self, parts: dict[str, Reward], weights: dict[str, float]) -> None:
        self.parts, self.weights = parts, weights

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        total = sum(self.weights[name] * part.score(texts) for name, part in self.parts.items())
        return np.asarray(total, dtype=np.float32)


def load_classifier_reward(path: Path, compute: Compute, *, toxic_label: int) -> ClassifierReward:
    """The toxicity part of the true reward, from a classifier's folder."""
    model, tokenizer = load("classifier", path, compute)
    return ClassifierReward(model, tokenizer, compute, toxic_label=toxic_label)


def load_true_reward(
    path: Path, compute: Compute, params: TrueReward, parts: Parts
) -> ClassifierReward | CombinedReward:
    """The true reward: the classifier where nothing else counts, else a weighted sum."""
    weights = {name: weight for name, weight in params.weights.model_dump().items() if weight}
    if weights == {"toxicity": 1.0}:
        return load_classifier_reward(path, compute, toxic_label=params.toxic_label)
    found: dict[str, Reward] = {}
    for name in weights:
        if name == "toxicity":
            found[name] = load_classifier_reward(path, compute, toxic_label=params.toxic_label)
        else:
            found[name] = LinearTextReward([named_feature(name, parts)], np.ones(1))
    return CombinedReward(found, weights)


def load_irl_reward(path: Path, compute: Compute) -> IrlReward:
    """A recovered reward from its folder; raises like `read_card` and `load`."""
    card = read_card(path)
    body = load("classifier", path, compute) if "hidden_state" in card.features else None
    text = None
    if set(card.features) != {"hidden_state"}:
        try:
            text = LinearTextReward.from_json((path / "linear.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no recovered reward: linear.json: {error!r}") from None
    return IrlReward(body, text, compute, card)


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
