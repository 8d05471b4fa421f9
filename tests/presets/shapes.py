"""What the Pythia presets fetch from the hub, made here: their shapes with random weights.

No figure of theirs means anything: they show that a preset runs, in what time and memory.
"""

import itertools
import json
import string
from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from inverse_rlhf.data.corpus import generate_comments

PYTHIA = {
    "pythia-70m": (512, 6, 8, 50_304),
    "pythia-160m": (768, 12, 12, 50_304),
    "pythia-410m": (1024, 24, 16, 50_304),
    "pythia-1b": (2048, 16, 8, 50_304),
    "pythia-6.9b": (4096, 32, 32, 50_432),
}
"""Hidden size, blocks, heads and embedded tokens by preset."""
_PYTHIA_TOKENS, _ROBERTA_TOKENS = 50_277, 50_265


def pythia_config(preset: str) -> GPTNeoXConfig:
    """The shape that a preset's policy has."""
    hidden, layers, heads, vocabulary = PYTHIA[preset]
    return GPTNeoXConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=2048,
        bos_token_id=0,
        eos_token_id=0,
    )


def save_pythia(preset: str, folder: Path) -> Path:
    """A random policy; like the real ones it embeds more tokens than its tokenizer has."""
    torch.manual_seed(0)
    GPTNeoXForCausalLM(pythia_config(preset)).save_pretrained(folder)
    pythia_tokenizer().save_pretrained(folder)
    return folder


def pythia_tokenizer(size: int = _PYTHIA_TOKENS) -> PreTrainedTokenizerFast:
    """A byte-level BPE of as many tokens as theirs, or fewer, without a token for padding."""
    specials = ["<|endoftext|>", "<|padding|>"]
    return PreTrainedTokenizerFast(
        tokenizer_object=_byte_level_bpe(specials, size),
        bos_token=specials[0],
        eos_token=specials[0],
        unk_token=specials[0],
    )


def save_roberta(folder: Path, texts: list[str]) -> list[int]:
    """A random classifier of RoBERTa-base's shape that finds half of the texts toxic.

    Returns:
        Its labels of the texts, which it cannot but tell apart.
    """
    torch.manual_seed(0)
    names = {0: "neutral", 1: "toxic"}
    config = RobertaConfig(
        vocab_size=_ROBERTA_TOKENS,
        max_position_embeddings=514,
        type_vocab_size=1,
        num_labels=2,
        id2label=names,
        label2id={name: number for number, name in names.items()},
    )
    model = RobertaForSequenceClassification(config).eval()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bpe = _byte_level_bpe(specials, _ROBERTA_TOKENS)
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        cls_token="<s>",
        sep_token="</s>",
        model_max_length=512,
    )
    with torch.no_grad():
        parts = [
            model(**tokenizer(part, padding=True, return_tensors="pt")).logits
            for part in (texts[start : start + 16] for start in range(0, len(texts), 16))
        ]
        logits = torch.cat(parts)
        toxic = logits[:, 1] - logits[:, 0]
        model.classifier.out_proj.bias[1] -= toxic.median()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return (toxic > toxic.median()).int().tolist()


def save_comments(file: Path, classifier: Path, count: int) -> None:
    """Comments in the columns of the paper's data set, labelled by a classifier made for them."""
    drawn = generate_comments(2 * count, seed=5)["text"].to_numpy()
    words = [
        f"{first} {second}".split() for first, second in zip(drawn[::2], drawn[1::2], strict=True)
    ]
    table = pd.DataFrame(
        {
            "prompt": [" ".join(row[:10]) for row in words],
            "original_output": [" ".join(row[10:]) for row in words],
            "toxic": save_roberta(classifier, list(map(" ".join, words))),
        }
    )
    table.to_parquet(file)


def _byte_level_bpe(specials: list[str], size: int) -> Tokenizer:
    """A byte-level BPE trained on comments, with merges of letters up to that many tokens."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=2_000,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(generate_comments(1_000, seed=4)["text"], trainer)
    model = json.loads(trained.to_str())["model"]
    vocabulary, merges = model["vocab"], [(left, right) for left, right in model["merges"]]
    for letters in (2, 3, 4):
        for word in map("".join, itertools.product(string.ascii_lowercase, repeat=letters)):
            if word not in vocabulary and len(vocabulary) < size:
                vocabulary[word] = len(vocabulary)
                merges.append((word[:-1], word[-1]))
    bpe = Tokenizer(models.BPE(vocabulary, merges))
    bpe.pre_tokenizer = trained.pre_tokenizer
    bpe.decoder = decoders.ByteLevel()
    return bpe
