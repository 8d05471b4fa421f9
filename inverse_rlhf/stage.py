"""Runs a stage: its params in, one line for bad input, no orphan when its parent dies."""

import argparse
import contextlib
import gc
import inspect
import logging
import os
import signal
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

# Stages import this module first: libraries read these when they are imported.
os.environ |= {"HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
# What MKL's manual asks for, beside a fixed number of threads, for the same sums in every run.
os.environ.setdefault("MKL_CBWR", "AUTO")

from inverse_rlhf.errors import INTERRUPTED, one_line, say
from inverse_rlhf.models import processes
from inverse_rlhf.params import (
    Group,
    Launched,
    Params,
    for_stage,
    load_params,
    load_part,
)


def _in_one_line(kind: type[BaseException], *error: Any) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print(f"error: {INTERRUPTED}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, *error)


_program = getattr(sys.modules["__main__"].__spec__, "name", "") or Path(sys.argv[0]).name
if _program.startswith(("stages.", "inverse_rlhf.audit", "inverse-rlhf")):
    sys.excepthook = _in_one_line  # for Ctrl-C in these seconds
if _program.startswith("stages."):
    gc.disable()  # a sixth of these seconds: what is imported is no garbage

Main = Callable[[Any], list[str]]
Read = TypeVar("Read")


def run_stage(main: Main, *, models: bool = True, shared: bool = False) -> None:
    """Call `main` with its own part of the params of the working directory.

    `main` annotates its one argument with the class of that part, and returns the lines that the
    stage ends with. `--help` prints the docstring of the stage. How it ends: see `run_named`.

    Args:
        models: whether it computes. Without that torch is not loaded, and no other params than its
            own are checked.
        shared: whether several processes can share its work, see `processes`.
    """
    argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main))).parse_args()

    def work(params: Params) -> list[str]:
        seed_everything(params.seed)
        quieten()
        from inverse_rlhf.models.matmul import onednn_products  # late, as torch is

        own: Any = for_stage(params, params_class(main))
        processes.check_precision(params.compute.bf16)
        params.rlhf.check_engine()
        fast = "compute" in type(own).model_fields and own.compute.fast
        together = processes.joined(own.compute.device) if shared else contextlib.nullcontext()
        with together, onednn_products() if fast else contextlib.nullcontext():
            return main(own)

    title = Path(inspect.getfile(inspect.unwrap(main))).stem
    if models:
        run_named(title, load_params, work, shared=shared)
    else:
        run_named(title, lambda: _own_part(main), main)


def _own_part(main: Main) -> Any:
    """Its own params, and a look at how later stages are started, which they cannot check."""
    load_part(Launched)
    return load_part(params_class(main))


def run_named(
    title: str,
    read: Callable[[], Read],
    work: Callable[[Read], list[str]],
    *,
    shared: bool = False,
) -> None:
    """Read params, say that it starts, work, and print the lines that `work` returns.

    Bad input and faults of the machine are one line, see `one_line`. Of several processes one
    speaks; unless the work is `shared`, they are refused.
    """
    die_with_parent()
    with processes.ending_at_once(), one_line(), processes.one_voice():
        if not shared:
            processes.check_alone(getattr(sys.modules["__main__"].__spec__, "name", title))
        params = read()
        speaks = processes.speaks()
        if speaks:
            say(f"{title}: started")
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        lines = work(params)
        if speaks:
            say(*(f"{title}: {line}" for line in lines))


def params_class(main: Main) -> type[Group]:
    """The class of a stage's params, which its `main` names."""
    kind: type[Group] = typing.get_type_hints(main)["params"]
    return kind


def seed_everything(seed: int) -> None:
    """Seed every generator and choose deterministic kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch
    from transformers import set_seed

    set_seed(seed)
    torch.set_num_threads(torch.get_num_threads())  # else MKL takes fewer as it sees fit
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling it takes a tenth of the training time, and nothing here reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def quieten() -> None:
    """Keep to our own lines and bars: the libraries write dozens."""
    from datasets.utils.logging import disable_progress_bar as no_bars_of_datasets
    from transformers.utils.logging import disable_progress_bar as no_bars_of_transformers

    for library in ("huggingface_hub", "transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
    no_bars_of_datasets()
    no_bars_of_transformers()


def die_with_parent() -> None:
    """End this process when its parent ends: killing dvc alone would leave the stage running.

    SIGTERM becomes an ordinary exit, so that temporary outputs are removed.
    """
    signal.signal(signal.SIGTERM, _exit_on_signal)
    processes.end_with_parent()


def _exit_on_signal(signum: int, frame: FrameType | None) -> None:
    sys.exit(processes.ENDED)
