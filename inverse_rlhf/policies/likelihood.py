"""Likelihoods of completions under two policies: KL to base, perplexity and log-ratios."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import BatchEncoding

from inverse_rlhf.data.tables import KEYS
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import map_texts, prompt_ids, with_masks
from inverse_rlhf.shards import Shards

Logits = list[torch.Tensor]
LOGITS = 2**27
"""Of a policy held at a time, half a GB in float32; more where one text has more."""
AT_ONCE = 2**24
"""Compared at a time."""


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

    def compare(logits: Logits, tokens: torch.Tensor) -> list[torch.Tensor]:
        log_p, log_q = (values.log_softmax(-1) for values in logits)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1)
        return [kl, *(-log.gather(1, tokens[:, None]).squeeze(1) for log in (log_q, log_p))]

    shards = Shards(kept, "likelihoods", policy.name, base.name, dict(encoded))
    compared = _summed(compare, policy, base)
    values = map_texts(compared, encoded, policy, shards=shards)[place]
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

    def compare(logits: Logits, tokens: torch.Tensor) -> list[torch.Tensor]:
        log_p, log_q = (
            (values.gather(1, tokens[:, None]).squeeze(1) - values.logsumexp(-1)).double()
            for values in logits
        )
        return [log_p - log_q]

    encoded = _encoded(prompts, completions)
    shards = Shards(kept, "log_ratios", policy.name, base.name, dict(encoded))
    values = map_texts(_summed(compare, policy, base), encoded, policy, shards=shards)
    return values[:, 0].astype(np.float64)


def _summed(
    compare: Callable[[Logits, torch.Tensor], list[torch.Tensor]], policy: Model, base: Model
) -> Callable[[BatchEncoding], torch.Tensor]:
    """What `compare` says of each token of completions, summed: for `map_texts`.

    However many tokens the policies know, no more than `LOGITS` logits of each are held, if not of
    one text, and no more than `AT_ONCE` are compared at a time.

    Args:
        compare: both policies' logits of some positions, float32 of shape (positions, vocabulary),
            and the tokens that came, (positions,) -> values, each of shape (positions,).

    Returns:
        A function of a batch with the column prompt_tokens, whose result has the shape (texts,
        values).
    """

    def of_texts(batch: BatchEncoding) -> torch.Tensor:
        start = batch.pop("prompt_tokens")
        inside = _inside(start, batch["attention_mask"])
        tokens = batch["input_ids"][:, 1:]
        both = [model.module(**batch).logits for model in (policy, base)]
        found: list[list[torch.Tensor]] = []
        positions = inside.nonzero()
        for part in positions.split(max(1, AT_ONCE // both[0].shape[-1])):
            place = tuple(part.T)
            found.append(compare([logits[place].float() for logits in both], tokens[place]))
        whole = [torch.cat(parts) for parts in zip(*found, strict=True)]
        place = tuple(positions.T)
        spread = [values.new_zeros(inside.shape).index_put(place, values) for values in whole]
        return torch.stack([values.sum(1) for values in spread], dim=1)

    def of_batch(batch: BatchEncoding) -> torch.Tensor:
        count, length = batch["input_ids"].shape
        vocabulary = policy.module.config.get_text_config().vocab_size
        size = max(1, LOGITS // (length * vocabulary))
        parts = [
            BatchEncoding({key: values[first : first + size] for key, values in batch.items()})
            for first in range(0, count, size)
        ]
        return torch.cat([of_texts(part) for part in parts])

    return of_batch


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
