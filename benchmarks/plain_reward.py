"""Scores of a reward's folder by transformers alone, of any version: nothing of this project.

python benchmarks/plain_reward.py FOLDER < texts.json > scores.json
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

BATCH = 8


def padded(folder: str, texts: list[str], side: str) -> list[float]:
    """By the model itself, in batches that are padded on one side."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    scores: list[float] = []
    for start in range(0, len(texts), BATCH):
        batch = tokenizer(
            texts[start : start + BATCH],
            padding=True,
            truncation=True,
            padding_side=side,
            return_tensors="pt",
        )
        with torch.no_grad():
            scores += model(**batch).logits[:, 0].tolist()
    return scores


def by_pipeline(folder: str, texts: list[str]) -> list[float]:
    """By transformers' own pipeline."""
    pipe: Any = pipeline("text-classification", folder, device="cpu")
    found = pipe(texts, function_to_apply="none", truncation=True, batch_size=BATCH)
    return [row["score"] for row in found]


def by_rewardbench(folder: str, texts: list[str]) -> list[float]:
    """As RewardBench's generic path calls the pipeline (rewardbench.py, allenai/reward-bench), with
    the texts as conversations: padded on the left, nothing cut.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    pipe: Any = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    chats = [tokenizer.apply_chat_template(messages(text), tokenize=False) for text in texts]
    found = pipe(
        chats,
        batch_size=BATCH,
        truncation=False,
        padding=True,
        max_length=512,
        function_to_apply="none",
        return_token_type_ids=False,
    )
    return [row["score"] for row in found]


def messages(text: str) -> list[dict[str, str]]:
    """A text as a conversation: a prompt of about a third of it, and what follows."""
    cut = len(text) // 3
    return [
        {"role": "user", "content": text[:cut]},
        {"role": "assistant", "content": text[cut:]},
    ]


WAYS: dict[str, Callable[[str, list[str]], list[float]]] = {
    "padded on the right": lambda folder, texts: padded(folder, texts, "right"),
    "padded on the left": lambda folder, texts: padded(folder, texts, "left"),
    "pipeline": by_pipeline,
    "RewardBench": by_rewardbench,
}

if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump({name: way(sys.argv[1], given) for name, way in WAYS.items()}, sys.stdout)
