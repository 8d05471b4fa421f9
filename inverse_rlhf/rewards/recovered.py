"""The recovered reward: a scalar head on a transformer, weighted text features, or their sum.

A body whose last hidden state a head weighs is one sequence classifier with it, which other
libraries load too, where transformers has such a class. Of anything else, a mean of hidden states,
an encoder's, or a sum with text features, a classifier would give another score: its head lies
beside it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BatchEncoding

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.hidden_state import (
    hidden_size,
    pooled_hidden_state,
    scalar_head,
)
from inverse_rlhf.files import atomic
from inverse_rlhf.models import processes
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import encode, map_texts
from inverse_rlhf.params import Compute
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.portable import write_body, write_classifier
from inverse_rlhf.rewards.reading import Reading, read_card

_HEAD = "head.safetensors"
_ANYWHERE = Compute(
    device="auto",
    dtype="float32",
    bf16=False,
    gradient_checkpointing=False,
    batch_size=32,
    fast=False,
)


class IrlReward:
    """A recovered reward.

    Args:
        body: what reads hidden states; None: text features only.
        text: the weighted text features; None: the transformer only.
        reading: how it is read.
        head: weights for the hidden states, float32 of shape (1, hidden); None: the body is a
            sequence classifier, with one output.

    Attributes:
        readme: what its folder says of it to people; it may be set, and is not read back.
    """

    def __init__(
        self,
        body: Model | None,
        text: LinearTextReward | None,
        reading: Reading,
        head: Float[Tensor, "1 hidden"] | None = None,
    ) -> None:
        if body is None and text is None:
            raise ValueError("a reward needs a transformer or text features")
        self.body, self.text, self.reading, self._own_head = body, text, reading, head
        self.readme = ""

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
        """Write reward.json and, where there is one, README.md; beside them a checkpoint for what
        reads hidden states, with head.safetensors where it is no sequence classifier, and
        linear.json for what reads text features.
        """
        with atomic(path) as folder:
            processes.by_first(self._write, folder)

    def _write(self, folder: Path) -> None:
        folder.mkdir()
        if self.body is not None:
            write = write_body if self.reading.body == "body" else write_classifier
            write(self.body, folder)
        if self._own_head is not None:
            save_file({"weight": self._own_head.cpu().contiguous()}, folder / _HEAD)
        if self.text is not None:
            (folder / "linear.json").write_text(self.text.to_json(), encoding="utf-8")
        card = json.dumps(self.reading.model_dump(), indent=2, sort_keys=True) + "\n"
        (folder / "reward.json").write_text(card, encoding="utf-8")
        if self.readme:
            (folder / "README.md").write_text(self.readme, encoding="utf-8")

    @property
    def head(self) -> Float[Tensor, "1 hidden"]:
        """The weights for the hidden states; there are some where there is a body."""
        assert self.body is not None
        if self._own_head is not None:
            return self._own_head
        weight: Tensor = self.body.module.score.weight
        return weight

    def _head(self, batch: BatchEncoding) -> torch.Tensor:
        assert self.body is not None
        pooled = pooled_hidden_state(self.body.module, batch, self.reading.pooling)
        return scalar_head(pooled, self.head)


def load_irl_reward(path: Path | str, compute: Compute = _ANYWHERE) -> IrlReward:
    """A recovered reward from its folder; raises like `read_card` and `load`."""
    path = Path(path)
    reading = read_card(path, Reading)
    body = text = head = None
    if "hidden_state" in reading.features:
        whole = reading.body == "sequence_classifier"
        body = load("classifier" if whole else "body", path, compute)
        if whole:  # rounded with the body's weights, it would be another reward
            body.module.score.weight.data = _stored_head(path).to(body.device)
        else:
            head = _read_head(path, body)
    if set(reading.features) != {"hidden_state"}:
        try:
            text = LinearTextReward.from_json((path / "linear.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no recovered reward: linear.json: {error!r}") from None
    return IrlReward(body, text, reading, head)


def _stored_head(path: Path) -> Float[Tensor, "1 hidden"]:
    """The head of a sequence classifier as its folder has it."""
    for file in sorted(path.glob("model*.safetensors")):
        with safe_open(file, "pt") as weights:
            if "score.weight" in weights.keys():  # noqa: SIM118 (it is no mapping)
                return weights.get_tensor("score.weight").float()
    raise UserError(f"{path} is no recovered reward: its weights have no score.weight")


def _read_head(path: Path, body: Model) -> Float[Tensor, "1 hidden"]:
    try:
        weight = load_file(path / _HEAD)["weight"]
    except (OSError, SafetensorError, KeyError) as error:
        raise UserError(f"{path} is no recovered reward: {_HEAD}: {error!r}") from None
    if weight.shape != (1, hidden_size(body)):
        raise UserError(f"{path} is no recovered reward: {_HEAD} is not of its body's size")
    return weight.to(body.device)
