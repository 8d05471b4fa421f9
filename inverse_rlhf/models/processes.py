"""The processes that share a stage, as torchrun or `accelerate launch` start them.

All of them run the same code on the same inputs. What takes long is shared out and gathered in
order, so that each has the whole result; the first alone writes and speaks. Without a launcher
there is one process, and nothing here does anything. torch is loaded by `joined` alone.
"""

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from inverse_rlhf.errors import UserError

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments

Value = TypeVar("Value")
# A process that has ended closes its connections, which ends the others' wait at once. This is for
# one that hangs; one that works may be awaited for as long as a run of the reward takes.
_LONGEST_WAIT = timedelta(hours=12)
_HEADSTART = 60  # seconds for the first process to say what all of them have found
_OF_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
ENDED = 128 + signal.SIGTERM
"""The exit code of a process that was told to end."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PARENT = os.getppid()  # it may end while models' libraries are imported, which takes seconds
_FAILED = "inverse_rlhf/failed"
_LOST = ("closed by peer", "Connection reset", "gloo", "NCCL", "Broken pipe")


@dataclass
class _Here:
    """This process among those that share the stage, once they have joined."""

    rank: int = 0
    count: int = 1
    apart: bool = False


_here = _Here()


def end_with_parent() -> None:
    """Have the system send SIGTERM to this process when its parent ends, also once it is another
    program; on Linux alone.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != _PARENT:
            sys.exit(1)


def launched() -> int:
    """How many processes the launcher has started; 1 without a launcher.

    Raises:
        UserError: the environment says how many, but not which of them this is, or it is another
            launcher's.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if not count.isdecimal() or int(count) < 1:
        raise UserError(f"WORLD_SIZE is {count!r}: it must be a number of processes, or unset")
    advice = "start stages by torchrun or accelerate launch"
    if int(count) > 1:
        for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
            value = os.environ.get(name)
            if value is None or not value.isdecimal():
                said = "is not set" if value is None else f"is {value!r}, no number"
                raise UserError(
                    f"WORLD_SIZE is {count}, but {name} {said}: {advice}, or unset WORLD_SIZE"
                )
        if "MASTER_ADDR" not in os.environ:
            raise UserError(
                f"WORLD_SIZE is {count}, but MASTER_ADDR is not set: {advice}, or unset WORLD_SIZE"
            )
    elif "WORLD_SIZE" not in os.environ:
        for name in _OF_MPI:
            if os.environ.get(name, "1") != "1":
                raise UserError(f"{name} is {os.environ[name]}: {advice}, not by mpirun or srun")
    return int(count)


def check_precision(bf16: bool) -> None:
    """Refuse a precision of accelerate's configuration that is not the params'.

    Args:
        bf16: `compute.bf16`.

    Raises:
        UserError: it is another one, with which accelerate would train without a word.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked not in ("no", "bf16" if bf16 else "no"):
        raise UserError(
            f"accelerate's configuration sets mixed_precision {asked}, but compute.bf16 is "
            f"{str(bf16).lower()}: set it to no there, and bfloat16 by compute.bf16"
        )


def engine() -> list[tuple[str, str]]:
    """What the launcher has set of how many processes there are and how they share weights."""
    return sorted(
        (name, value)
        for name, value in os.environ.items()
        if name == "WORLD_SIZE" or name.startswith(("ACCELERATE_USE_", "ACCELERATE_DEEP", "FSDP_"))
    )


def check_alone(stage: str) -> None:
    """Refuse several processes for a stage that cannot share its work.

    Raises:
        UserError: there are several.
    """
    if (count := launched()) > 1:
        raise UserError(
            f"{stage} runs in one process: start it without torchrun or accelerate launch "
            f"(WORLD_SIZE is {count})"
        )


def speaks() -> bool:
    """Whether this process, launched with others or alone, is the one that says what all do."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Within it the launched processes work together.

    Args:
        device: `compute.device`; on GPUs each process has its own.

    Raises:
        UserError: it names one GPU for all, there are fewer than processes, or what accelerate is
            configured to needs GPUs.
    """
    if launched() == 1:
        yield
        return
    import torch.distributed
    from accelerate import PartialState

    cpu = device == "cpu" or not torch.cuda.is_available()
    if not cpu:
        _check_gpus(device, torch.cuda.device_count())
    elif engine := _engine():
        raise UserError(
            f"accelerate's configuration spreads weights by {engine}, which it does on GPUs alone, "
            "and ignores on CPUs: take one without it"
        )
    state = PartialState(cpu=cpu, timeout=_LONGEST_WAIT)
    _here.rank, _here.count = state.process_index, state.num_processes
    try:
        yield
        torch.distributed.destroy_process_group()
    finally:
        _here.rank, _here.count = 0, 1


