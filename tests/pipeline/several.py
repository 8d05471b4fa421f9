"""Work of stages that processes can share, the same in one process and in each of several.

torchrun --nproc_per_node 2 -m tests.pipeline.several FOLDER
"""

from inverse_rlhf.stage import params_class, quieten, seed_everything

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from inverse_rlhf.models import processes
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.matmul import onednn_products
from inverse_rlhf.params import for_stage, load_params
from inverse_rlhf.policies.training import train_on_reward

STAGES = ["rlhf_train", "generate_pairs", "maxmargin_irl", "rerl_with_irl_rm", "evaluate"]
FEW = {"evaluate": {"evaluate": {"resamples": 20}}}  # fewer than params.yaml may ask for
IRL: dict[str, dict[str, Any]] = {
    "exact": {"solver": "exact", "loss": "logistic"},
    "networks": {"trainable": "last_k", "loss": "logistic", "epochs": 1},
}
GRPO = {"algorithm": "grpo", "gradient_accumulation": 2, "iterations": 2, "steps": 4}


def run(stage: str, **changes: dict[str, Any]) -> None:
    """Run a stage in the working directory, with other values of some groups' params."""
    params = load_params()
    seed_everything(params.seed)
    module = importlib.import_module(f"stages.{stage}")
    for name in ("figures_of", "write_figures", "write_report"):  # half a minute of drawing
        if hasattr(module, name):
            setattr(module, name, lambda *_, **__: {})
    own = for_stage(params, params_class(module.main))
    for group, update in changes.items():
        own = own.model_copy(update={group: getattr(own, group).model_copy(update=update)})
    with onednn_products() if params.compute.fast else contextlib.nullcontext():
        module.main(own)


def train(target: Path, update: dict[str, Any], *, fast: bool) -> None:
    """A training on the length of completions, into a folder."""
    params = load_params()
    seed_everything(params.seed)
    compute = params.compute.model_copy(update={"fast": fast})
    prompts = pd.read_parquet("data/prompts.parquet").query("split == 'rl'")
    policy = load("policy", Path("models/base"), compute)
    train_on_reward(
        prompts,
        policy,
        lambda _, completions: np.array([len(text) / 20 for text in completions], np.float32),
        params.rlhf.model_copy(update=update),
        seed=0,
        curve=target.with_suffix(".csv"),
    )
    policy.save(target)


def more(folder: Path) -> None:
    """What the stages do with other params, each in its folder, which has all that it reads."""
    for name, update in IRL.items():
        with contextlib.chdir(folder / name):
            run("maxmargin_irl", irl=update)
    with contextlib.chdir(folder / "exact"):
        train(folder / "grpo", GRPO, fast=True)


@contextlib.contextmanager
def spread_on_cpus() -> Iterator[None]:
    """Within it, accelerate spreads weights by FSDP2 over CPUs, too, which are not on its list."""
    begin = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **settings: Any) -> None:
        begin(self, *args, fsdp_plugin=fsdp_plugin, **settings)
        if fsdp_plugin is not None:
            self.fsdp_plugin, self.distributed_type = fsdp_plugin, DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = init
    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    }
    try:
        yield
    finally:
        del os.environ["ACCELERATE_USE_FSDP"]
        AcceleratorState.__init__ = begin


def _noted(folder: Path) -> None:
    """Have each process note the files that it puts in their places."""
    replace = Path.replace

    def noted(path: Path, target: Path) -> Path:
        with (folder / f"written-{os.environ['RANK']}.txt").open("a") as notes:
            print(Path(target).absolute(), file=notes)
        return replace(path, target)

    Path.replace = noted  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    quieten()
    given = Path(sys.argv[1]).absolute()
    _noted(given)
    with processes.joined("cpu"):
        for stage in STAGES:
            with contextlib.chdir(given / stage):
                run(stage, **FEW.get(stage, {}))
        more(given)
        with contextlib.chdir(given / "exact"):
            train(given / "plain", {}, fast=False)
            with spread_on_cpus():
                train(given / "spread", {}, fast=True)
