"""Texts to features: batched, length-sorted passes through a transformer, and pooling."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch.nn.functional import linear
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.models import autocast, max_tokens
from inverse_rlhf.params import Compute

Pooling = Literal["last", "mean"]

_WORTH_A_CALL = 16  # texts


def encode(
    texts: Sequence[str], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> BatchEncoding:
    """Token ids and attention masks, one list a text, cut to what the model can read."""
    return tokenizer(
        list(texts), truncation=True, max_length=max_tokens(model), return_token_type_ids=False
    )


def pad(
    encoded: BatchEncoding,
    rows: Sequence[int] | np.ndarray,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
) -> BatchEncoding:
    """The given rows as right-padded tensors of shape (rows, tokens) on `device`."""
    chosen = {key: [values[row] for row in rows] for key, values in encoded.items()}
    return tokenizer.pad(chosen, padding_side="right", return_tensors="pt").to(device)


def map_texts(
    function: Callable[[BatchEncoding], torch.Tensor],
    encoded: BatchEncoding,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    compute: Compute,
) -> np.ndarray:
    """Apply `function` without gradients to batches of texts of like length.

    Args:
        function: right-padded batch of b texts -> tensor of shape (b, ...).

    Returns:
        float32 array of shape (texts, ...), in the order of the texts.
    """
    outputs: np.ndarray | None = None
    model.eval()
    for rows in by_length(encoded["input_ids"], compute.batch_size):
        with torch.no_grad(), autocast(compute):
            values = function(pad(encoded, rows, tokenizer, model.device)).float().cpu().numpy()
        if outputs is None:
            outputs = np.empty((len(encoded["input_ids"]), *values.shape[1:]), dtype=np.float32)
        outputs[rows] = values
    assert outputs is not None, "no texts"
    return outputs


def by_length(ids: Sequence[Sequence[int]], batch_size: int) -> Iterator[np.ndarray]:
    """Row numbers of all texts, in batches of texts of like length, the shortest first.

    A batch also ends where a text is a quarter longer than its shortest, once it is worth a call.
    """
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    start = 0
    while start < len(order):
        like = np.searchsorted(ascending, 1.25 * ascending[start], side="right")
        end = min(max(like, start + _WORTH_A_CALL), start + batch_size)
        yield order[start:end]
        start = end


def pooled_hidden_state(
    model: PreTrainedModel, batch: BatchEncoding, pooling: Pooling
) -> torch.Tensor:
    """The last layer's hidden state at the last token, or its mean over the tokens.

    Args:
        model: a model with a transformer body as `base_model`.
        batch: right-padded, with attention mask.

    Returns:
        Tensor of shape (texts, hidden).
    """
    hidden = model.base_model(**batch, use_cache=False).last_hidden_state
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


def hidden_states(
    texts: Sequence[str],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    compute: Compute,
    *,
    pooling: Pooling,
) -> np.ndarray:
    """`pooled_hidden_state` of many texts: float32 array of shape (texts, hidden)."""
    return map_texts(
        lambda batch: pooled_hidden_state(model, batch, pooling),
        encode(texts, model, tokenizer),
        model,
        tokenizer,
        compute,
    )
