"""Likelihoods of completions under two policies: KL to base, perplexity and log-ratios."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from transformers import BatchEncoding

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import map_texts

KEYS = ["split", "source", "prompt_id", "sample"]


def likelihood_table(
    rows: pd.DataFrame, policy: Model, base: Model, *, max_new_tokens: int
) -> pd.DataFrame:
    """Likelihoods of completions under a policy and the base policy.

    Both policies share the tokenizer. Softmax at temperature 1, whatever the completions were
    sampled at. A completion of fewer than `max_new_tokens` tokens ended by itself: the end-of-text
    token is then one of its positions.

    Args:
        rows: columns split, source, prompt_id, sample, prompt, completion.

    Returns:
        By split, source, prompt_id and sample:
        kl (nats): the sum over the completion's positions of KL(policy || base) of the next token;
        where the policy itself sampled the completion, an unbiased estimate of the KL between
        completions, of less variance than the log-ratio.
        nll, own_nll (nats): -log p of the completion under the base policy, under the policy.
        positions: tokens predicted; tokens: the same without the end of text.
    """
    tokenizer = base.tokenizer
    # Each once: short completions of a prompt may be the same.
    place, distinct = pd.factorize(pd.MultiIndex.from_frame(rows[["prompt", "completion"]]))
    prompts, completions = zip(*distinct, strict=True)
    heads = tokenizer(list(prompts))["input_ids"]
    tails = tokenizer(list(completions), add_special_tokens=False)["input_ids"]
    ends = [len(tail) < max_new_tokens for tail in tails]
    tails = [tail + [tokenizer.eos_token_id] * end for tail, end in zip(tails, ends, strict=True)]
    ids = [(head + tail)[: base.max_tokens] for head, tail in zip(heads, tails, strict=True)]
    encoded = _encoded(ids, heads)

    def compare(batch: BatchEncoding) -> torch.Tensor:
        start = batch.pop("prompt_tokens")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        log_p, log_q = (
            model.module(**batch).logits[:, :-1].float().log_softmax(-1) for model in (policy, base)
        )
        inside = _inside(start, mask)
        kl = ((log_p.exp() * (log_p - log_q)).sum(-1) * inside).sum(1)
        nll, own_nll = (
            -(log.gather(2, ids[:, 1:, None]).squeeze(2) * inside).sum(1) for log in (log_q, log_p)
        )
        return torch.stack([kl, nll, own_nll, inside.sum(1).float()], dim=1)

    values = map_texts(compare, encoded, policy)[place]
    keys = pd.MultiIndex.from_frame(rows[KEYS].astype({"split": str, "source": str}))
    columns = ["kl", "nll", "own_nll", "positions"]
    table = pd.DataFrame(values, keys, columns, dtype=np.float64)
    return table.assign(tokens=table["positions"] - np.array(ends)[place]).sort_index()


def log_ratios(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    policy: Model,
    base: Model,
) -> np.ndarray:
    """log policy / base of completions as they are, in nats: the sum of their tokens' log-ratios.

    Softmax at temperature 1 of the whole vocabulary, whatever the completions were sampled at. Both
    policies share the tokenizer. With `compute.bf16` the logits are rounded to three digits.

    Args:
        prompts, completions: token ids of each; an end of text is a token like any other.

    Returns:
        float64 of shape (completions,); a completion without tokens has log-ratio 0.
    """
    ids = [[*head, *tail] for head, tail in zip(prompts, completions, strict=True)]

    def compare(batch: BatchEncoding) -> torch.Tensor:
        start = batch.pop("prompt_tokens")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        inside = _inside(start, mask)

        def log_likelihoods(model: Model) -> torch.Tensor:
            logits = model.module(**batch).logits[:, :-1].float()
            chosen = logits.gather(2, ids[:, 1:, None]).squeeze(2)
            return (chosen - logits.logsumexp(-1)).double()

        differences = log_likelihoods(policy) - log_likelihoods(base)
        return (differences * inside).sum(1)

    return map_texts(compare, _encoded(ids, prompts), policy).astype(np.float64)


def _encoded(ids: Sequence[Sequence[int]], prompts: Sequence[Sequence[int]]) -> BatchEncoding:
    """Prompts with their completions, and where these begin."""
    return BatchEncoding(
        {
            "input_ids": list(ids),
            "attention_mask": [[1] * len(row) for row in ids],
            "prompt_tokens": [len(prompt) for prompt in prompts],
        }
    )


def _inside(start: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Which predicted tokens are the completion's: bool, (texts, tokens - 1)."""
    position = torch.arange(1, mask.shape[1], device=mask.device)
    return (position >= start.unsqueeze(1)) & mask[:, 1:].bool()
