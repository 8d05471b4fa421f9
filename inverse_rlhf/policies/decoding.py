"""Decoding of many completions at once: the one way in which policies are sampled here.

`generate` of transformers carries a finished completion along until the last one of its batch is
finished; here it leaves the batch. A token is drawn where a uniform number falls in the cumulative
probabilities. That number is a hash of the completion's key and the position, so that a completion
depends on no other one, but for how the model's products are rounded in batches of another size.
"""

from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    PreTrainedModel,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation.utils import ALL_CACHE_NAMES

from inverse_rlhf.models import processes

# Multipliers of the 32-bit integer hash lowbias32 (Wellons, "Prospecting for hash functions",
# 2018), as signed integers.
_FACTORS = (0x7FEB352D, 0x846CA68B - (1 << 32))
_WHOLE = 2.0**40  # a probability of 1 as an integer
_WORTH_DROPPING = 1 / 8  # of a batch; dropping rows copies the others' keys and values
_NOT_FINITE = "the policy's probabilities are not finite"
# Of these it is known how to drop rows: layers of a cache that hold keys and values alone, and
# processors that keep nothing of a row. Others, such as recurrent layers, inherit the former.
_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)
_PROCESSORS = (
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)


def hash32(values: torch.Tensor) -> torch.Tensor:
    """A bijection of int32 that looks random, element by element."""
    values = (values ^ _shifted(values, 16)) * _FACTORS[0]
    values = (values ^ _shifted(values, 15)) * _FACTORS[1]
    return values ^ _shifted(values, 16)


def _shifted(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift: torch's own keeps the sign."""
    return (values >> bits) & ((1 << (32 - bits)) - 1)


def random_keys(count: int) -> torch.Tensor:
    """int32 keys of shape (count,) from torch's own generator.

    Processes that work together draw the keys of all their rows, and each takes those of its own.
    """
    keys = torch.randint(-(2**31), 2**31, (count * processes.count(),), dtype=torch.int32)
    return keys[count * processes.rank() :][:count]


def draw_tokens(scores: torch.Tensor, keys: torch.Tensor, position: int) -> torch.Tensor:
    """One token a row from the softmax of its scores, a function of the arguments alone.

    Args:
        scores: (rows, vocabulary); -inf is never drawn.
        keys: int32 of shape (rows,), one key a completion.
        position: number of the token within the completion, from 0.

    Returns:
        int64 tensor of shape (rows,).

    Raises:
        FloatingPointError: the probabilities are not finite.
    """
    bits = hash32(hash32(keys) + position)
    uniform = (bits.double() + 2.0**31) * 2.0**-32
    # Sums of integers are exact: the same on every device and in every batch.
    cumulative = (scores.float().softmax(-1).double() * _WHOLE).long().cumsum(-1)
    if (cumulative[:, -1] < _WHOLE / 2).any():
        raise FloatingPointError(_NOT_FINITE)
    point = (uniform * cumulative[:, -1]).long()
    return torch.searchsorted(cumulative, point[:, None], right=True).squeeze(1)


@torch.no_grad()
def decode(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    keys: torch.Tensor | None = None,
    synced_gpus: bool = False,
    **model_kwargs: Any,
) -> torch.Tensor:
    """The decoding loop for `model.generate(custom_generate=decode)`.

    Args:
        input_ids: int64 of shape (rows, tokens), prompts padded on the left.
        keys: int32 of shape (rows,), one key a completion; None: from torch's own generator.
        synced_gpus: not supported: weights that are spread over processes.

    Raises:
        FloatingPointError: the policy's probabilities are not finite.

    Returns:
        int64 of shape (rows, tokens + longest completion): prompts and completions, these padded
        on the right.
    """
    if synced_gpus:
        raise ValueError("several processes cannot decode together")
    (count, width), device = input_ids.shape, input_ids.device
    keys = (random_keys(count) if keys is None else keys).to(device)
    longest = stopping_criteria.max_length - width
    completions = input_ids.new_full((count, longest), int(generation_config.pad_token_id))
    texts, prompts = input_ids, input_ids
    rows = torch.arange(count, device=device)  # of `completions`, that `texts` still holds
    finished = torch.zeros_like(rows, dtype=torch.bool)
    for position in range(longest):
        inputs = model.prepare_inputs_for_generation(
            texts,
            next_sequence_length=1 if position and model_kwargs["use_cache"] else None,
            is_first_iteration=not position,
            **model_kwargs,
        )
        output = model(**inputs, return_dict=True)
        model_kwargs = model._update_model_kwargs_for_generation(output, model_kwargs)
        scores = logits_processor(texts, output.logits[:, -1].float())
        if generation_config.do_sample:
            tokens = draw_tokens(scores, keys[rows], position)
        elif not scores.amax(-1).isfinite().all():
            raise FloatingPointError(_NOT_FINITE)
        else:
            tokens = scores.argmax(-1)
        completions[rows[~finished], position] = tokens[~finished]
        texts = torch.cat([texts, tokens[:, None]], dim=1)
        finished |= stopping_criteria(texts, None)
        if finished.all():
            break
        if finished.float().mean() >= _WORTH_DROPPING and _can_drop(model_kwargs, logits_processor):
            kept = (~finished).nonzero().squeeze(1)
            model_kwargs = _rows_of(model_kwargs, kept, len(texts))
            texts, rows, finished = texts[kept], rows[kept], finished[kept]
    return torch.cat([prompts, completions[:, : position + 1]], dim=1)


def _can_drop(model_kwargs: dict[str, Any], logits_processor: LogitsProcessorList) -> bool:
    """Whether all that is kept of a row is known."""
    caches = [model_kwargs.get(name) for name in ALL_CACHE_NAMES]
    layers = [
        layer for cache in caches if cache is not None for layer in getattr(cache, "layers", [None])
    ]
    return all(type(layer) in _LAYERS for layer in layers) and all(
        type(processor) in _PROCESSORS for processor in logits_processor
    )


def _rows_of(model_kwargs: dict[str, Any], kept: torch.Tensor, count: int) -> dict[str, Any]:
    """The same for some of `count` rows; the cache is changed in place."""
    cache = model_kwargs.get("past_key_values")
    if cache is not None:
        cache.batch_select_indices(kept)
    return {
        name: value[kept]
        if isinstance(value, torch.Tensor) and value.dim() > 1 and len(value) == count
        else value
        for name, value in model_kwargs.items()
    }
