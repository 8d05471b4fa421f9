"""One run that trains the transformer's top blocks, adapters of it or all of it, with its head."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding

from inverse_rlhf.features.hidden_state import (
    head_of,
    hidden_size,
    pooled_hidden_state,
    scalar_head,
)
from inverse_rlhf.irl.frozen import FrozenOutputs
from inverse_rlhf.irl.heads import OPTIMIZERS
from inverse_rlhf.irl.losses import constrained, discrimination, head_penalty, pair_loss
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.models.blocks import blocks, train_top_blocks
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.dropout import without_dropout
from inverse_rlhf.models.lora import beside, lora_config, merge_trained
from inverse_rlhf.models.reading import by_length, encode, map_texts, pad, select_rows
from inverse_rlhf.params import Irl


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts: row numbers, (pairs, 2), aligned then base."""

    train: np.ndarray
    valid: np.ndarray


@dataclass(frozen=True)
class NetworkFit:
    """A fitted run: what was trained at the chosen epoch (from 1), and its history by epoch."""

    state: dict[str, Tensor]
    epoch: int
    loss: list[float]
    valid_discrimination: list[float]


class RewardNetwork:
    """A transformer with a one-output head whose trained part can be reset and set.

    It reads a fixed list of texts, so that what its frozen blocks make of them is computed once.

    Attributes:
        own_head: the head, (1, hidden), where the transformer is no sequence classifier.
    """

    def __init__(self, model: Model, texts: Sequence[str], params: Irl) -> None:
        self.model, self.module, self.params = model, model.module, params
        self.encoded = encode(texts, model)
        self.frozen: FrozenOutputs | None = None
        self.adapted: Any = None  # peft's model of the module, which has adapters in it
        if params.trainable == "lora":
            self.adapted = beside(self.module, lora_config(self.module, params.lora_rank))
            if (head := head_of(self.module)) is not None:
                head.requires_grad_(True)
        if params.trainable == "last_k":
            train_top_blocks(self.module, params.last_k)
            if frozen := len(blocks(self.module)) - params.last_k:
                self.frozen = FrozenOutputs.replayed(model, self.encoded, frozen)
        self.encoded["row"] = list(range(len(texts)))
        if model.compute.gradient_checkpointing:
            self.module.activation_checkpointing_enable()
        self.trained = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self.own_head: torch.nn.Parameter | None = None
        if head_of(self.module) is None:
            self.own_head = torch.nn.Parameter(torch.zeros(1, hidden_size(model)).to(model.device))
            self.trained["score.weight"] = self.own_head
        self.start = self.state()

    def state(self) -> dict[str, Tensor]:
        """A copy of the trained parameters on the CPU, with the head as it is applied."""
        values = self.trained | {"score.weight": self.head()}
        return {name: value.detach().cpu().clone() for name, value in values.items()}

    def merge(self) -> None:
        """Make the transformer a plain one, with what adapters it has in its weights."""
        if self.adapted is not None:
            merge_trained(self.adapted, "irl.trainable: lora")

    def head(self) -> Tensor:
        """The head's weights, (1, hidden)."""
        return constrained(self.trained["score.weight"], self.params)

    @torch.no_grad()
    def set_state(self, state: dict[str, Tensor]) -> None:
        """Set the trained parameters."""
        for name, value in state.items():
            self.trained[name].copy_(value)

    def rewards(self, batch: BatchEncoding) -> Tensor:
        """Rewards of a right-padded batch, shape (texts,), with gradients.

        Args:
            batch: besides token ids and mask, the row numbers of the texts as `row`.
        """
        rows = batch.pop("row")
        with self.frozen.replay(rows) if self.frozen else contextlib.nullcontext():
            pooled = pooled_hidden_state(self.module, batch, self.params.pooling)
        return scalar_head(pooled, self.head())

    def rewards_of_rows(self, rows: np.ndarray) -> Tensor:
        """Rewards of some texts with gradients, shape (rows,), float32.

        Texts of like length are read together: random ones would be a third padding.
        """
        groups = list(by_length([self.encoded["input_ids"][row] for row in rows], len(rows)))
        found = [self.rewards(pad(self.encoded, rows[group], self.model)) for group in groups]
        order = torch.from_numpy(np.argsort(np.concatenate(groups)))
        return torch.cat(found)[order.to(self.model.device)]

    def score(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Rewards of all texts, or of some rows, without gradients: float32 of shape (texts,)."""
        encoded = self.encoded if rows is None else select_rows(self.encoded, rows)
        return map_texts(self.rewards, encoded, self.model)

    def fit(self, pairs: Pairs, run: Run) -> NetworkFit:
        """Train from the base policy's weights and a fresh head, and fresh adapters where there
        are any.

        The epoch with the highest discrimination on the valid pairs is kept, the first of equals.
        """
        params = self.params
        self.set_state(self.start)
        head = self.trained["score.weight"]
        with torch.no_grad():
            head[0].copy_(run.initial_head(head.shape[1]))
        self._start_adapters(run)
        optimizer = OPTIMIZERS[params.optimizer](
            self.trained.values(), lr=params.lr, weight_decay=params.weight_decay
        )
        rows = run.resample(len(pairs.train), params)
        valid_signs = run.signs(len(pairs.valid), 4)
        losses: list[float] = []
        discriminations: list[float] = []
        best = NetworkFit({}, 0, losses, discriminations)
        for epoch, order in enumerate(run.orders(len(pairs.train), params), start=1):
            with self._training():
                losses.append(self._epoch(pairs, rows[order], run, optimizer))
            value = discrimination(self._valid_delta(pairs) * valid_signs).item()
            if not discriminations or value > max(discriminations):
                best = NetworkFit(self.state(), epoch, losses, discriminations)
            discriminations.append(value)
        self.set_state(best.state)
        return best

    @torch.no_grad()
    def _start_adapters(self, run: Run) -> None:
        """Give a run first weights A of its own, as peft draws them; its B are 0."""
        generator = run.generator(5)
        for name, value in self.trained.items():
            if ".lora_A." in name:
                first = torch.empty_like(value, device="cpu")
                torch.nn.init.kaiming_uniform_(first, a=math.sqrt(5), generator=generator)
                value.copy_(first)

    @contextlib.contextmanager
    def _training(self) -> Iterator[None]:
        """Without dropout: the reward that is trained is the reward that is read. Activation
        checkpointing, though, works in training mode only.
        """
        with without_dropout(self.module):
            self.module.train(self.model.compute.gradient_checkpointing)
            yield

    def _valid_delta(self, pairs: Pairs) -> Tensor:
        scores = self.score(pairs.valid.reshape(-1)).reshape(-1, 2)
        return torch.from_numpy(scores[:, 0] - scores[:, 1])

    def _epoch(
        self, pairs: Pairs, rows: Tensor, run: Run, optimizer: torch.optim.Optimizer
    ) -> float:
        params, total = self.params, 0.0
        signs = run.signs(len(pairs.train), 3)
        for batch in rows.split(params.batch_size):
            chosen = pairs.train[batch.numpy()]
            with self.model.autocast():
                rewards = self.rewards_of_rows(chosen.T.reshape(-1))
                aligned, base = rewards.reshape(2, -1)
            delta = (aligned - base) * signs[batch].to(self.model.device)
            loss = pair_loss(delta, params).mean() + head_penalty(self.head()[0], params)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.trained.values(), params.max_grad_norm)
            optimizer.step()
            total += loss.item() * len(batch)
        return total / len(rows)
