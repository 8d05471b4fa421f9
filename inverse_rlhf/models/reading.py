"""Texts through a transformer in batches of like length."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from transformers import BatchEncoding

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model

_WORTH_A_CALL = 16  # texts


def encode(texts: Sequence[str], model: Model) -> BatchEncoding:
    """Token ids and attention masks, one list a text, cut to what the model can read."""
    return model.tokenizer(
        list(texts), truncation=True, max_length=model.max_tokens, return_token_type_ids=False
    )


def token_counts(texts: Sequence[str], model: Model) -> np.ndarray:
    """How many tokens each text has, special ones included, before `encode` cuts it: (texts,)."""
    ids = model.tokenizer(list(texts), verbose=False)["input_ids"]
    return np.array([len(row) for row in ids], dtype=np.int64)


def check_context(
    ids: Sequence[Sequence[int]], prompt_ids: Sequence[int], model: Model, new_tokens: int
) -> None:
    """Check that every prompt leaves room for `new_tokens` in the policy's context.

    Raises:
        UserError: naming the first prompt that does not.
    """
    for row, prompt_id in zip(ids, prompt_ids, strict=True):
        if len(row) + new_tokens > model.max_tokens:
            raise UserError(
                f"prompt {prompt_id} has {len(row)} tokens: with max_new_tokens {new_tokens} it "
                f"exceeds the policy's context, {model.max_tokens}: lower data.prompt_words or "
                "max_new_tokens"
            )


def fits_context(prompts: Sequence[str], model: Model, new_tokens: int) -> np.ndarray:
    """Which prompts leave room for `new_tokens` in the policy's context: bool, (prompts,)."""
    ids = model.tokenizer(list(prompts))["input_ids"]
    return np.array([len(row) + new_tokens <= model.max_tokens for row in ids])


def pad(encoded: BatchEncoding, rows: Sequence[int] | np.ndarray, model: Model) -> BatchEncoding:
    """The given rows as right-padded tensors of shape (rows, tokens) on the model's device."""
    chosen = {key: [values[row] for row in rows] for key, values in encoded.items()}
    padded = model.tokenizer.pad(chosen, padding_side="right", return_tensors="pt")
    return padded.to(model.device)


def map_texts(
    function: Callable[[BatchEncoding], torch.Tensor], encoded: BatchEncoding, model: Model
) -> np.ndarray:
    """Apply `function` without gradients to batches of texts of like length.

    Args:
        function: right-padded batch of b texts -> tensor of shape (b, ...).

    Returns:
        float32 array of shape (texts, ...), in the order of the texts.
    """
    outputs: np.ndarray | None = None
    model.module.eval()
    for rows in by_length(encoded["input_ids"], model.compute.batch_size):
        with torch.no_grad(), model.autocast():
            values = function(pad(encoded, rows, model)).float().cpu().numpy()
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
