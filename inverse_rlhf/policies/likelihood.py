"""Likelihoods of completions under two policies: KL to base and perplexity."""

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
    encoded = BatchEncoding(
        {
            "input_ids": ids,
            "attention_mask": [[1] * len(row) for row in ids],
            "prompt_tokens": [len(head) for head in heads],
        }
    )

    def compare(batch: BatchEncoding) -> torch.Tensor:
        start = batch.pop("prompt_tokens")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        log_p, log_q = (
            model.module(**batch).logits[:, :-1].float().log_softmax(-1) for model in (policy, base)
        )
        position = torch.arange(1, ids.shape[1], device=ids.device)
        inside = (position >= start.unsqueeze(1)) & mask[:, 1:].bool()
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
