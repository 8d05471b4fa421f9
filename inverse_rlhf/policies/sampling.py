"""Completions that depend on nothing but the policy, the seed, the prompt and the sample's number:
neither on the order of the prompts nor, but for rounding, on the batch they are computed in. With
`compute.fast` off they depend on their batch too, as those of transformers' `generate` do.
"""

import zlib

import numpy as np
import pandas as pd
import torch
from transformers import GenerationConfig

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import check_context
from inverse_rlhf.params import Pairs
from inverse_rlhf.policies.decoding import decode, hash32
from inverse_rlhf.progress import shown


def sample_completions(
    prompts: pd.DataFrame,
    policy: Model,
    params: Pairs,
    *,
    seed: int,
    name: str,
    add_special_tokens: bool = True,
    keep_ids: bool = False,
) -> pd.DataFrame:
    """`params.samples` completions of every prompt.

    Args:
        prompts: columns prompt_id and prompt.
        name: of the policy. It is part of what a completion depends on, so that two policies'
            completions of a prompt are independent, as the likelihood of a pair takes them to be.
        add_special_tokens: whether the tokenizer adds its own to a prompt; chat templates have them
            already.
        keep_ids: whether to return the tokens, too: those of a text anew may be others.

    Returns:
        Columns prompt_id (int64), sample (int32) and completion (str), in the order of the
        prompts; a completion excludes the prompt and the end-of-text token. With `keep_ids` also
        ids: lists of tokens, of which the last one is an end of text unless the completion was cut.

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
    texts = list(prompts["prompt"])
    ids = policy.tokenizer(texts, add_special_tokens=add_special_tokens)["input_ids"]
    check_context(ids, prompts["prompt_id"].tolist(), policy, params.max_new_tokens)
    ids = [row for row in ids for _ in range(params.samples)]
    order = np.argsort([len(row) for row in ids], kind="stable")
    keys = _keys(seed, name, rows)
    completions, tokens = (np.empty(len(rows), dtype=object) for _ in range(2))
    size = policy.compute.batch_size
    for start in shown(range(0, len(order), size), f"{name} completions"):
        batch = order[start : start + size]
        chosen = [ids[row] for row in batch]
        try:
            completions[batch], found = _generate(chosen, keys[batch], policy, params)
        except FloatingPointError as error:
            raise UserError(f"the policy {name} is broken: {error}") from None
        for row, values in zip(batch, found, strict=True):
            tokens[row] = values
    rows = rows.assign(completion=completions)
    return rows.assign(ids=tokens) if keep_ids else rows


def ends_of_text(policy: Model) -> list[int]:
    """The tokens that end a completion."""
    found = policy.module.generation_config.eos_token_id
    found = policy.tokenizer.eos_token_id if found is None else found
    return [found] if isinstance(found, int) else list(found or [])


def _keys(seed: int, name: str, rows: pd.DataFrame) -> torch.Tensor:
    """One int32 key a completion, from the seed, the policy, the prompt and the sample's number."""
    start = torch.tensor([seed, zlib.crc32(name.encode())], dtype=torch.int64).to(torch.int32)
    key = hash32(hash32(start[:1]) + start[1:])
    for column in ("prompt_id", "sample"):
        key = hash32(key + torch.tensor(rows[column].to_numpy().astype(np.int32)))
    return key


@torch.no_grad()
def _generate(
    ids: list[list[int]], keys: torch.Tensor, policy: Model, params: Pairs
) -> tuple[list[str], list[list[int]]]:
    """Completions, and their tokens up to the first end of text."""
    module, tokenizer = policy.module, policy.tokenizer
    batch = tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt")
    batch = batch.to(policy.device)
    width = batch["input_ids"].shape[1]
    config = GenerationConfig(
        do_sample=params.decoding == "sample",
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_new_tokens=params.min_new_tokens,
        max_new_tokens=params.max_new_tokens,
        eos_token_id=ends_of_text(policy) or None,
        pad_token_id=tokenizer.pad_token_id,
    )
    fast = {"custom_generate": decode, "keys": keys} if policy.compute.fast else {}
    with policy.autocast(), torch.random.fork_rng():
        torch.manual_seed(int(keys[0]))  # what `generate` by itself draws from
        output = module.generate(**batch, generation_config=config, **fast)
    output = output[:, width:]
    ended = torch.isin(
        output, torch.tensor(ends_of_text(policy), dtype=torch.int64).to(output.device)
    )
    before = (ended.cumsum(1) - ended.long()) == 0  # no end of text before this token
    kept = [row[inside].tolist() for row, inside in zip(output, before, strict=True)]
    return tokenizer.batch_decode(output, skip_special_tokens=True), kept
