"""Likelihoods of completions under two policies: KL to base, perplexity and log-ratios."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import BatchEncoding

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import map_texts, prompt_ids, with_masks
from inverse_rlhf.shards import Shards

KEYS = ["split", "source", "prompt_id", "sample"]


def likelihood_table(
    rows: pd.DataFrame, policy: Model, base: Model, *, kept: Path | None = None
) -> pd.DataFrame:
    """Likelihoods of completions under a policy and the base policy.

    Both policies share the tokenizer. They read the tokens that were sampled, of which the end of
    text is one where a completion ended. Softmax at temperature 1, whatever they were sampled at.

    Args:
        rows: columns split, source, prompt_id, sample, prompt, ids, ended.
        kept: a folder of unfinished work, where finished batches are kept and looked for.

    Returns:
        By split, source, prompt_id and sample:
        kl (nats): the sum over the completion's positions of KL(policy || base) of the next token;
        where the policy itself sampled the completion, an unbiased estimate of the KL between
        completions, of less variance than the log-ratio.
        nll, own_nll (nats): -log p of the completion under the base policy, under the policy.
        positions: tokens predicted; tokens: the same without the end of text.
    """
    # Each once: short completions of a prompt may be the same.
    sampled = [tuple(row) for row in rows["ids"]]
    place, distinct = pd.factorize(
        pd.Index(list(zip(rows["prompt"], sampled, strict=True)), tupleize_cols=False)
    )
    heads = prompt_ids([prompt for prompt, _ in distinct], base.tokenizer)
    encoded = _encoded(heads, [tail for _, tail in distinct])

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
        return torch.stack([kl, nll, own_nll], dim=1)

    shards = Shards(kept, "likelihoods", policy.name, base.name, dict(encoded))
    values = map_texts(compare, encoded, policy, shards=shards)[place]
    keys = pd.MultiIndex.from_frame(rows[KEYS].astype({"split": str, "source": str}))
    table = pd.DataFrame(values, keys, ["kl", "nll", "own_nll"], dtype=np.float64)
    positions = np.array([len(row) for row in sampled], dtype=np.float64)
    tokens = positions - rows["ended"].to_numpy(dtype=np.float64)
    return table.assign(positions=positions, tokens=tokens).sort_index()


def log_ratios(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    policy: Model,
    base: Model,
    *,
    kept: Path | None = None,
) -> np.ndarray:
    """log policy / base of completions as they are, in nats: the sum of their tokens' log-ratios.

    Softmax at temperature 1 of the whole vocabulary, whatever the completions were sampled at. Both
    policies share the tokenizer. With `compute.bf16` the logits are rounded to three digits.

    Args:
        prompts, completions: token ids of each; an end of text is a token like any other.
        kept: a folder of unfinished work, where finished batches are kept and looked for.

    Returns:
        float64 of shape (completions,); a completion without tokens has log-ratio 0.
    """

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

    encoded = _encoded(prompts, completions)
    shards = Shards(kept, "log_ratios", policy.name, base.name, dict(encoded))
    return map_texts(compare, encoded, policy, shards=shards).astype(np.float64)


def _encoded(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
) -> BatchEncoding:
    """Prompts with their completions, and where these begin."""
    ids = [[*head, *tail] for head, tail in zip(prompts, completions, strict=True)]
    return with_masks(ids, prompt_tokens=[len(head) for head in prompts])


def _inside(start: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Which predicted tokens are the completion's: bool, (texts, tokens - 1)."""
    position = torch.arange(1, mask.shape[1], device=mask.device)
    return (position >= start.unsqueeze(1)) & mask[:, 1:].bool()
