"""Runs a stage: params in, one line for bad input, no orphan when its parent dies."""

import argparse
import ctypes
import gc
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Params, load_params

_PARENT = os.getppid()  # it may end while models' libraries are imported, which takes seconds
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h

# Until `manage_memory`: imports make millions of objects, all of which stay, and looking for
# garbage among them takes a seventh of the time of importing transformers.
gc.disable()


def run_stage(main: Callable[[Params], None]) -> None:
    """Call `main` with the params of the working directory.

    Prints a `UserError` as it is, without a traceback, and exits with 2; any other exception is a
    bug and keeps its traceback. `--help` prints the docstring of the stage.
    """
    argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main))).parse_args()
    die_with_parent()
    try:
        params = load_params()
        seed_everything(params.seed)
        quieten()
        from inverse_rlhf.matmul import onednn_products  # late, as torch is: bad params fail fast

        manage_memory()
        with onednn_products():
            main(params)
    except UserError as error:
        sys.exit(_fail(error))


def seed_everything(seed: int) -> None:
    """Seed every generator and choose deterministic kernels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    import torch
    from transformers import set_seed

    set_seed(seed)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling it takes a tenth of the training time, and nothing here reads it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def quieten() -> None:
    """Leave the line about a model that cannot be loaded to us: the libraries write dozens."""
    for library in ("huggingface_hub", "transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)


def die_with_parent() -> None:
    """End this process when its parent ends: killing dvc alone would leave the stage running.

    SIGTERM becomes an ordinary exit, so that temporary outputs are removed.
    """
    signal.signal(signal.SIGTERM, _exit_on_signal)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != _PARENT:
            sys.exit(1)


def manage_memory() -> None:
    """Let glibc reuse large freed blocks: training on a CPU spends a third of its time otherwise
    on mapping logits anew at every step. And collect garbage again, but for what is imported.
    """
    gc.freeze()
    gc.enable()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _exit_on_signal(signum: int, frame: FrameType | None) -> None:
    sys.exit(128 + signum)


def _fail(error: UserError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