def _check_gpus(device: str, present: int) -> None:
    """Refuse processes of this machine that would not have a GPU each."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", local_rank() + 1))
    if device.startswith("cuda:"):
        raise UserError(
            f"compute.device is {device!r}, but {launched()} processes are to share the stage: set "
            "auto or cuda, of which each takes the GPU of its number"
        )
    if here > present:
        raise UserError(
            f"{here} processes are started on a machine with {present} CUDA devices: start one for "
            "each"
        )


def rank() -> int:
    """The number of this process, from 0."""
    return 0 if _here.apart else _here.rank


def count() -> int:
    """How many processes work together."""
    return 1 if _here.apart else _here.count


def together() -> bool:
    """Whether processes have joined, also while they work `apart`."""
    return _here.count > 1


def on_this_machine() -> int:
    """How many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", count())) if count() > 1 else 1


def local_rank() -> int:
    """The number of this process on its machine, from 0, where there are several."""
    return int(os.environ["LOCAL_RANK"])


def first() -> bool:
    """Whether this process writes."""
    return rank() == 0


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Within it this process has work of its own: nothing is shared out, and it writes by itself.

    What is shared out needs every process, at the same place in the same order.
    """
    before, _here.apart = _here.apart, True
    try:
        yield
    finally:
        _here.apart = before


def by_first(action: Callable[[Value], object], on: Value) -> None:
    """Do in the first process alone what the others need not repeat."""
    if first():
        with apart():
            action(on)


def share(items: Sequence[Value]) -> Sequence[Value]:
    """This process's part: every `count()`-th one, so that like neighbours are shared evenly."""
    return items[rank() :: count()]


def gathered(own: Value) -> list[Value]:
    """What every process has, in the order of their numbers."""
    if count() == 1:
        return [own]
    import torch.distributed

    found: list[Any] = [None] * count()
    torch.distributed.all_gather_object(found, own)
    return found


def in_order(own: Sequence[Value]) -> list[Value]:
    """The results of all items, from those of this process's `share`, in the order of the items."""
    parts = gathered(own)
    return [part[n] for n in range(len(parts[0])) for part in parts if n < len(part)]


def of_first(value: Value) -> Value:
    """What the first process has."""
    return gathered(value)[0]


def barrier() -> None:
    """Wait until every process is here."""
    gathered(None)


def average_gradients(parameters: "Iterable[torch.nn.Parameter]") -> None:
    """Give every process the mean of all processes' gradients; an absent one counts as 0."""
    if count() == 1:
        return
    import torch.distributed

    for parameter in parameters:
        if parameter.requires_grad:
            if parameter.grad is None:
                parameter.grad = parameter.new_zeros(parameter.shape)
            torch.distributed.all_reduce(parameter.grad)
            parameter.grad /= count()


def keep_to_one_device(arguments: "TrainingArguments", device: "torch.device") -> None:
    """Have a Trainer train on one device.

    By itself it takes all GPUs that one process sees, by nn.DataParallel, the first before the
    others. What accelerate and TRL place on "cuda" goes to the current one.

    Args:
        device: `device_of` the params.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)
    if device.index and not together():
        import torch

        torch.cuda.set_device(device)
        arguments._setup_devices = device


def spread() -> bool:
    """Whether accelerate's configuration spreads a model's weights over the processes."""
    return together() and _engine() is not None


def _engine() -> str | None:
    engines = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
    chosen = [name for key, name in engines.items() if os.environ.get(key, "").lower() == "true"]
    return chosen[0] if chosen else None


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Let one process alone tell of what ends all of them.

    The launcher ends the others. Where one has ended without a word, as when the system kills it
    for memory, that is told: by one that misses it, or that the launcher ends before it does.

    Raises:
        UserError: another process was lost.
        SystemExit: another one tells.
    """
    try:
        with _first_to_tell():
            yield
    except SystemExit as end:
        if end.code != ENDED or not _joined():
            raise
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not _first_to_fail():
            raise
        raise UserError(
            "ended by a signal, as the launcher sends it where it is ended or a process was lost "
            "(the system's log says whether one was killed, as for memory): what was finished is "
            "kept, run it again to go on"
        ) from None


@contextlib.contextmanager
def _first_to_tell() -> Iterator[None]:
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("WORLD_SIZE", "1") == "1":
            raise
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's, before all is said
        if not _first_to_fail():
            raise SystemExit(1) from None
        if type(error) is RuntimeError and any(mark in str(error) for mark in _LOST):
            raise UserError(
                "another process of the stage has ended without a word: the system's log says "
                "whether it was killed, as for memory"
            ) from error
        raise


def _first_to_fail() -> bool:
    """Whether nobody else tells. Before the processes have joined, all find the same."""
    if not _joined():
        if not speaks():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(_HEADSTART)
        return True
    if os.getppid() != _PARENT:  # the launcher, which keeps the store, has ended
        return speaks()
    from torch.distributed.distributed_c10d import _get_default_store

    try:
        return int(_get_default_store().add(_FAILED, 1)) == 1
    except RuntimeError:  # the first process kept it, and has ended
        return speaks()


def _joined() -> bool:
    """Whether this process is connected with others."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_initialized()


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """End a process that fails within it while it is connected with others, without more ado.

    Python's orderly end would meet gloo's threads, which may wait for the others still, and abort
    with a line of its own.
    """
    try:
        yield
    except SystemExit as end:
        if not _joined():
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
