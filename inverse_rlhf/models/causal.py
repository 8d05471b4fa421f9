"""What a policy must do for its likelihoods to be right, tried on a few tokens before any training.

An architecture that reads both ways, or whose padding changes what it says of a text, runs without
an error, and every number measured on it is wrong.
"""

import torch
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.models.probes import alike


@torch.no_grad()
def check_causal(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Check that a policy reads from left to right, and past padding on either side.

    Args:
        model: in evaluation mode, with the padding token of the tokenizer.
        name: of its source, for messages.

    Raises:
        UserError: it does not, its logits are not finite, or it generates in a way of its own.
    """
    if type(model).generate is not GenerationMixin.generate:
        raise UserError(
            f"{name} is no policy: {type(model).__name__} generates in a way of its own, which "
            "completions are not sampled by"
        )
    if model.base_model is model:
        raise UserError(
            f"{name} is no policy: {type(model).__name__} does not say which part of it is the body"
        )
    rows = model.get_input_embeddings().weight.shape[0]
    plain = [token for token in range(rows) if token not in tokenizer.all_special_ids]
    if len(plain) < 10:
        raise UserError(f"{name} is no policy: it embeds {rows} tokens")
    long, short = torch.tensor(plain[:7]), torch.tensor(plain[7:10])
    try:
        wrong = _fault(model, long, short, int(tokenizer.pad_token_id))
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise UserError(
            f"{name} is no policy: a {model.config.model_type} cannot complete a text: "
            f"{first_line(error)}"
        ) from None
    if wrong:
        raise UserError(f"{name} is no policy: a {model.config.model_type} {wrong}")


def _fault(
    model: PreTrainedModel, long: torch.Tensor, short: torch.Tensor, padding: int
) -> str | None:
    """What a model does wrong with two texts, token ids of shapes (7,) and (3,); None: nothing."""
    whole, alone = _logits(model, long[None])[0], _logits(model, short[None])[0]
    if not whole.isfinite().all() or not alone.isfinite().all():
        return "gives probabilities that are not finite"
    if not alike(_logits(model, long[None, :4])[0], whole[:4], model.dtype):
        return "reads in both directions"
    fill = torch.full((len(long) - len(short),), padding)
    mask = torch.ones(2, len(long), dtype=torch.long)
    mask[1, len(short) :] = 0
    right = _logits(model, torch.stack([long, torch.cat([short, fill])]), mask)
    if not all(
        alike(*outputs, model.dtype)
        for outputs in ((right[0], whole), (right[1, : len(short)], alone))
    ):
        return "says something else of a text when padding stands behind it"
    # Some take a mask and ignore it: in RWKV's state padding is a token like any other.
    mask[1] = mask[1].flip(0)
    output = model.generate(
        input_ids=torch.stack([long, torch.cat([fill, short])]).to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=GenerationConfig(
            max_new_tokens=3, do_sample=False, eos_token_id=None, pad_token_id=padding
        ),
        return_dict_in_generate=True,
        output_logits=True,
    )
    drawn = output.sequences[:, len(long) :].cpu()
    step = torch.stack(output.logits, dim=1).float().cpu()
    for text, tokens, found in zip((long, short), drawn, step, strict=True):
        read = _logits(model, torch.cat([text, tokens[:-1]])[None])[0, -len(tokens) :]
        if not alike(found, read, model.dtype):
            return "says something else of a text when padding stands before it, or token by token"
    return None


def _logits(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Logits, (texts, tokens, vocabulary), float32, of all tokens read at once."""
    mask = torch.ones_like(ids) if mask is None else mask
    output = model(
        input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
    )
    logits: torch.Tensor = output.logits.float().cpu()
    return logits
