"""Least times that stages plan, beside what their work takes.

    OMP_NUM_THREADS=1 python -m benchmarks.durations

Of models with random weights, at the default's shape and at Pythia's, on small cuts of the
settings. Seconds are of the CPU, of the library's own functions without loading and writing, each
in a process of its own; planned are the sums of inverse_rlhf/models/work.py at the speed that is
measured before each.
"""

from inverse_rlhf.stage import quieten, seed_everything

import functools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import GPTNeoXForCausalLM

from inverse_rlhf.data.corpus import generate_comments
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.models import work
from inverse_rlhf.models.checkpoints import Kind, Model, device_of
from inverse_rlhf.models.matmul import onednn_products
from inverse_rlhf.models.needs import scratch_shape
from inverse_rlhf.models.plan import OF_A_WORD_IN_THE_MEAN, changed
from inverse_rlhf.models.reading import text_ids
from inverse_rlhf.models.scratch import policy_tokenizer, train_classifier, train_policy
from inverse_rlhf.models.shapes import shape_of_config
from inverse_rlhf.models.speed import speed_of
from inverse_rlhf.models.work import Work
from inverse_rlhf.params import Params, load_params
from inverse_rlhf.policies.likelihood import log_ratios
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.policies.training import train_on_reward
from tests.presets.running import ROOT
from tests.presets.shapes import pythia_config, pythia_tokenizer

_DEFAULT = (128, 3, 4, 1024)  # as PYTHIA has them


