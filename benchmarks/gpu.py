"""Speed and memory on a GPU: policy training, completions, scoring, IRL, and a pipeline.

    python -m benchmarks.gpu          # 12 minutes at most on one GPU of 80 GB or more
    python -m benchmarks.gpu --tiny   # of toy models, on a CPU, to see that it runs

Policies have random weights of the real shapes, made in memory, so that nothing is fetched and no
text means anything. Every part is a process of its own with a time limit: one that fails says so in
its row, and the others go on. Shares of the peak count two operations a weight and token that is
read, and six where it is trained on.
"""

from inverse_rlhf.stage import quieten, seed_everything

import argparse
import contextlib
import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from benchmarks.planned import LENGTHS
from inverse_rlhf.data.corpus import generate_comments
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.models import memory
from inverse_rlhf.models.checkpoints import Model, frozen_dtype, to_dtype
from inverse_rlhf.models.shapes import shape_of_config
from inverse_rlhf.params import Params, load_params
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.policies.training import train_on_reward
from tests.presets.running import ROOT, STAGES, run_stages, write_params
from tests.presets.shapes import pythia_config, pythia_tokenizer

# Operations a second in bfloat16, dense, by NVIDIA's data sheets.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
# Seconds that a part may take, the start of its process included.
LIMITS = {
    "pythia-70m": 70,
    "pythia-410m": 90,
    "pythia-1b": 120,
    "pythia-6.9b": 220,
    "pipeline": 200,
}
# What differs from the preset of that name, so that a part is in its time and fits 80 GB.
SETTINGS: dict[str, dict[str, Any]] = {
    "pythia-70m": {},
    "pythia-410m": {},
    "pythia-1b": {"compute.dtype": "bfloat16", "irl.trainable": "all"},
    "pythia-6.9b": {},
}
TINY = {
    "compute.bf16": False,
    "compute.batch_size": 8,
    "rlhf.batch_size": 2,
    "rlhf.generations": 2,
    "rlhf.iterations": 1,
    "rlhf.max_new_tokens": 8,
    "pairs.max_new_tokens": 8,
    "rlhf.trainable_layers": 1,
}
# The pipeline at the shape of Pythia-70M, of the tokens that the generated comments give.
PIPELINE = {
    "compute.bf16": True,
    "data.comments": 6000,
    "data.splits.rl": 400,
    "data.splits.irl": 400,
    "data.splits.valid": 100,
    "data.splits.test": 100,
    "base_policy.scratch.vocab_size": 4096,
    "base_policy.scratch.hidden_size": 512,
    "base_policy.scratch.layers": 6,
    "base_policy.scratch.heads": 8,
    "base_policy.scratch.lr": 5.0e-4,
    "base_policy.scratch.epochs": 1,
    "rlhf.steps": 10,
    "rlhf.lr": 1.0e-4,
    "irl.runs": 10,
    "irl.control_runs": 5,
    "evaluate.resamples": 100,
}
HEADER = ["shape", "what", "speed", "share of peak", "peak GB", "planned GB"]


def settings_of(name: str, folder: Path) -> Params:
    """The params of a preset, or of toy models, in a folder."""
    tiny = name == "tiny"
    settings = TINY if tiny else SETTINGS[name]
    sources = {f"{kind}.revision": None for kind in ("data", "base_policy", "true_reward")}
    write_params("pythia-70m" if tiny else name, settings | sources, folder)
    return load_params(folder / "params.yaml")


