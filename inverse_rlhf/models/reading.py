"""Texts as tokens and back, and through a transformer in batches of like length."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Literal

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchEncoding, PreTrainedTokenizerBase

from inverse_rlhf.errors import UserError
from inverse_rlhf.models import processes
from inverse_rlhf.models.batches import Batches
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.shards import Shards

_WORTH_A_CALL = 16  # texts


def text_ids(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, limit: int | None = None
) -> list[list[int]]:
    """The tokens of whole texts, and around each what the tokenizer opens and closes a text with.

    A special token that somebody typed, such as `</s>`, is read as the text that it is.

    Args:
        limit: most tokens of a text, all included; of a longer one the end goes, or the beginning
            where that is the tokenizer's `truncation_side`.
    """
    opening, closing = around(texts, tokenizer)
    rows = _inner_ids(texts, tokenizer)
    if limit is not None:
        room = max(limit - len(opening) - len(closing), 0)
        left = tokenizer.truncation_side == "left"
        rows = [row[max(len(row) - room, 0) :] if left else row[:room] for row in rows]
    return [[*opening, *row, *closing] for row in rows]


def prompt_ids(prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The tokens of texts that a policy goes on with: those of `text_ids`, but nothing closes them.

    What follows a closing token is the beginning of another text.
    """
    opening, _ = around(prompts, tokenizer)
    return [[*opening, *row] for row in _inner_ids(prompts, tokenizer)]


