"""Which prompts leave room for a completion in the base policy's context, before there is one."""

import numpy as np
import pandas as pd

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Compute, NewTokens, PolicyContext, Rollouts

_LEAST = 10  # prompts of a split; of rl a batch
_ON_CPU = Compute(
    device="cpu",
    dtype="float32",
    bf16=False,
    gradient_checkpointing=False,
    batch_size=1,
    fast=False,
)


def leave_out_long(
    prompts: pd.DataFrame,
    comments: pd.DataFrame,
    base: PolicyContext,
    rlhf: Rollouts,
    pairs: NewTokens,
) -> tuple[pd.DataFrame, int]:
    """The prompts that, with the completions asked for, do not exceed the policy's context.

    A policy from scratch will have the tokenizer that is trained here on the same comments: the
    stage that trains the policy, another process, trains it again, which takes seconds. Any other
    policy is loaded for its own.

    Args:
        prompts: the prompts table; completions of `rl` prompts have `rlhf.max_new_tokens` at most,
            those of others `pairs.max_new_tokens`.
        comments: the comments table.

    Returns:
        The table, prompt_id counted anew, and how many prompts are left out.

    Raises:
        UserError: too few prompts are left in a split, or a policy of the user's that cannot be
            loaded.
    """
    new = np.where(prompts["split"] == "rl", rlhf.max_new_tokens, pairs.max_new_tokens)
    fits, limit = _fit(prompts["prompt"].tolist(), new, comments, base)
    kept = prompts[fits]
    for split, wanted in prompts["split"].value_counts().items():
        left, least = (
            int((kept["split"] == split).sum()),
            rlhf.batch_size if split == "rl" else _LEAST,
        )
        if left < least:
            raise UserError(
                f"of the {wanted} prompts of data.splits.{split}, {left} leave room for their "
                f"completion in the base policy's context of {limit} tokens, and {least} are "
                "needed: take shorter prompts (data.prompt_words) or a longer context, or lower "
                "max_new_tokens"
            )
    return kept.assign(prompt_id=np.arange(len(kept))), int((~fits).sum())


def check_transfer(
    transfer: pd.DataFrame, comments: pd.DataFrame, base: PolicyContext, pairs: NewTokens
) -> int:
    """How many prompts of another domain exceed the policy's context, see `leave_out_long`.

    Args:
        transfer: the transfer_prompts table.

    Raises:
        UserError: all of them do.
    """
    texts = transfer["prompt"].tolist()
    new = np.full(len(texts), pairs.max_new_tokens)
    fits, limit = _fit(texts, new, comments, base)
    if texts and not fits.any():
        raise UserError(
            f"evaluate.transfer_prompts: none of the {len(texts)} prompts leaves room for its "
            f"completion in the base policy's context of {limit} tokens: give shorter ones, lower "
            "pairs.max_new_tokens, or take a longer context"
        )
    return int((~fits).sum())


def _fit(
    texts: list[str], new: np.ndarray, comments: pd.DataFrame, base: PolicyContext
) -> tuple[np.ndarray, int]:
    """Which texts leave room for so many new tokens, bool (texts,), and how many are read."""
    # A token of a byte-level BPE is a byte at least.
    lengths = np.array([len(text.encode()) for text in texts])
    limit = base.scratch.max_tokens
    if base.source != "scratch" or (lengths + new > limit).any():
        lengths, limit = _lengths(texts, comments, base)
    return lengths + new <= limit, limit


def _lengths(
    texts: list[str], comments: pd.DataFrame, base: PolicyContext
) -> tuple[np.ndarray, int]:
    """Tokens of each prompt, (prompts,), and how many the policy reads."""
    # late, as they take seconds and the default needs none
    from inverse_rlhf.models.reading import prompt_ids

    if base.source == "scratch":
        from inverse_rlhf.models.scratch import policy_tokenizer

        tokenizer, limit = policy_tokenizer(comments, base.scratch), base.scratch.max_tokens
    else:
        from inverse_rlhf.models.checkpoints import obtain

        policy = obtain("policy", base, _ON_CPU, key="base_policy")
        tokenizer, limit = policy.tokenizer, policy.max_tokens
    return np.array([len(ids) for ids in prompt_ids(texts, tokenizer)]), limit
