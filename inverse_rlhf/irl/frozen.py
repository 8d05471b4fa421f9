"""What the frozen bottom blocks make of each text, computed once for all runs and epochs."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchEncoding

from inverse_rlhf.models.blocks import blocks
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.probes import alike
from inverse_rlhf.models.reading import by_length, pad, select_rows


class FrozenOutputs:
    """The output of the highest frozen block at every token of every text, kept on the CPU.

    Memory: 4 bytes times tokens times hidden size, half of it where that output is bfloat16.
    """

    @classmethod
    @torch.no_grad()
    def replayed(cls, model: Model, encoded: BatchEncoding, frozen: int) -> "FrozenOutputs | None":
        """The outputs of all texts, or None where the blocks above read more than the one below
        gives, so that the body computes something else on its replay; see `__init__`.
        """
        lengths = [len(ids) for ids in encoded["input_ids"]]
        few = select_rows(encoded, [int(np.argmin(lengths)), int(np.argmax(lengths))])
        batch = pad(few, [0, 1], model)
        try:
            with cls(model, few, frozen).replay(torch.arange(2)):
                found = model.module.base_model(**batch, use_cache=False).last_hidden_state
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return None
        expected = model.module.base_model(**batch, use_cache=False).last_hidden_state
        inside = batch["attention_mask"].bool()
        return cls(model, encoded, frozen) if alike(found[inside], expected[inside]) else None

    def __init__(self, model: Model, encoded: BatchEncoding, frozen: int) -> None:
        """Read all texts.

        Args:
            encoded: token ids and attention masks, one list a text.
            frozen: how many of the lowest blocks are frozen, at least 1.
        """
        self._frozen = list(blocks(model.module))[:frozen]
        self._outputs: list[Tensor] = [torch.empty(0)] * len(encoded["input_ids"])
        self._device = model.device
        found: list[Tensor] = []

        def keep(_block: Any, _inputs: Any, output: Any) -> None:
            self._in_tuple = isinstance(output, tuple)
            found.append((output[0] if self._in_tuple else output).cpu())

        with (
            torch.no_grad(),
            model.autocast(),
            self._frozen[-1].register_forward_hook(keep),
        ):
            for rows in by_length(encoded["input_ids"], model.compute.batch_size):
                model.module.base_model(**pad(encoded, rows, model), use_cache=False)
                for row, output in zip(rows, found.pop(), strict=True):
                    self._outputs[row] = output[: len(encoded["input_ids"][row])].clone()

    @contextlib.contextmanager
    def replay(self, rows: Tensor) -> Iterator[None]:
        """Within it, the frozen blocks compute nothing and give what they gave for these texts.

        Args:
            rows: numbers of the texts in the batch that the model reads, right-padded.
        """
        kept = pad_sequence([self._outputs[row] for row in rows.tolist()], batch_first=True)
        kept = kept.to(self._device)
        output = (kept,) if self._in_tuple else kept
        for block in self._frozen:
            block.forward = lambda *_, **__: output
        try:
            yield
        finally:
            for block in self._frozen:
                del block.forward
