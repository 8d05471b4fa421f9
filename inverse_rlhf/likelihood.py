"""Likelihoods of completions under two policies: KL to base and perplexity."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.features import map_texts
from inverse_rlhf.models import max_tokens
from inverse_rlhf.params import Compute


@dataclass(frozen=True)
class Likelihoods:
    """Per completion, arrays of shape (completions,).

    Attributes:
        kl: nats; the sum over the completion's positions of KL(policy || base) of the next token,
            an unbiased estimate of the KL between completions of less variance than the log-ratio.
        nll: nats; -log p of the completion under the base policy.
        tokens: length of the completion.
    """

    kl: np.ndarray
    nll: np.ndarray
    tokens: np.ndarray


def likelihoods(
    prompts: Sequence[str],
    completions: Sequence[str],
    policy: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    compute: Compute,
) -> Likelihoods:
    """Compare a policy with the base policy on completions, which the policy itself sampled.

    Both policies share the tokenizer. Softmax at temperature 1, whatever the completions were
    sampled at.
    """
    heads = tokenizer(list(prompts))["input_ids"]
    tails = tokenizer(list(completions), add_special_tokens=False)["input_ids"]
    rows = [(head + tail)[: max_tokens(base)] for head, tail in zip(heads, tails, strict=True)]
    encoded = BatchEncoding(
        {
            "input_ids": rows,
            "attention_mask": [[1] * len(row) for row in rows],
            "prompt_tokens": [len(head) for head in heads],
        }
    )

    def compare(batch: BatchEncoding) -> torch.Tensor:
        start = batch.pop("prompt_tokens")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        log_p, log_q = (
            model(**batch).logits[:, :-1].float().log_softmax(-1) for model in (policy, base)
        )
        position = torch.arange(1, ids.shape[1], device=ids.device)
        inside = (position >= start.unsqueeze(1)) & mask[:, 1:].bool()
        kl = ((log_p.exp() * (log_p - log_q)).sum(-1) * inside).sum(1)
        nll = -(log_q.gather(2, ids[:, 1:, None]).squeeze(2) * inside).sum(1)
        return torch.stack([kl, nll, inside.sum(1).float()], dim=1)

    values = map_texts(compare, encoded, policy, tokenizer, compute)
    return Likelihoods(*values.T)