class Bench:
    """A shape's policy and texts, and what is measured on them.

    Args:
        name: of a Pythia preset, or tiny.
        params: its settings.
    """

    def __init__(self, name: str, params: Params) -> None:
        self.name, self.params, self.tiny = name, params, name == "tiny"
        self.config = (
            GPTNeoXConfig(
                vocab_size=2_048,
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=64,
                max_position_embeddings=256,
                bos_token_id=0,
                eos_token_id=0,
            )
            if self.tiny
            else pythia_config(name)
        )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = pythia_tokenizer(2_000) if self.tiny else pythia_tokenizer()
        self.tokenizer.pad_token = self.tokenizer.eos_token
        self.texts = generate_comments(64 if self.tiny else 2_000, seed=0)["text"].tolist()
        self.shape = shape_of_config(self.config, "policy")

    def policy(self, *, trained: bool) -> Model:
        """A policy with random weights, as `load` gives one from a folder."""
        with self.device:
            module = GPTNeoXForCausalLM(self.config)
        to_dtype(module, torch.float32 if trained else frozen_dtype(self.params.compute))
        module.config.pad_token_id = self.tokenizer.pad_token_id
        module.generation_config.pad_token_id = self.tokenizer.pad_token_id
        return Model(module.eval(), self.tokenizer, self.params.compute)

    def prompts(self, count: int) -> pd.DataFrame:
        """That many prompts of ten words."""
        texts = [" ".join(text.split()[:10]) for text in self.texts]
        prompts = [texts[n % len(texts)] for n in range(count)]
        return pd.DataFrame({"prompt_id": np.arange(count), "prompt": prompts})

    def policy_training(self) -> list[str]:
        """Tokens a second that RLOO writes and learns from, from the first rollouts to the last."""
        rlhf = self.params.rlhf.model_copy(update={"steps": 2 if self.tiny else 6})
        marks: list[float] = []

        def score(_: Sequence[str], completions: Sequence[str]) -> np.ndarray:
            marks.append(time.monotonic())  # each batch of rollouts is scored once
            return np.array([len(text) for text in completions], dtype=np.float32) / 100

        rlhf = rlhf.model_copy(update={"iterations": 1, "kl_coef": rlhf.kl_coef or 0.1})
        with tempfile.TemporaryDirectory() as folder:
            curve = Path(folder) / "curve.csv"
            policy = self.policy(trained=not rlhf.lora_rank)
            train_on_reward(self.prompts(rlhf.batch_size), policy, score, rlhf, seed=0, curve=curve)
        step = (marks[-1] - marks[0]) / (len(marks) - 1)
        rollouts = rlhf.batch_size * rlhf.generations
        written = rollouts * rlhf.max_new_tokens / step
        read = rollouts * (rlhf.max_new_tokens + LENGTHS.mean) / step
        need = memory.policy_training(
            self.shape,
            rlhf,
            self.params.compute,
            rollouts,
            prompt=LENGTHS.mean,
            longest=LENGTHS.most,
            device=self.device.type,
        )
        # drawn, read by the reference and by the policy, whose trained part has gradients
        operations = 2 * written + 4 * read
        trained = 4 * read * self.shape.trained(memory.policy_part(rlhf)) / self.shape.parameters
        return self._row(
            "RLOO", f"{written:,.0f} tokens/s", operations + trained, sum(need.values())
        )

    def completions(self) -> list[str]:
        """Completions a second."""
        pairs, compute = self.params.pairs, self.params.compute
        policy, count = self.policy(trained=False), 2 * compute.batch_size
        asked = self.prompts(count)
        first = asked.head(8)
        sample_completions(first, policy, pairs, seed=0, name="base")  # compiles
        started = time.monotonic()
        found = sample_completions(asked, policy, pairs, seed=0, name="base")
        seconds = time.monotonic() - started
        tokens = found["ids"].map(len).sum() + count * LENGTHS.mean
        size = memory.size_of(compute)
        drawn = memory.generating(
            self.shape,
            compute.batch_size,
            LENGTHS.most + pairs.max_new_tokens,
            memory.read_width(compute),
            sampled=pairs.decoding == "sample",
        )
        planned = size * self.shape.parameters + drawn
        return self._row(
            "completions", f"{count / seconds:,.1f} texts/s", 2 * tokens / seconds, planned
        )

    def scoring(self) -> list[str]:
        """Texts a second whose hidden states are read."""
        compute, policy = self.params.compute, self.policy(trained=False)
        texts = self.texts
        hidden_states(texts[:8], policy, pooling="last")
        started = time.monotonic()
        hidden_states(texts, policy, pooling="last")
        seconds = time.monotonic() - started
        lengths = [len(ids) for ids in self.tokenizer(texts)["input_ids"]]
        size = memory.size_of(compute)
        width = memory.read_width(compute)
        read = memory.reading(self.shape, compute.batch_size, max(lengths), width)
        return self._row(
            "scoring",
            f"{len(texts) / seconds:,.0f} texts/s",
            2 * sum(lengths) / seconds,
            size * self.shape.parameters + read,
        )

    def irl(self) -> list[str]:
        """Seconds of an epoch of 500 pairs, or of fewer, reckoned up."""
        irl, count = self.params.irl, 8 if self.tiny else 64
        irl = irl.model_copy(
            update={"epochs": 1, "trainable": "last_k" if self.tiny else irl.trainable}
        )
        texts = self.texts[: 2 * count]
        network = RewardNetwork(self.policy(trained=True), texts, irl)
        rows = np.arange(2 * count).reshape(count, 2)
        started = time.monotonic()
        network.fit(Pairs(rows, rows[:2]), Run(0, "fit", 0))
        seconds = time.monotonic() - started
        lengths = [len(ids) for ids in self.tokenizer(texts)["input_ids"]]
        part = memory.reward_part(irl)
        need = memory.reward_training(
            self.shape,
            part,
            self.params.compute,
            texts=2 * irl.batch_size,
            tokens=float(np.mean(lengths)),
        )
        trained = self.shape.trained(part) / self.shape.parameters
        operations = 6 * trained * sum(lengths) / seconds
        speed = f"{seconds * 500 / count:,.1f} s an epoch of 500 pairs, {irl.trainable}"
        return self._row("IRL", speed, operations, sum(need.values()))

    def _row(self, what: str, speed: str, operations: float, planned: float) -> list[str]:
        """A row of the table.

        Args:
            operations: a second, over the number of weights.
        """
        share, peak = "", ""
        if self.device.type == "cuda":
            peak = f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"
            top = next((ops for gpu, ops in PEAKS.items() if gpu in _gpu()), None)
            if top is not None:
                share = f"{100 * operations * self.shape.parameters / top:.1f} %"
        return [self.name, what, speed, share, peak, f"{planned / 1e9:.1f}"]

    def rows(self) -> Iterator[list[str]]:
        """A row for each measurement; one that fails has its error for a speed."""
        parts = [self.policy_training, self.completions, self.scoring, self.irl]
        for part in parts:
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            yield _or_error(part, self.name)


