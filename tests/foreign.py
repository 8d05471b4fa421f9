"""Tokenizers and policies such as others have, made here; no weights are trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import (
    AutoModelForCausalLM,
    CTRLTokenizer,
    GenerationConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

TEXTS = [
    "the weather is more pleasant today than it was tomorrow",
    "a list of maps, and what you said of it: nothing",
    "I read the page on Monday's map, <s> is no tag",
    "nobody would call you a fool; map or no map!",
    "About as many [notes] / <marks> | as on your endof table",
] * 3


def save_small(
    folder: Path, tokenizer: PreTrainedTokenizerBase, *, seed: int, **settings: Any
) -> str:
    """Save a random policy of one block; the seed alone tells two of a tokenizer apart.

    Args:
        settings: of its configuration.
    """
    torch.manual_seed(seed)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **settings,
    )
    GPTNeoXForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def sentencepiece() -> PreTrainedTokenizerFast:
    """As Llama 2's and Mistral 0.1's: a blank before the first word, which the decoder drops."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=specials, show_progress=False)
    bpe.train_from_iterator(TEXTS, trainer)
    bpe.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def wordpiece() -> PreTrainedTokenizerFast:
    """As BERT's: lower case, each text between [CLS] and [SEP]."""
    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.decoder = decoders.WordPiece(cleanup=False)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=specials, show_progress=False
    )
    pieces.train_from_iterator(TEXTS, trainer)
    pieces.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
        unk_token="[UNK]",
        pad_token="[PAD]",
    )


def unigram() -> PreTrainedTokenizerFast:
    """As XLNet's and T5's: special tokens are among the pieces, and one closes each text."""
    pieces = Tokenizer(models.Unigram())
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    pieces.decoder = decoders.Metaspace()
    specials = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    pieces.train_from_iterator([*TEXTS, "/"], trainer)
    pieces.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces, eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


def closing() -> PreTrainedTokenizerFast:
    """As some ports of GPT-2's: the end of text before and after each text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(TEXTS, trainer)
    bpe.post_processor = processors.TemplateProcessing(f"{end} $A {end}", special_tokens=[(end, 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=end, eos_token=end, unk_token=end, pad_token=end
    )


def with_holes(folder: Path, **special: str) -> PreTrainedTokenizer:
    """One in Python, not all of whose numbers have a token: the next token has the number of `map`.

    Args:
        folder: for its files.
        special: more special tokens by their names.
    """
    known = {"<unk>": 0, "a": 1, "the": 2, "you": 3, "<end>": 5, "map": 6}
    files = folder / "vocab.json", folder / "merges.txt"
    files[0].write_text(json.dumps(known))
    merges = ["t h", "th e</w>", "y o", "yo u</w>", "m a", "ma p</w>"]
    files[1].write_text("\n".join(["#version: 0.2", *merges, ""]))
    return CTRLTokenizer(*map(str, files), unk_token="<unk>", eos_token="<end>", **special)


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "sentencepiece": sentencepiece,
    "wordpiece": wordpiece,
    "unigram": unigram,
    "closing": closing,
}


def save_policy(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    config_class: type[PreTrainedConfig],
    *,
    ends: list[int] | None = None,
    **settings: Any,
) -> Path:
    """A policy of two blocks with random weights that have something to say.

    Args:
        ends: of the generation config.
    """
    end = tokenizer.eos_token_id
    config = config_class(vocab_size=len(tokenizer), eos_token_id=end, **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # away from the even chances of fresh weights
        model.get_output_embeddings().weight.mul_(3)
    model.generation_config = GenerationConfig(eos_token_id=end if ends is None else ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
