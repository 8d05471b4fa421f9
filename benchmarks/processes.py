"""How much faster several processes sample and score than one of them, as ratios.

    OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 -m benchmarks.processes

The completions of generate_pairs by models/base, and the rewards of its prompts' comments and
completions by models/true_reward, after `dvc repro` or `dvc pull`: by the first process, while the
others wait, and by all of them, in turns. Beside the ratio of times there is that of processor
times, the first's alone over the busiest one's of all: what the former comes to on an idle machine
with a core for each.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from inverse_rlhf.data.tables import read_prompts
from inverse_rlhf.models import processes
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.matmul import onednn_products
from inverse_rlhf.params import load_params
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.rewards.classifier import ClassifierReward

TURNS = 3


def seconds(work: Callable[[], object], *, alone: bool) -> tuple[float, float]:
    """How long it takes, and the processor time of the busiest process."""
    processes.barrier()
    started, used = time.perf_counter(), time.process_time()
    if not alone:
        work()
    elif processes.first():
        with processes.apart():
            work()
    used = time.process_time() - used
    processes.barrier()
    return time.perf_counter() - started, max(processes.gathered(used))


def main() -> None:
    """Measure and print."""
    params = load_params()
    with processes.joined(params.compute.device), onednn_products():
        prompts = read_prompts("data/prompts.parquet", "irl", "valid", "test")
        policy = load("policy", Path("models/base"), params.compute)
        classifier = load("classifier", Path("models/true_reward"), params.compute)
        reward = ClassifierReward(classifier, params.true_reward)
        texts = (prompts["prompt"] + prompts["human_completion"]).tolist() * 3
        tasks: dict[str, Callable[[], object]] = {
            "completions": lambda: sample_completions(
                prompts, policy, params.pairs, seed=params.seed, name="base"
            ),
            "scores": lambda: reward.score(texts),
        }
        for name, work in tasks.items():
            turns = [[seconds(work, alone=alone) for alone in (True, False)] for _ in range(TURNS)]
            one, all_of_them = np.median(np.array(turns), axis=0)
            if processes.first():
                print(
                    f"{name}: {one[0]:.1f} s by one process, {all_of_them[0]:.1f} s by "
                    f"{processes.count()}: {one[0] / all_of_them[0]:.2f} times as fast; by "
                    f"processor time {one[1] / all_of_them[1]:.2f} times"
                )


if __name__ == "__main__":
    main()
