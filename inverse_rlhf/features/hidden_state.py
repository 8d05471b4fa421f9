"""Pooled hidden states of a transformer, and the head that makes a reward of them.

A decoder's last token has read the whole text. An encoder's tokens all have, and its last one is a
mark that stands behind every text: for encoders the mean is the usual choice.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import linear
from transformers import BatchEncoding, PreTrainedModel

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import encode, map_texts, token_counts
from inverse_rlhf.params import Pooling


def pooled_hidden_state(
    module: PreTrainedModel, batch: BatchEncoding, pooling: Pooling
) -> torch.Tensor:
    """The last layer's hidden state at the last token, or its mean over the tokens.

    Args:
        module: a model with a transformer body as `base_model`, or such a body.
        batch: right-padded, with attention mask.

    Returns:
        Tensor of shape (texts, hidden).
    """
    hidden = module.base_model(**batch, use_cache=False).last_hidden_state
    mask = batch["attention_mask"]
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1, dtype=torch.float32) / weights.sum(1, dtype=torch.float32)
    last = mask.sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def head_of(module: PreTrainedModel) -> torch.Tensor | None:
    """The weights of a sequence classifier's one output, (1, hidden); None: it is a body alone."""
    head = getattr(module, "score", None)
    return None if head is None else head.weight


def hidden_size(model: Model) -> int:
    """How many numbers a hidden state has, which configurations call by many names."""
    return int(hidden_states(["a"], model, pooling="last").shape[1])


def scalar_head(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Rewards, float32 of shape (...), from hidden states (..., hidden) and a head (1, hidden).

    In float32 under autocast too: bfloat16 would leave a reward fewer than three digits.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return linear(hidden.float(), weight.float()).squeeze(-1)


def hidden_states(
    texts: Sequence[str], model: Model, *, pooling: Pooling, truncate: bool = False
) -> np.ndarray:
    """`pooled_hidden_state` of many texts: float32 array of shape (texts, hidden).

    Args:
        truncate: longer texts than the model can read are cut; `token_counts` says which are.

    Raises:
        UserError: a text is longer and `truncate` is not set.
    """
    if not truncate and (longest := token_counts(texts, model).max()) > model.max_tokens:
        raise UserError(
            f"irl.body reads {model.max_tokens} tokens, but a text has {longest}: take a body of a "
            "longer context"
        )
    return map_texts(
        lambda batch: pooled_hidden_state(model.module, batch, pooling),
        encode(texts, model),
        model,
    )
