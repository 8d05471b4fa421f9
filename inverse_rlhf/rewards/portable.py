"""A reward's checkpoint as others read it: transformers 4.57 and 5, TRL, reward benchmarks.

Plain transformers reads a sequence classifier at the last token that is not padding, by its number.
So padding must be a token that no text ends with.
"""

import copy
import json
import tempfile
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, BatchEncoding, PreTrainedConfig, PreTrainedTokenizerBase

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import write_json
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.probes import PROBES, alike
from inverse_rlhf.models.reading import around, encode, pad, special_ids, text_ids

LABEL = "reward"
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
# A conversation is scored as what is said in it, one message after the other.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
_PADDING = "<|padding|>"  # known to tokenizers of GPT-NeoX, which name none
_LAST = 100  # tokens
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "cls_token", "mask_token")
# Of a tokenizer's configuration; the rest is in tokenizer.json, or of how it was loaded.
_KEPT = (*_SPECIAL, "pad_token", "truncation_side")


def write_classifier(body: Model, folder: Path) -> None:
    """Write a sequence classifier with one output, its tokenizer and its configuration.

    The weights are those of `body`, with one more embedding where padding needs a token of its own
    and none is free.

    Raises:
        UserError: the tokenizer, read again, reads texts otherwise.
    """
    tokenizer = _write_padding_tokenizer(body, folder)
    rows = body.module.get_input_embeddings().weight.shape[0]
    needed = max(rows, int(tokenizer.pad_token_id) + 1)
    body.module.save_pretrained(folder, state_dict=_with_rows(body, needed))
    changes = {
        "dtype": "float32",
        "id2label": {"0": LABEL},
        "label2id": {LABEL: 0},
        # Pipelines apply a sigmoid to one output of another kind.
        "problem_type": "regression",
        "pad_token_id": tokenizer.pad_token_id,
    } | ({"vocab_size": needed} if needed > rows else {})
    _edit_config(folder, changes, body.module.config)


def check_classifier(body: Model) -> None:
    """Check, before there are weights to write, what `write_classifier` raises."""
    with tempfile.TemporaryDirectory() as folder:
        _write_padding_tokenizer(body, Path(folder))


def _write_padding_tokenizer(body: Model, folder: Path) -> PreTrainedTokenizerBase:
    """Write the tokenizer with a padding token that no text ends with."""
    tokenizer = copy.deepcopy(body.tokenizer)
    if _ends_texts(tokenizer):
        _add_padding(tokenizer)
    _write_tokenizer(tokenizer, body, folder)
    _check_tokenizer(folder, body.tokenizer)
    return tokenizer


def write_body(body: Model, folder: Path) -> None:
    """Write a transformer without a head, and its tokenizer."""
    inner = body.module.base_model
    inner.save_pretrained(folder, state_dict=_float32(inner.state_dict()))
    _write_tokenizer(copy.deepcopy(body.tokenizer), body, folder)
    _edit_config(folder, {"dtype": "float32"}, body.module.config)


@torch.no_grad()
def pads_on_either_side(body: Model) -> bool:
    """Whether a sequence classifier scores a text as ever when padding stands before it.

    Positions that are learned count the padding, too.
    """
    encoded = encode(PROBES, body)
    batches = (pad(encoded, range(len(PROBES)), body, side=side) for side in _SIDES)
    left, right = (_logits(batch, body) for batch in batches)
    return alike(left, right, body.module.dtype)


def _logits(batch: BatchEncoding, body: Model) -> torch.Tensor:
    """A classifier's outputs, float32 of shape (texts,); its head may be of another type."""
    dtype = body.module.dtype
    with torch.autocast(body.device.type, dtype=dtype, enabled=dtype != torch.float32):
        outputs: torch.Tensor = body.module(**batch).logits[:, 0].float()
    return outputs


def _ends_texts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a text can end in the padding token: where it is another special token, too, or a
    piece of text.
    """
    if tokenizer.pad_token in [getattr(tokenizer, name) for name in _SPECIAL]:
        return True
    pieces = tokenizer(
        tokenizer.pad_token, add_special_tokens=False, split_special_tokens=True, verbose=False
    )
    return tokenizer.pad_token_id in pieces["input_ids"]


def _add_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Have a token of its own for padding, whose number no other token has.

    A tokenizer numbers a new token by how many it has, which is another one's number where some
    are left out. There the token is first made a word of the vocabulary.
    """
    known = tokenizer.get_vocab()
    backend = getattr(tokenizer, "backend_tokenizer", None)
    before = None if backend is None else backend.to_str()
    tokenizer.add_special_tokens({"pad_token": _PADDING})
    taken = _PADDING not in known and tokenizer.pad_token_id in known.values()
    if taken and before is not None:
        written = json.loads(before)
        written["model"]["vocab"][_PADDING] = max(known.values()) + 1
        tokenizer._tokenizer = Tokenizer.from_str(json.dumps(written))
        tokenizer.add_special_tokens({"pad_token": _PADDING})


