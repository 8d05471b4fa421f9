"""How far scores of an exported reward differ from ours, in every way that others score it.

    python -m benchmarks.reward_elsewhere [FOLDER] [PYTHON]

FOLDER is models/irl_reward by default; PYTHON is that of an environment with another transformers.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel
from trl import RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer

from benchmarks import plain_reward
from benchmarks.plain_reward import messages
from inverse_rlhf.data.corpus import generate_comments
from inverse_rlhf.rewards.recovered import load_irl_reward

# Beside comments: what somebody typed that a tokenizer might take for its own.
ODD = [
    *("<|endoftext|>", "a <|padding|> b", "It ends so: <|endoftext|>", "</s> and <s>", "[SEP]"),
    *("a", "  two blanks before", "one behind ", "line\nafter\n\nline", "Ünïcödé 🙂 世界"),
]
_QUIET: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,  # TRL's default, by which three digits of a score are right
    "report_to": [],
    "per_device_train_batch_size": 2,
    "disable_tqdm": True,
}


def texts(count: int = 100) -> list[str]:
    """Comments and odd texts, each shorter than any context."""
    return [*ODD, *generate_comments(count, seed=7)["text"][: count - len(ODD)]]


def by_reward_funcs(folder: str, given: list[str], *, chat: bool = False) -> list[float]:
    """As TRL's policy trainers score completions by `reward_funcs=folder`."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    policy = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=8, n_layer=1, n_head=1))
    with tempfile.TemporaryDirectory() as output:
        trainer = RLOOTrainer(
            model=policy,
            reward_funcs=folder,
            processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"prompt": ["a"] * 4}),
            args=RLOOConfig(output_dir=output, num_generations=2, beta=0.0, **_QUIET),
        )
        found: list[float] = []
        for text in (given[start : start + 8] for start in range(0, len(given), 8)):
            chats = [messages(one) for one in text]
            prompts = [one[:1] if chat else one[0]["content"] for one in chats]
            completions = [one[1:] if chat else one[1]["content"] for one in chats]
            rows = [{"prompt": prompt} for prompt in prompts]
            rewards = trainer._calculate_rewards(rows, prompts, completions, [[0]] * len(text))
            found += rewards[:, 0].tolist()
    return found


def reward_trainer(folder: str, rows: list[Any]) -> RewardTrainer:
    """TRL's trainer of rewards on pairs of equal texts, plain ones or messages."""
    with tempfile.TemporaryDirectory() as output:
        return RewardTrainer(
            model=folder,
            args=RewardConfig(output_dir=output, **_QUIET),
            train_dataset=Dataset.from_dict({"chosen": rows, "rejected": rows}),
        )


def by_reward_trainer(folder: str, given: list[str]) -> list[float]:
    """As TRL's trainer of rewards reads them, as messages."""
    trainer = reward_trainer(folder, [messages(text) for text in given])
    rows = list(trainer.train_dataset)
    model = trainer.model.eval()
    found: list[float] = []
    for start in range(0, len(rows), 8):
        batch = trainer.data_collator(rows[start : start + 8])
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
        with torch.no_grad():
            logits = model(**inputs).logits[:, 0]
        found += logits[: len(logits) // 2].tolist()
    return found


WAYS = plain_reward.WAYS | {
    "TRL, reward_funcs, texts": by_reward_funcs,
    "TRL, reward_funcs, messages": lambda folder, given: by_reward_funcs(folder, given, chat=True),
    "TRL, RewardTrainer, messages": by_reward_trainer,
}


def by_another(python: str, folder: str, given: list[str]) -> dict[str, list[float]]:
    """The ways of `plain_reward` in another environment."""
    script = Path(plain_reward.__file__)
    done = subprocess.run(
        [python, script, folder],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=True,
    )
    scores: dict[str, list[float]] = json.loads(done.stdout)
    return scores


def main(folder: str = "models/irl_reward", python: str | None = None) -> None:
    """Print the largest difference on any text for each way."""
    given = texts()
    ours = load_irl_reward(folder).score(given)
    found = {name: way(folder, given) for name, way in WAYS.items()}
    if python is not None:
        another = by_another(python, folder, given)
        found |= {f"{python}: {name}": scores for name, scores in another.items()}
    print(f"{len(given)} texts, standard deviation of scores {ours.std():.4f}")
    for name, scores in found.items():
        print(f"{name:40} {np.abs(np.array(scores) - ours).max():.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