def around(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer puts before and after any text, one of beginning at most.

    Args:
        texts: that it has tokens for, should it have none for the letter a.
    """
    for text in ("a", *texts):  # the first that has tokens
        inner = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if inner:
            break
    whole = tokenizer(text, return_special_tokens_mask=True, verbose=False)
    ids, added, size = whole["input_ids"], whole["special_tokens_mask"], len(inner)
    places = [n for n in range(len(ids) - size + 1) if ids[n : n + size] == inner]
    # An unknown word may have the same token as what opens or closes a text.
    start = min(places, key=lambda n: sum(added[n : n + size]))
    opening, closing = ids[:start], ids[start + size :]
    while opening[:2] == [tokenizer.bos_token_id] * 2:
        opening = opening[1:]
    return opening, closing


def _inner_ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """The tokens of texts by themselves, none of which is a special one."""
    if not len(texts):
        return []
    rows: list[list[int]] = tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
    )["input_ids"]
    special = special_ids(tokenizer)

    # Unigram models find special tokens among their pieces.
    @cache
    def letters(token: int) -> list[int]:
        found = tokenizer.convert_tokens_to_ids(list(tokenizer.convert_ids_to_tokens(token)))
        known = [letter for letter in found if letter is not None and letter not in special]
        return known or [token]  # such as a full stop that serves as padding

    return [
        row
        if special.isdisjoint(row)
        else [part for token in row for part in (letters(token) if token in special else [token])]
        for row in rows
    ]


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """Tokens that stand for no text; the unknown token does."""
    added = tokenizer.added_tokens_decoder.items()
    special = {number for number, token in added if token.special}
    return (special | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id}


def ends_of_text(policy: Model) -> list[int]:
    """The tokens that end a completion: the tokenizer's and those of the generation config."""
    own = policy.module.generation_config.eos_token_id
    own = [] if own is None else [own] if isinstance(own, int) else own
    return sorted({*own, policy.tokenizer.eos_token_id} - {None})


def completion_texts(
    prompts: Sequence[str],
    heads: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    tokenizer: PreTrainedTokenizerBase,
) -> list[str]:
    """What the tokens of completions say behind their prompts; special tokens say nothing.

    Some decoders drop the blank that a text begins with, so both are decoded together and the
    prompt is cut off. The prompt that comes back may be another one, in lower case say: the whole
    text is the prompt as it was given and what is returned here.

    Args:
        prompts: as they were given. Where the tokenizer dropped the blank at the end of one, the
            completion does not bring another.
        heads: tokens of each prompt, see `prompt_ids`.
        completions: tokens of each completion.
    """
    texts = []
    for prompt, head, completion in zip(prompts, heads, completions, strict=True):
        before, text = behind(head, completion, tokenizer)
        if prompt[-1:].isspace() and not before[-1:].isspace():
            text = text.removeprefix(" ")
        texts.append(text)
    return texts


def behind(
    head: Sequence[int],
    tail: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    *,
    skip_special_tokens: bool = True,
) -> tuple[str, str]:
    """What tokens say, and what further ones add to it."""
    before, whole = (
        tokenizer.decode([int(token) for token in ids], skip_special_tokens=skip_special_tokens)
        for ids in (head, [*head, *tail])
    )
    if whole.startswith(before):
        return before, whole[len(before) :]
    # half of a letter that the tail completes
    return before, tokenizer.decode(
        [int(token) for token in tail], skip_special_tokens=skip_special_tokens
    )


def encode(texts: Sequence[str], model: Model) -> BatchEncoding:
    """Token ids and attention masks, one list a text, cut to what the model can read.

    Processes that work together share the texts, and each has all of their tokens.
    """
    own = text_ids(processes.share(texts), model.tokenizer, limit=model.max_tokens)
    return with_masks(processes.in_order(own))


def with_masks(ids: Sequence[Sequence[int]], **columns: Sequence[int]) -> BatchEncoding:
    """Tokens with their attention masks, and in each further column one number a text."""
    masks = [[1] * len(row) for row in ids]
    return BatchEncoding({"input_ids": list(ids), "attention_mask": masks} | columns)


def token_counts(texts: Sequence[str], model: Model) -> np.ndarray:
    """How many tokens each text has, special ones included, before `encode` cuts it: (texts,)."""
    return np.array([len(row) for row in text_ids(texts, model.tokenizer)], dtype=np.int64)


def check_context(
    ids: Sequence[Sequence[int]], prompt_ids: Sequence[int], model: Model, new_tokens: int
) -> None:
    """Check that every prompt has tokens and leaves room for `new_tokens` in the policy's context.

    Raises:
        UserError: naming the first prompt that does not.
    """
    for row, prompt_id in zip(ids, prompt_ids, strict=True):
        if not len(row):
            raise UserError(
                f"prompt {prompt_id} has no tokens: the policy's tokenizer knows nothing in it; "
                "leave it out"
            )
        if len(row) + new_tokens > model.max_tokens:
            raise UserError(
                f"prompt {prompt_id} has {len(row)} tokens: with max_new_tokens {new_tokens} it "
                f"exceeds the policy's context, {model.max_tokens}: lower data.prompt_words or "
                "max_new_tokens"
            )


def fits_context(prompts: Sequence[str], model: Model, new_tokens: int) -> np.ndarray:
    """Which prompts leave room for `new_tokens` in the policy's context: bool, (prompts,)."""
    ids = prompt_ids(prompts, model.tokenizer)
    return np.array([len(row) + new_tokens <= model.max_tokens for row in ids], dtype=bool)


def select_rows(encoded: BatchEncoding, rows: Sequence[int] | np.ndarray) -> BatchEncoding:
    """The given rows, one list a text, as `encode` gives them."""
    return BatchEncoding({key: [values[row] for row in rows] for key, values in encoded.items()})


def pad(
    encoded: BatchEncoding,
    rows: Sequence[int] | np.ndarray,
    model: Model,
    *,
    side: Literal["left", "right"] = "right",
) -> BatchEncoding:
    """The given rows as padded tensors of shape (rows, tokens) on the model's device."""
    padding = {
        "input_ids": model.tokenizer.pad_token_id,
        "attention_mask": 0,
        "token_type_ids": model.tokenizer.pad_token_type_id,
    }
    padded = {}
    for key, values in encoded.items():
        chosen = [torch.tensor(values[row], dtype=torch.int64) for row in rows]
        if key in padding:
            padded[key] = pad_sequence(
                chosen, batch_first=True, padding_value=padding[key], padding_side=side
            )
        else:
            padded[key] = torch.stack(chosen)
    return BatchEncoding(padded).to(model.device)


def map_texts(
    function: Callable[[BatchEncoding], torch.Tensor],
    encoded: BatchEncoding,
    model: Model,
    *,
    padded: bool = True,
    shards: Shards | None = None,
) -> np.ndarray:
    """Apply `function` without gradients to batches of texts of like length, `compute.batch_size`
    at once or as many as fit in memory.

    Processes that work together share the batches, and each has all results.

    Args:
        function: right-padded batch of b texts -> tensor of shape (b, ...).
        padded: whether texts of unlike lengths may be in one batch.
        shards: where finished batches are kept and looked for, if anywhere.

    Returns:
        float32 array of shape (texts, ...), in the order of the texts.
    """
    outputs: np.ndarray | None = None
    model.module.eval()
    shares = list(by_length(encoded["input_ids"], model.compute.batch_size, padded=padded))
    batches = Batches(model.compute.batch_size)
    shards = shards or Shards(None)

    @torch.no_grad()
    def read(rows: np.ndarray) -> np.ndarray:
        with model.autocast():
            return function(pad(encoded, rows, model)).float().cpu().numpy()

    own = processes.share(shares)
    for number, rows in zip(processes.share(range(len(shares))), own, strict=True):
        values = np.concatenate(shards.part(number, partial(batches.run, read, rows)))
        if outputs is None:
            outputs = np.empty((len(encoded["input_ids"]), *values.shape[1:]), dtype=np.float32)
        outputs[rows] = values
    if processes.count() > 1:
        outputs = _of_all(outputs, own)
    assert outputs is not None, "no texts"
    return outputs


def _of_all(outputs: np.ndarray | None, own: Sequence[np.ndarray]) -> np.ndarray | None:
    """The outputs of all texts from those of every process.

    Args:
        outputs: of all texts, of which this process has filled in its own; None: it has none.
        own: their rows.
    """
    rows = np.concatenate(own) if len(own) else None
    parts = processes.gathered(None if outputs is None else (len(outputs), rows, outputs[rows]))
    for part in filter(None, parts):
        count, rows, values = part
        if outputs is None:
            outputs = np.empty((count, *values.shape[1:]), dtype=np.float32)
        outputs[rows] = values
    return outputs


def by_length(
    ids: Sequence[Sequence[int]], batch_size: int, *, padded: bool = True
) -> Iterator[np.ndarray]:
    """Row numbers of all texts, in batches of texts of like length, the shortest first.

    A batch also ends where a text is a quarter longer than its shortest, once it is worth a call;
    or, where nothing may be padded, with any longer text.
    """
    longest, worth = (1.25, _WORTH_A_CALL) if padded else (1, 1)
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    order = np.argsort(lengths, kind="stable")
    ascending = lengths[order]
    start = 0
    while start < len(order):
        like = np.searchsorted(ascending, longest * ascending[start], side="right")
        end = min(max(like, start + worth), start + batch_size)
        yield order[start:end]
        start = end
