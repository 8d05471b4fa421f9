"""Completions that depend on nothing but the policy, the seed, the prompt and the sample's number:
neither on the order of the prompts nor, but for rounding, on the batch they are computed in.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.decoding import decode, hash32
from inverse_rlhf.errors import UserError
from inverse_rlhf.models import autocast, max_tokens
from inverse_rlhf.params import Compute, Pairs


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
        UserError: a prompt and its completion do not fit the policy's context, or probabilities
            are not finite.
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
        try:
            texts[batch] = _generate(chosen, keys[batch], model, tokenizer, params, compute)
        except FloatingPointError as error:
            raise UserError(f"the policy {name} is broken: {error}") from None
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
        do_sample=params.decoding == "sample",
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_new_tokens=params.min_new_tokens,
        max_new_tokens=params.max_new_tokens,
        eos_token_id=model.generation_config.eos_token_id or tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with autocast(compute):
        output = model.generate(
            **batch, generation_config=config, custom_generate=decode, keys=keys
        )
    texts: list[str] = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
    return texts
