"""How fast policy training is beside TRL's own loops, as a ratio.

    OMP_NUM_THREADS=2 python -m benchmarks.rlhf

A few steps by params.yaml from models/base on the prompts of split rl, rewarded for length alone,
with rollouts sampled and read as this project does it and as transformers and TRL do; in turns,
after `dvc repro` or `dvc pull`.
"""

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from inverse_rlhf.cli import manage_memory
from inverse_rlhf.matmul import onednn_products
from inverse_rlhf.tables import read_prompts
from trl import RLOOTrainer

from inverse_rlhf import policy_gradient
from inverse_rlhf.models import load
from inverse_rlhf.params import load_params

STEPS, TURNS = 4, 3


def seconds() -> float:
    """Of `STEPS` steps from the same policy."""
    params = load_params()
    prompts = read_prompts("data/prompts.parquet", "rl")
    model, tokenizer = load("policy", Path("models/base"), params.compute)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        policy_gradient.train_on_reward(
            prompts,
            model,
            tokenizer,
            lambda texts: np.array([len(text) for text in texts], dtype=np.float32) / 100,
            params.rlhf.model_copy(update={"algorithm": "rloo", "steps": STEPS}),
            params.compute,
            seed=params.seed,
            curve=Path(folder) / "curve.csv",
        )
        return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    manage_memory()
    # Without a decoding function `generate` takes its own.
    theirs = mock.patch.multiple(policy_gradient, decode=None, _Rloo=RLOOTrainer)
    ways: dict[str, Any] = {"ours": contextlib.nullcontext(), "theirs": theirs}
    measured: dict[str, list[float]] = {name: [] for name in ways}
    with onednn_products():
        for _ in range(TURNS):
            for name, way in ways.items():
                with way:
                    measured[name].append(seconds())
    ours, others = (float(np.median(values)) for values in measured.values())
    print(f"{STEPS} steps: {ours:.1f} s, by TRL {others:.1f} s: {others / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