def _check_tokenizer(folder: Path, own: PreTrainedTokenizerBase) -> None:
    """Check that the tokenizer in a folder reads texts as the reward's own does, no padding among
    them: some words, and its last tokens.
    """
    special = special_ids(own) | {own.unk_token_id}
    last = [token for token in sorted(own.get_vocab().values())[-_LAST:] if token not in special]
    texts = [*PROBES, *(own.decode([token]) for token in last)]
    written = AutoTokenizer.from_pretrained(folder)
    found = written(texts)["input_ids"]
    for text, expected, ids in zip(texts, text_ids(texts, own), found, strict=True):
        if ids != expected or written.pad_token_id in ids:
            raise UserError(
                f"the reward's tokenizer cannot be written for others: {text!r} is {expected} by "
                f"it, and {ids} once it is read again, where {written.pad_token_id} pads: take "
                "another tokenizer, or irl.pooling: mean"
            )


def _with_rows(body: Model, rows: int) -> dict[str, torch.Tensor]:
    """The weights, with as many token embeddings; those that are new are 0."""
    state = body.module.state_dict()
    embeddings = body.module.get_input_embeddings().weight
    missing = rows - len(embeddings)
    if missing:
        more = embeddings.new_zeros(missing, embeddings.shape[1])
        for name, value in state.items():
            if value.data_ptr() == embeddings.data_ptr() and value.shape == embeddings.shape:
                state[name] = torch.cat([value, more])
    return _float32(state)


def _float32(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights: read at 16 bits by others, a head would be another."""
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }


def _write_tokenizer(tokenizer: PreTrainedTokenizerBase, body: Model, folder: Path) -> None:
    tokenizer.padding_side = "right"
    tokenizer.chat_template = None  # the base policy's; the reward's is below
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
        _open_and_close(tokenizer, backend)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    kept = written if backend is None else {key: written[key] for key in _KEPT if key in written}
    own = {
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": body.max_tokens,
        "padding_side": "right",
        # What somebody typed is text, here as in `encode`.
        "split_special_tokens": True,
    }
    if backend is not None:  # what transformers 5 writes is not known before it
        own["tokenizer_class"] = "PreTrainedTokenizerFast"
    write_json(kept | own, path)


def _open_and_close(tokenizer: PreTrainedTokenizerBase, backend: Any) -> None:
    """Have the tokenizer put around a text what `text_ids` does, where it would put more."""
    if text_ids(PROBES, tokenizer) == tokenizer(list(PROBES))["input_ids"]:
        return
    opening, closing = map(tokenizer.convert_ids_to_tokens, around(PROBES, tokenizer))
    backend.post_processor = processors.TemplateProcessing(
        single=[*opening, "$A", *closing],
        special_tokens=[
            (token, tokenizer.convert_tokens_to_ids(token)) for token in opening + closing
        ],
    )


def _edit_config(folder: Path, changes: dict[str, Any], config: PreTrainedConfig) -> None:
    path = folder / "config.json"
    written = json.loads(path.read_text(encoding="utf-8"))
    inner = written.get("text_config") if config.get_text_config() is not config else None
    for part in (written, inner):
        if isinstance(part, dict):
            part |= {key: value for key, value in changes.items() if part is written or key in part}
            part |= _rotary(part)
    write_json(written, path)


def _rotary(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of rotary positions by the names that transformers 4 has for them."""
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict) or "rope_theta" not in rope:
        return {}
    neox = str(config.get("model_type")).startswith("gpt_neox")
    names = ("rotary_emb_base", "rotary_pct") if neox else ("rope_theta", "partial_rotary_factor")
    found = {names[0]: rope["rope_theta"]}
    if "partial_rotary_factor" in rope:
        found[names[1]] = rope["partial_rotary_factor"]
    if rope.get("rope_type", "default") != "default":
        found["rope_scaling"] = rope
    return found
