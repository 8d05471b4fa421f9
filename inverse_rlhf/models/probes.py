"""What a model is tried with before anything rests on it, and when two of its answers are one."""

import torch
from transformers import PreTrainedModel

# Of unlike lengths, so that one is padded where they are read together.
PROBES = ("a few words of text, one after the other", "a word")
# Of the largest number, what rounding makes of sums in another order. What is looked for, such as
# padding that is read, changes outputs by much more.
_ROUNDING = 1e-3


def first_tokens(model: PreTrainedModel) -> torch.Tensor:
    """A batch of one text, (1, tokens), of the first tokens that a model embeds, 16 at most."""
    rows = model.get_input_embeddings().weight.shape[0]
    return torch.arange(min(16, rows), device=model.device)[None]


def rounding(dtype: torch.dtype) -> float:
    """The share of the largest output that sums in another order may change in outputs, of a model
    whose weights have a type.
    """
    return max(_ROUNDING, 4 * torch.finfo(dtype).eps)


def alike(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype = torch.float32) -> bool:
    """Whether outputs of the same shape are equal but for rounding; those that are no numbers are
    not.

    Args:
        dtype: of the weights that they come from.
    """
    bound = rounding(dtype) * (1 + expected.abs().max())
    return bool((found - expected).abs().max() <= bound)
