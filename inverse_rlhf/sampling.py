"""Completions that depend on nothing but the policy, the seed, the prompt and the sample's number.

Sampling from a softmax is taking the argmax of the logits plus Gumbel noise. Noise that is a hash
of (seed, policy, prompt, sample, position, token) makes a completion independent of the batch it is
computed in and of the order of the prompts; greedy decoding over noisy logits does the sampling.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.models import autocast, max_tokens
from inverse_rlhf.params import Compute, Pairs

# Multipliers of the 32-bit integer hash lowbias32 (Wellons, "Prospecting for hash functions", 2018)
# and of Fibonacci hashing (2^32 / golden ratio), as signed integers.
_FACTORS = (0x7FEB352D, 0x846CA68B - (1 << 32))
_GOLDEN = 0x9E3779B9 - (1 << 32)


def hash32(values: torch.Tensor) -> torch.Tensor:
    """A bijection of int32 that looks random, element by element."""
    values = (values ^ _shifted(values, 16)) * _FACTORS[0]
    values = (values ^ _shifted(values, 15)) * _FACTORS[1]
    return values ^ _shifted(values, 16)


def _shifted(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift: torch's own keeps the sign."""
    return (values >> bits) & ((1 << (32 - bits)) - 1)


def gumbel_noise(keys: torch.Tensor, position: int, vocabulary: int) -> torch.Tensor:
    """Standard Gumbel noise, a function of its arguments alone.

    Args:
        keys: int32 tensor of shape (rows,), one key a completion.
        position: number of the token within the completion, from 0.
        vocabulary: number of tokens.

    Returns:
        float32 tensor of shape (rows, vocabulary).
    """
    tokens = torch.arange(vocabulary, dtype=torch.int32, device=keys.device) * _GOLDEN
    bits = hash32(hash32(hash32(keys) + position).unsqueeze(1) + tokens)
    # Floats are finest near 0: so is the upper tail of the noise, where samples are decided.
    uniform = (bits.float() + 0.5).abs() * 2.0**-31
    exponential = -torch.log1p(-uniform.clamp(max=1 - 2.0**-24))
    return -torch.log(exponential)


class KeyedGumbel(LogitsProcessor):
    """Adds `gumbel_noise` to the logits, so that greedy decoding samples."""

    def __init__(self, keys: torch.Tensor, prompt_tokens: int) -> None:
        self.keys, self.prompt_tokens = keys, prompt_tokens

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The logits, (rows, vocabulary), with noise; `input_ids` begins with the prompt."""
        position = input_ids.shape[1] - self.prompt_tokens
        return scores.float() + gumbel_noise(self.keys, position, scores.shape[1])


def sample_completions(
    prompts: pd.DataFrame,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    params: Pairs,
    compute: Compute,
    *,
    seed: int,
    name: str,
) -> pd.DataFrame:
    """`params.samples` completions of every prompt.

    Args:
        prompts: columns prompt_id and prompt.
        name: of the policy. It is part of what a completion depends on, so that two policies'
            completions of a prompt are independent, as the likelihood of a pair takes them to be.

    Returns:
        Columns prompt_id (int64), sample (int32) and completion (str), in the order of the
        prompts; a completion excludes the prompt and the end-of-text token.

    Raises:
        UserError: a prompt and its completion do not fit the policy's context.
    """
    rows = pd.DataFrame(
        {
            "prompt_id": np.repeat(prompts["prompt_id"].to_numpy(), params.samples),
            "sample": np.tile(np.arange(params.samples, dtype=np.int32), len(prompts)),
        }
    )
    ids = tokenizer(list(prompts["prompt"]))["input_ids"]
    check_context(ids, prompts["prompt_id"].tolist(), model, params.max_new_tokens)
    ids = [row for row in ids for _ in range(params.samples)]
    order = np.argsort([len(row) for row in ids], kind="stable")
    keys = _keys(seed, name, rows)
    texts = np.empty(len(rows), dtype=object)
    for start in tqdm(range(0, len(order), compute.batch_size), desc=f"{name} completions"):
        batch = order[start : start + compute.batch_size]
        chosen = [ids[row] for row in batch]
        texts[batch] = _generate(chosen, keys[batch], model, tokenizer, params, compute)
    return rows.assign(completion=texts)


def check_context(
    ids: Sequence[Sequence[int]], prompt_ids: Sequence[int], model: PreTrainedModel, new_tokens: int
) -> None:
    """Check that every prompt leaves room for `new_tokens` in the policy's context.

    Raises:
        UserError: naming the first prompt that does not.
    """
    limit = max_tokens(model)
    for row, prompt_id in zip(ids, prompt_ids, strict=True):
        if len(row) + new_tokens > limit:
            raise UserError(
                f"prompt {prompt_id} has {len(row)} tokens: with max_new_tokens {new_tokens} it "
                f"exceeds the policy's context, {limit}: lower data.prompt_words or max_new_tokens"
            )


def fits_context(
    prompts: pd.DataFrame,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    new_tokens: int,
) -> np.ndarray:
    """Which prompts leave room for `new_tokens` in the policy's context: bool, (prompts,)."""
    ids = tokenizer(prompts["prompt"].tolist())["input_ids"]
    return np.array([len(row) + new_tokens <= max_tokens(model) for row in ids])


def _keys(seed: int, name: str, rows: pd.DataFrame) -> torch.Tensor:
    """One int32 key a completion, from the seed, the policy, the prompt and the sample's number."""
    start = torch.tensor([seed, zlib.crc32(name.encode())], dtype=torch.int64).to(torch.int32)
    key = hash32(hash32(start[:1]) + start[1:])
    for column in ("prompt_id", "sample"):
        key = hash32(key + torch.tensor(rows[column].to_numpy().astype(np.int32)))
    return key


@torch.no_grad()
def _generate(
    ids: list[list[int]],
    keys: torch.Tensor,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    params: Pairs,
    compute: Compute,
) -> list[str]:
    batch = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    batch = batch.to(model.device)
    width = batch["input_ids"].shape[1]
    config = GenerationConfig(
        do_sample=False,
        min_new_tokens=params.min_new_tokens,
        max_new_tokens=params.max_new_tokens,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    processors = LogitsProcessorList()
    if params.decoding == "sample":
        processors = _warpers(params)
        processors.append(KeyedGumbel(keys.to(model.device), width))
    with autocast(compute):
        output = model.generate(**batch, generation_config=config, logits_processor=processors)
    texts: list[str] = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return texts


def _warpers(params: Pairs) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if params.temperature != 1:
        warpers.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        warpers.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        warpers.append(TopPLogitsWarper(params.top_p))
    return warpers