class Bench:
    """A policy of random weights, and prompts of ten words.

    Args:
        name: of a Pythia preset, or default.
    """

    def __init__(self, name: str, params: Params) -> None:
        self.name, self.params = name, params
        if name == "default":
            self.config = pythia_config("pythia-70m")
            sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
            self.config.update(dict(zip(sizes, _DEFAULT, strict=True)))
            self.config.intermediate_size = 4 * self.config.hidden_size
            comments = generate_comments(2_000, seed=0).assign(split="train")
            self.tokenizer = policy_tokenizer(comments, params.base_policy.scratch)
        else:
            self.config, self.tokenizer = pythia_config(name), pythia_tokenizer()
        self.tokenizer.pad_token = self.tokenizer.eos_token
        self.shape = shape_of_config(self.config, "policy")
        self.texts = generate_comments(400, seed=0)["text"].tolist()
        asked = [" ".join(text.split()[:10]) for text in self.texts]
        self.prompts = pd.DataFrame({"prompt_id": np.arange(400), "prompt": asked})
        self.prompt = self.tokens(asked)

    def tokens(self, texts: Sequence[str]) -> float:
        """Of a text, in the mean."""
        return float(np.mean([len(ids) for ids in text_ids(list(texts), self.tokenizer)]))

    def policy(self) -> Model:
        """A policy as `load` gives one from a folder."""
        module = GPTNeoXForCausalLM(self.config).eval()
        module.generation_config.pad_token_id = self.tokenizer.pad_token_id
        return Model(module, self.tokenizer, self.params.compute)

    def line(self, what: str, works: Sequence[Work], action: Callable[[], object]) -> None:
        """Measure and print, in a process of its own: what was freed before makes memory slower."""
        if child := os.fork():
            os.waitpid(child, 0)
            return
        compute = self.params.compute
        speed = speed_of(device_of(compute), torch.float32, self.shape.hidden)
        started = time.process_time()
        action()
        seconds, least = time.process_time() - started, speed.seconds(works)
        print(
            f"| {self.name}: {what} | {speed.operations / 1e9:.0f} | {least:.1f} | {seconds:.1f} "
            f"| {seconds / least:.1f} |",
            flush=True,
        )
        os._exit(0)

    def policy_training(self, **settings: Any) -> None:
        """RLOO of a few updates."""
        rlhf = self.params.rlhf.model_copy(update=settings)
        rollouts = rlhf.batch_size * rlhf.generations
        works = work.policy_training(
            self.shape, None, rlhf, self.params.compute, rollouts, prompt=self.prompt
        )

        def score(_: Sequence[str], completions: Sequence[str]) -> np.ndarray:
            return np.array([len(text) for text in completions], dtype=np.float32) / 100

        def train() -> None:
            with tempfile.TemporaryDirectory() as folder:
                curve = Path(folder) / "curve.csv"
                train_on_reward(self.prompts, policy, score, rlhf, seed=0, curve=curve)

        policy = self.policy()
        said = f"RLOO, {rlhf.trainable_layers} blocks, {rollouts} rollouts"
        self.line(f"{said}{' LoRA' if rlhf.lora_rank else ''}, {rlhf.steps} updates", works, train)

    def completions(self, count: int) -> None:
        """Completions of both sides of pairs."""
        pairs, compute = self.params.pairs, self.params.compute
        asked, policy = self.prompts.head(count), self.policy()
        found = work.completions(
            self.shape, pairs, compute, count * pairs.samples, prompt=self.prompt
        )
        self.line(
            f"{count * pairs.samples} completions of {pairs.max_new_tokens} tokens",
            [found],
            lambda: sample_completions(asked, policy, pairs, seed=0, name="base"),
        )

    def reading(self, count: int) -> None:
        """Hidden states, and likelihoods under two policies."""
        texts, policy, other = self.texts[:count], self.policy(), self.policy()
        tokens = self.tokens(texts)
        self.line(
            f"hidden states of {count} texts",
            [work.reading(self.shape, count, tokens)],
            lambda: hidden_states(texts, policy, pooling="last"),
        )
        ids = text_ids(texts, self.tokenizer)
        heads, tails = [row[:10] for row in ids], [row[10:] for row in ids]
        self.line(
            f"likelihoods of {count} texts",
            work.compared(self.shape, count, prompt=10, new=tokens - 10),
            lambda: log_ratios(heads, tails, policy, other),
        )

    def fit(self, pairs: int, **settings: Any) -> None:
        """A run of the recovered reward."""
        irl = self.params.irl.model_copy(update={"runs": 1, "control_runs": 0} | settings)
        texts = self.texts[: 2 * pairs]
        works = work.fits(
            self.shape,
            irl,
            self.params.compute,
            self.tokens(texts),
            texts=len(texts),
            pairs=pairs,
            valid=2,
            sharing=1,
        )
        rows = np.arange(2 * pairs).reshape(pairs, 2)
        policy = self.policy()

        def fit() -> None:
            network = RewardNetwork(policy, texts, irl)
            network.fit(Pairs(rows, rows[:2]), Run(0, "fit", 0))
            network.score()

        self.line(f"a reward, {irl.trainable}, {pairs} pairs, {irl.epochs} epochs", works, fit)

    def scratch(self, kind: Kind, count: int) -> None:
        """A model from scratch."""
        group = getattr(self.params, {"policy": "base_policy"}.get(kind, "true_reward")).scratch
        group = group.model_copy(update={"epochs": 1})
        comments = generate_comments(count, seed=1)
        comments = comments.assign(split=["train"] * (count - 50) + ["valid"] * 50)
        shape, words = scratch_shape(group, kind), [len(text.split()) for text in comments["text"]]
        tokens = OF_A_WORD_IN_THE_MEAN * float(np.mean(words))
        works = work.scratch_training(
            shape, group, self.params.compute, texts=count, tokens=tokens, logits=kind == "policy"
        )
        train: Any = {"policy": train_policy, "classifier": train_classifier}[kind]
        action = functools.partial(train, comments, group, self.params.compute, seed=0)
        self.line(f"a {kind} from scratch, {count} comments", works, action)


def main() -> None:
    """Measure and print."""
    seed_everything(0)
    quieten()
    params = load_params(ROOT / "params.yaml")
    params = changed(params, {"compute.device": "cpu", "compute.batch_size": 64})
    print("| | GFLOP/s | planned s | measured s | measured / planned |\n|---|---|---|---|---|")
    few: dict[str, Any] = {"steps": 2, "batch_size": 2, "warmup_steps": 0}
    with onednn_products():
        default = Bench("default", params)
        default.scratch("policy", 3000)
        default.scratch("classifier", 6000)
        default.policy_training(steps=3, warmup_steps=0)
        default.completions(300)
        default.reading(400)
        default.fit(200, trainable="all", epochs=3)
        small = Bench("pythia-70m", params)
        small.policy_training(**few, trainable_layers=4)
        small.policy_training(**few)
        small.policy_training(**few, lora_rank=8)
        small.completions(16)
        small.reading(60)
        small.fit(16, trainable="all", epochs=1)
        small.fit(16, trainable="last_k", epochs=3)
        large = Bench("pythia-160m", params)
        large.policy_training(**few, trainable_layers=4)
        large.completions(16)
        large.reading(60)
        large.fit(8, trainable="lora", epochs=1)


if __name__ == "__main__":
    main()
