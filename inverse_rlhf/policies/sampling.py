"""Completions that depend on nothing but the policy, the seed, the prompt and the sample's number:
neither on the order of the prompts nor, but for rounding, on the batch they are computed in. With
`compute.fast` off they depend on their batch too, as those of transformers' `generate` do.

Processes that work together share the batches, and each has all completions.
"""

import itertools
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import GenerationConfig

from inverse_rlhf.errors import UserError
from inverse_rlhf.models import processes
from inverse_rlhf.models.batches import Batches
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import (
    check_context,
    completion_texts,
    ends_of_text,
    pad,
    prompt_ids,
    with_masks,
)
from inverse_rlhf.params import Pairs
from inverse_rlhf.policies.decoding import decode, hash32
from inverse_rlhf.progress import shown
from inverse_rlhf.shards import Shards


def sample_completions(
    prompts: pd.DataFrame,
    policy: Model,
    params: Pairs,
    *,
    seed: int,
    name: str,
    heads: Sequence[Sequence[int]] | None = None,
    kept: Path | None = None,
) -> pd.DataFrame:
    """`params.samples` completions of every prompt.

    Args:
        prompts: columns prompt_id and prompt.
        name: of the policy. It is part of what a completion depends on, so that two policies'
            completions of a prompt are independent, as the likelihood of a pair takes them to be.
        heads: tokens of each prompt, where they are not `prompt_ids` of the text: chat templates
            bring special ones.
        kept: a folder of unfinished work, where finished batches are kept and looked for.

    Returns:
        Columns prompt_id (int64), sample (int32), completion (str), ids (lists of int) and ended
        (bool), in the order of the prompts. The ids are the tokens as they were drawn: the text
        read again may give others. Where the completion ended, the last of them is the end of text;
        else it was cut. The text is what they say behind the prompt, see `completion_texts`.

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
    texts = prompts["prompt"].tolist()
    if heads is None:
        heads = prompt_ids(texts, policy.tokenizer)
    else:
        texts = [""] * len(prompts)  # a completion goes on with what the tokens say
    check_context(heads, prompts["prompt_id"].tolist(), policy, params.max_new_tokens)
    heads, texts = (
        [row for row in values for _ in range(params.samples)] for values in (heads, texts)
    )
    order = np.argsort([len(row) for row in heads], kind="stable")
    keys = _keys(seed, name, rows)
    size = policy.compute.batch_size
    shares = [order[start : start + size] for start in range(0, len(order), size)]
    batches = Batches(size)
    shards = Shards(kept, "completions", policy.name, params, heads, keys.tolist())

    def draw(batch: np.ndarray) -> list[list[int]]:
        return _generate([heads[row] for row in batch], keys[batch], policy, params)

    def complete(batch: np.ndarray) -> list[np.ndarray]:
        drawn = list(itertools.chain(*batches.run(draw, batch)))
        tokens = np.concatenate([np.array(row, dtype=np.int64) for row in drawn])
        return [tokens, np.array([len(row) for row in drawn], dtype=np.int64)]

    found: list[list[list[int]]] = []
    numbers = processes.share(range(len(shares)))
    for number in shown(numbers, f"{name} completions"):
        try:
            flat, lengths = shards.part(number, partial(complete, shares[number]))
        except FloatingPointError as error:
            raise UserError(f"the policy {name} is broken: {error}") from None
        found.append([part.tolist() for part in np.split(flat, lengths.cumsum()[:-1])])
    ids: list[list[int]] = [[]] * len(rows)
    for batch, drawn in zip(shares, processes.in_order(found), strict=True):
        for row, tokens in zip(batch, drawn, strict=True):
            ids[row] = tokens
    ends = set(ends_of_text(policy))
    return rows.assign(
        completion=completion_texts(texts, heads, ids, policy.tokenizer),
        ids=pd.Series(ids, rows.index, dtype=object),
        ended=np.array([row[-1] in ends for row in ids], dtype=bool),
    )


def _keys(seed: int, name: str, rows: pd.DataFrame) -> torch.Tensor:
    """One int32 key a completion, from the seed, the policy, the prompt and the sample's number."""
    start = torch.tensor([seed, zlib.crc32(name.encode())], dtype=torch.int64).to(torch.int32)
    key = hash32(hash32(start[:1]) + start[1:])
    for column in ("prompt_id", "sample"):
        key = hash32(key + torch.tensor(rows[column].to_numpy().astype(np.int32)))
    return key


@torch.no_grad()
def _generate(
    heads: list[Sequence[int]], keys: torch.Tensor, policy: Model, params: Pairs
) -> list[list[int]]:
    """The tokens of completions up to the first end of text."""
    module = policy.module.eval()
    batch = pad(with_masks(heads), range(len(heads)), policy, side="left")
    width, ends = batch["input_ids"].shape[1], ends_of_text(policy)
    config = GenerationConfig(
        do_sample=params.decoding == "sample",
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        min_new_tokens=params.min_new_tokens,
        max_new_tokens=params.max_new_tokens,
        eos_token_id=ends or None,
        pad_token_id=policy.tokenizer.pad_token_id,
    )
    fast = {"custom_generate": decode, "keys": keys} if policy.compute.fast else {}
    with policy.autocast(), torch.random.fork_rng():
        torch.manual_seed(int(keys[0]))  # what `generate` by itself draws from
        # A folder may bring a `generate` of its own: it is not what is asked for.
        generate = type(module).generate
        output = generate(module, **batch, generation_config=config, **fast)
    output = output[:, width:]
    ended = torch.isin(output, torch.tensor(ends, dtype=torch.int64, device=output.device))
    before = (ended.cumsum(1) - ended.long()) == 0  # no end of text before this token
    return [row[inside].tolist() for row, inside in zip(output, before, strict=True)]
