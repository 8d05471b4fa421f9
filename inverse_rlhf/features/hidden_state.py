"""Pooled hidden states of a transformer, and the head that makes a reward of them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import linear
from transformers import BatchEncoding, PreTrainedModel

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import encode, map_texts

Pooling = Literal["last", "mean"]


def pooled_hidden_state(
    module: PreTrainedModel, batch: BatchEncoding, pooling: Pooling
) -> torch.Tensor:
    """The last layer's hidden state at the last token, or its mean over the tokens.

    Args:
        module: a model with a transformer body as `base_model`.
        batch: right-padded, with attention mask.

    Returns:
        Tensor of shape (texts, hidden).
    """
    hidden = module.base_model(**batch, use_cache=False).last_hidden_state
    mask = batch["attention_mask"]
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)
    last = mask.sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def scalar_head(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Rewards, float32 of shape (...), from hidden states (..., hidden) and a head (1, hidden).

    In float32 under autocast too: bfloat16 would leave a reward fewer than three digits.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return linear(hidden.float(), weight).squeeze(-1)


def hidden_states(texts: Sequence[str], model: Model, *, pooling: Pooling) -> np.ndarray:
    """`pooled_hidden_state` of many texts: float32 array of shape (texts, hidden)."""
    return map_texts(
        lambda batch: pooled_hidden_state(model.module, batch, pooling),
        encode(texts, model),
        model,
    )
