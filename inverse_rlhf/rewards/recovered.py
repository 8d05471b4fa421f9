"""The recovered reward: a scalar head on a transformer, weighted text features, or their sum."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from transformers import BatchEncoding

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.hidden_state import Pooling, pooled_hidden_state, scalar_head
from inverse_rlhf.files import atomic
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import encode, map_texts
from inverse_rlhf.params import Compute
from inverse_rlhf.rewards.linear_text import LinearTextReward


class Reading(BaseModel):
    """What reward.json says of how a recovered reward is read; the rest of it is `RewardCard`'s.

    Attributes:
        features: what the reward reads.
        pooling: where it reads hidden states: at the last token, or their mean over the tokens.
        mean, std: of the reward on the texts it was fitted on; re-RL uses (score - mean) / std.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    features: list[str]
    pooling: Pooling
    mean: float
    std: float


Card = TypeVar("Card", bound=Reading)


class IrlReward:
    """A recovered reward.

    Args:
        body: a sequence classifier with one output; None: text features only.
        text: the weighted text features; None: the transformer only.
        reading: how it is read.
    """

    def __init__(self, body: Model | None, text: LinearTextReward | None, reading: Reading) -> None:
        if body is None and text is None:
            raise ValueError("a reward needs a transformer or text features")
        self.body, self.text, self.reading = body, text, reading

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        values = np.zeros(len(texts), dtype=np.float32)
        if self.body is not None:
            values += map_texts(self._head, encode(texts, self.body), self.body)
        if self.text is not None:
            values += self.text.score(texts)
        return values

    def standardised(self, texts: Sequence[str]) -> np.ndarray:
        """Scores with mean 0 and standard deviation 1 on the texts the reward was fitted on."""
        reading = self.reading
        return (self.score(texts) - np.float32(reading.mean)) / np.float32(reading.std)

    def save(self, path: Path | str) -> None:
        """Write reward.json; beside it a sequence-classification checkpoint for what reads hidden
        states, and linear.json for what reads text features.
        """
        with atomic(path) as folder:
            folder.mkdir()
            if self.body is not None:
                self.body.write(folder)
            if self.text is not None:
                (folder / "linear.json").write_text(self.text.to_json(), encoding="utf-8")
            card = json.dumps(self.reading.model_dump(), indent=2, sort_keys=True) + "\n"
            (folder / "reward.json").write_text(card, encoding="utf-8")

    def _head(self, batch: BatchEncoding) -> torch.Tensor:
        assert self.body is not None
        module = self.body.module
        pooled = pooled_hidden_state(module, batch, self.reading.pooling)
        return scalar_head(pooled, module.score.weight)


def load_irl_reward(path: Path, compute: Compute) -> IrlReward:
    """A recovered reward from its folder; raises like `read_card` and `load`."""
    reading = read_card(path, Reading)
    body = load("classifier", path, compute) if "hidden_state" in reading.features else None
    text = None
    if set(reading.features) != {"hidden_state"}:
        try:
            text = LinearTextReward.from_json((path / "linear.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no recovered reward: linear.json: {error!r}") from None
    return IrlReward(body, text, reading)


def read_card(path: Path, kind: type[Card]) -> Card:
    """What reward.json in a recovered reward's folder says.

    Raises:
        UserError: there is no valid reward.json.
    """
    try:
        return kind.model_validate_json((path / "reward.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{path} is no recovered reward: reward.json: {line}") from None
