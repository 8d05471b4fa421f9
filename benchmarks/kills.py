"""What kills cost: stages killed at random moments and run again, beside ones that were not.

    OMP_NUM_THREADS=1 python -m benchmarks.kills [SEED]

Trains small models in a temporary folder: a base policy, RL, completions of both, 20 runs of IRL by
LoRA, re-RL. Each of these stages runs undisturbed, then once more with three SIGKILLs. Printed are
the share of its work (updates of weights, batches of completions) that was done twice, and whether
the outputs are the same bytes, but for times.
"""

from inverse_rlhf.stage import params_class, quieten, seed_everything

import contextlib
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.state import AcceleratorState
from transformers import Trainer

from inverse_rlhf import preset
from inverse_rlhf.irl.network import RewardNetwork
from inverse_rlhf.models import processes
from inverse_rlhf.params import for_stage, load_params, read_yaml
from inverse_rlhf.policies import sampling

ROOT = Path(__file__).parent.parent
DONE = Path("steps")
"""A byte for each step that any process has begun."""
_STEPS = ((Trainer, "training_step"), (RewardNetwork, "rewards_of_rows"), (sampling, "_generate"))
_TIMES = ("seconds", "tokens_per_second")
_SETTINGS: dict[str, Any] = {
    "checkpoints": 30,
    "compute": {"batch_size": 16},
    "data": {"comments": 2400},
    "base_policy": {"scratch": {"epochs": 3}},
    "rlhf": {"steps": 40},
    "pairs": {"samples": 4},
    "irl": {"runs": 10, "control_runs": 10, "trainable": "lora", "lora_rank": 4, "epochs": 3},
}
_STAGES = ("base_policy", "rlhf_train", "generate_pairs", "maxmargin_irl", "rerl_with_irl_rm")


@dataclass(frozen=True)
class Killed:
    """A stage that was killed and run again.

    Attributes:
        steps: of the undisturbed run, those of each process: updates of weights, or batches of
            completions.
        twice: the share of these that was done again.
        same: whether both runs wrote the same.
    """

    steps: int
    twice: float
    same: bool


def run(stage: str, *, killed_after: int | None = None, count: int = 1) -> int:
    """Run a stage of the working directory in processes of its own; the steps that they began.

    Args:
        killed_after: the steps after which they are killed, at some moment of the next.
        count: how many processes share the stage.
    """
    DONE.write_bytes(b"")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = [_begun(stage, rank, count, port) for rank in range(count)]
    if killed_after is not None:
        while DONE.stat().st_size < killed_after and not any(map(_ended, children)):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.05))
        for child in children:
            os.kill(child, signal.SIGKILL)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    if any(statuses) and killed_after is None:
        raise RuntimeError(f"{stage} ended with {statuses}")
    return DONE.stat().st_size


def _begun(stage: str, rank: int, count: int, port: int) -> int:
    """The number of a process that does a stage's work, with what torchrun would set."""
    child = os.fork()
    if not child:
        if count > 1:
            AcceleratorState._reset_state(reset_partial_state=True)  # of trainings before
            sizes = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
            numbers = sizes | {"RANK": rank, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1"}
            os.environ |= {name: str(number) for name, number in numbers.items()}
        _work(stage)
    return child


def _ended(child: int) -> bool:
    """Whether it has ended by itself, so that what comes after fails instead of waiting."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _work(stage: str) -> None:
    """Do a stage's work and end the process."""
    for place, name in _STEPS:
        setattr(place, name, _counted(getattr(place, name)))
    code = 1
    try:
        params, main = load_params(), importlib.import_module(f"stages.{stage}").main
        seed_everything(params.seed)
        quieten()
        with processes.joined(params.compute.device):
            main(for_stage(params, params_class(main)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _counted(step: Any) -> Any:
    def counted(*args: Any, **settings: Any) -> Any:
        with DONE.open("ab") as file:
            file.write(b".")
        return step(*args, **settings)

    return counted


def kill(stage: str, kills: int, *, count: int = 1) -> Killed:
    """Run a stage of the working directory undisturbed, and with kills at random moments.

    Args:
        count: how many processes share the stage.
    """
    total = run(stage, count=count)
    expected = _outputs(stage)
    for path in (*expected, ".irl_runs"):
        shutil.rmtree(path, ignore_errors=True)
        Path(path).unlink(missing_ok=True)
    places = sorted(random.sample(range(1, total), kills))
    begun = [
        run(stage, killed_after=place - before, count=count)
        for before, place in zip([0, *places], places, strict=False)
    ]
    begun.append(run(stage, count=count))
    return Killed(total, sum(begun) / total - 1, _outputs(stage) == expected)


def _outputs(stage: str) -> dict[str, str]:
    """Digests of what a stage has written, by paths, but for times."""
    found = {}
    for out in read_yaml(ROOT / "dvc.yaml")["stages"][stage]["outs"]:
        for path in sorted(Path(out).rglob("*")) if Path(out).is_dir() else [Path(out)]:
            content = path.read_bytes()
            if out.endswith(".json"):
                facts = json.loads(content)[stage]
                content = json.dumps([(k, facts[k]) for k in facts if k not in _TIMES]).encode()
            found[str(path)] = hashlib.sha256(content).hexdigest()
    return found


def prepare(name: str, settings: dict[str, Any], stages: Sequence[str]) -> None:
    """Make the params of a preset with other settings in the working directory, and run stages."""
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    preset.write(read_yaml(ROOT / "presets" / f"{name}.yaml"), Path("params.yaml"))
    preset.write(settings, Path("params.yaml"))
    for stage in stages:
        run(stage)


def main() -> None:
    """Measure and print."""
    seed = int(sys.argv[1]) if sys.argv[1:] else 0
    random.seed(seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        prepare("smoke", _SETTINGS, ["prepare_data"])
        for stage in _STAGES:
            if stage == "rlhf_train":
                run("true_reward")
            found = kill(stage, 3)
            print(
                f"{stage}: {found.steps} steps, {100 * found.twice:.1f} % twice after 3 "
                f"kills; outputs {'the same' if found.same else 'DIFFER'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
