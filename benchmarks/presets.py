"""Seconds and memory of each stage of a preset, of Pythia's on models of the real shapes.

    OMP_NUM_THREADS=1 python -m benchmarks.presets smoke
    OMP_NUM_THREADS=1 python -m benchmarks.presets pythia-70m
    python -m benchmarks.presets pythia-1b --folder DIR --stages base_policy rlhf_train

Policies and the classifier have random weights, so that nothing is fetched and no figure of theirs
means anything; steps are cut by the settings that are printed first. With --folder the models and
outputs stay there, 8 bytes a parameter and more, and stages can be run one by one as memory allows.
-S KEY=VALUE sets further values, as with DVC. What a stage plans is without what its process holds
before, libraries above all, which is added here.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from tests.presets.running import ROOT, STAGES, write_params
from tests.presets.shapes import PYTHIA, save_comments, save_pythia

_PLAN = r"needs about ([\d.]+) GB"
# Enough that every stage does all that it does, a few times.
FEW = {
    "data.revision": None,
    "base_policy.revision": None,
    "true_reward.revision": None,
    "compute.bf16": False,
    "compute.batch_size": 8,
    "data.splits.rl": 8,
    "data.splits.irl": 12,
    "data.splits.valid": 10,
    "data.splits.test": 10,
    "rlhf.steps": 2,
    "rlhf.batch_size": 4,
    "rlhf.generations": 2,
    "rlhf.iterations": 1,
    "rlhf.lr": 1e-3,  # with the preset's so few steps would change no greedy text
    "rlhf.warmup_steps": 0,
    "rlhf.max_new_tokens": 24,
    "pairs.max_new_tokens": 24,
    "irl.runs": 2,
    "irl.control_runs": 1,
    "irl.epochs": 1,
    "evaluate.resamples": 100,
}


def prepare(name: str, folder: Path, more: dict[str, Any]) -> dict[str, Any]:
    """Make the models and comments of a preset in a folder, and its params, with more settings.

    Returns:
        The settings that differ from the preset's.
    """
    settings: dict[str, Any] = {}
    if name in PYTHIA:
        policy, classifier, comments = (
            folder / part for part in ("pythia", "roberta", "c.parquet")
        )
        settings = FEW | {
            "data.source": str(comments),
            "base_policy.source": str(policy),
            "true_reward.source": str(classifier),
        }
        if not comments.exists():
            save_pythia(name, policy)
            save_comments(comments, classifier, 60)
    settings |= more
    write_params(name, settings, folder)
    return settings


@dataclass(frozen=True)
class Cost:
    """What a stage took: seconds, CPU seconds, peak memory in GB, and that which its plan and what
    it held when it planned come to; NaN: it said no plan.
    """

    seconds: float
    cpu: float
    peak: float
    planned: float


def run(stage: str, folder: Path) -> Cost:
    """Run a stage in a process of its own.

    Raises:
        SystemExit: it failed; what it said is printed.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    log = folder / f"{stage}.log"
    peak, planned, started = 0.0, math.nan, time.monotonic()
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", f"stages.{stage}"],
            cwd=folder,
            env=environment,
            stdout=stream,
            stderr=stream,
        )
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            held, most = _memory(process.pid)
            peak = max(peak, most)
            if math.isnan(planned) and (plan := re.search(_PLAN, log.read_text())):
                planned = held + float(plan[1])
            time.sleep(0.02)
    seconds, (_, status, usage) = time.monotonic() - started, ended
    if status:
        sys.exit(f"{stage} failed:\n{log.read_text()[-3000:]}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak, planned)


def _memory(process: int) -> tuple[float, float]:
    """Memory that a process holds and has held at most, in GB; 0 once it has ended.

    Weights count: they are mapped from their files. Of what `wait4` says that of this process is
    part.
    """
    status = Path(f"/proc/{process}/status").read_text()
    found = (re.search(rf"{name}:\s+(\d+) kB", status) for name in ("VmRSS", "VmHWM"))
    held, most = (int(size[1]) * 1024 / 1e9 if size else 0.0 for size in found)
    return held, most


def measure(name: str, stages: Sequence[str], folder: Path, more: dict[str, Any]) -> None:
    """Run stages of a preset in a folder and print what each took."""
    settings = prepare(name, folder, more)
    print(" ".join(f"-S {key}={value}" for key, value in settings.items()), flush=True)
    print(
        "| stage | seconds | CPU seconds | peak GB | planned GB |\n| --- | --- | --- | --- | --- |"
    )
    costs = []
    for stage in stages:
        costs.append(cost := run(stage, folder))
        planned = "" if math.isnan(cost.planned) else f"{cost.planned:.2f}"
        row = f"{cost.seconds:.1f} | {cost.cpu:.1f} | {cost.peak:.2f} | {planned}"
        print(f"| {stage} | {row} |", flush=True)
    seconds, cpu = sum(cost.seconds for cost in costs), sum(cost.cpu for cost in costs)
    print(f"| all | {seconds:.1f} | {cpu:.1f} | {max(cost.peak for cost in costs):.2f} | |")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("name", choices=["smoke", *PYTHIA])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--folder", type=Path, help="where models and outputs stay")
    options = parser.parse_args()
    pairs = (setting.partition("=")[::2] for setting in options.settings)
    more = {key: YAML(typ="safe", pure=True).load(value) for key, value in pairs}
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure(options.name, options.stages, options.folder.resolve(), more)
    else:
        with TemporaryDirectory() as folder:
            measure(options.name, options.stages, Path(folder), more)


if __name__ == "__main__":
    main()