def pipeline_rows() -> Iterator[list[str]]:
    """A row for each stage of a pipeline from scratch."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_params("smoke", PIPELINE, Path(folder))
        started = time.monotonic()
        for stage, _ in run_stages(STAGES):
            seconds, started = time.monotonic() - started, time.monotonic()
            yield ["pipeline", stage, f"{seconds:.1f} s", "", "", ""]


def _or_error(part: Callable[[], list[str]], name: str) -> list[str]:
    try:
        return part()
    except Exception as error:  # a benchmark goes on with what it can
        line = re.sub(r"[\s|]+", " ", f"{type(error).__name__}: {error}")[:150]
        return [name, part.__name__, line, "", "", ""]


def _gpu() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a CPU"


def measure(name: str) -> Iterator[list[str]]:
    """The rows of a part."""
    seed_everything(0)
    quieten()
    if name == "pipeline":
        yield from pipeline_rows()
        return
    with tempfile.TemporaryDirectory() as folder:
        params = settings_of(name, Path(folder))
    yield from Bench(name, params).rows()


def _show(row: Sequence[str]) -> None:
    print(f"| {' | '.join(row)} |", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tiny", action="store_true", help="toy models alone")
    parser.add_argument("--part", choices=["tiny", *LIMITS], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        for row in measure(options.part):
            _show(row)
        return
    print(f"On {_gpu()}, torch {torch.__version__}.\n", flush=True)
    _show(HEADER)
    _show(["---"] * len(HEADER))
    for part, limit in ({"tiny": 300} if options.tiny else LIMITS).items():
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", part]
        with tempfile.TemporaryFile("w+") as errors:
            try:
                code = subprocess.run(
                    command, timeout=limit, stderr=errors, cwd=ROOT, env=os.environ, check=False
                ).returncode
                fault = f"it ended with code {code}" if code else ""
            except subprocess.TimeoutExpired:
                fault = f"stopped after {limit} s"
            if fault:
                errors.seek(0)
                said = errors.read().strip().splitlines()
                _show([part, "", f"{fault}: {said[-1][:150] if said else ''}", "", "", ""])


if __name__ == "__main__":
    main()
