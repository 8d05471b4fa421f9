"""How fast policy training is with `compute.fast` on and off, as a ratio.

    OMP_NUM_THREADS=2 python -m benchmarks.rlhf

A few steps by params.yaml from models/base on the prompts of split rl, rewarded for length alone:
rollouts sampled and read as policies/decoding.py and policies/trl_fast.py do it, and as
transformers and TRL do; in turns, after `dvc repro` or `dvc pull`. Products by oneDNN are in force
in both, where this CPU gains by them.
"""

import tempfile
import time
from pathlib import Path

import numpy as np

from inverse_rlhf.data.tables import read_prompts
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.matmul import onednn_products
from inverse_rlhf.params import Params, load_params
from inverse_rlhf.policies.training import train_on_reward

STEPS, TURNS = 4, 3


def seconds(params: Params, *, fast: bool) -> float:
    """Of `STEPS` steps from the same policy."""
    prompts = read_prompts("data/prompts.parquet", "rl")
    compute = params.compute.model_copy(update={"fast": fast})
    policy = load("policy", Path("models/base"), compute, trained=True)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        train_on_reward(
            prompts,
            policy,
            lambda _, texts: np.array([len(text) for text in texts], dtype=np.float32) / 100,
            params.rlhf.model_copy(update={"steps": STEPS}),
            seed=params.seed,
            curve=Path(folder) / "curve.csv",
        )
        return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    params = load_params()
    measured: dict[bool, list[float]] = {True: [], False: []}
    with onednn_products():
        for _ in range(TURNS):
            for fast, values in measured.items():
                values.append(seconds(params, fast=fast))
    ours, others = (float(np.median(values)) for values in measured.values())
    print(f"{STEPS} steps: {ours:.1f} s, by TRL {others:.1f} s: {others / ours:.2f} times as fast")


if __name__ == "__main__":
    main()
