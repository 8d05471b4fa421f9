"""What processes ask of their launcher, and how they end; what they do together: test_processes of
the pipeline.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import TrainingArguments

from inverse_rlhf import stage
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import write_json
from inverse_rlhf.models import processes
from inverse_rlhf.models.checkpoints import Model, device_of
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.params import Params
from inverse_rlhf.policies.decoding import random_keys
from inverse_rlhf.policies.training import TRAINERS, _config

ROOT = Path(__file__).parent.parent.parent
ENDS = """
import os, signal, sys
from inverse_rlhf.errors import UserError
from inverse_rlhf.models import processes
from inverse_rlhf.stage import run_named

def work(how):
    with processes.joined("cpu"):
        processes.barrier()  # none is still about to connect
        if processes.rank() == 1 and how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if processes.rank() == 1:
            raise UserError("the second has no tokens: leave it out")
        processes.barrier()

def read():
    if sys.argv[1] == "params":
        raise UserError("seed is -1: it must be more")
    return sys.argv[1]

run_named("toy", read, work, shared=True)
"""


def _launch(folder: Path, how: str) -> subprocess.CompletedProcess[str]:
    (folder / "toy.py").write_text(ENDS)
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "toy.py", how],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _own(stderr: str) -> str:
    """What the processes said, without what torchrun adds where they fail."""
    return re.split(r"(?m)^[WE]\d{4} |^Traceback", stderr)[0]


@pytest.mark.parametrize(
    ("how", "said", "told"),
    [
        ("params", "", ["seed is -1: it must be more"]),
        ("second", "toy: started\n", ["the second has no tokens: leave it out"]),
        (
            "killed",
            "toy: started\n",
            [  # by whether the other one misses it before the launcher ends that one, too
                "another process of the stage has ended without a word: the system's log says "
                "whether it was killed, as for memory",
                "ended by a signal, as the launcher sends it where it is ended or a process was "
                "lost (the system's log says whether one was killed, as for memory): what was "
                "finished is kept, run it again to go on",
            ],
        ),
    ],
)
def test_one_process_speaks_and_all_end(
    tmp_path: Path, how: str, said: str, told: list[str]
) -> None:
    result = _launch(tmp_path, how)
    assert result.returncode != 0
    assert result.stdout == said
    assert _own(result.stderr) in [f"error: {line}\n" for line in told]


LAUNCHED = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


def test_a_stage_that_cannot_share_refuses_several(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stage, "die_with_parent", lambda: None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", SimpleNamespace(name="stages.toy"))
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match="2"):
        stage.run_named("toy", dict, lambda _: [])
    assert capsys.readouterr().err == (
        "error: stages.toy runs in one process: start it without torchrun or accelerate launch "
        "(WORLD_SIZE is 2)\n"
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two': it must be a number of processes, or unset"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0': it must be"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, but RANK is not set: start stages by torchrun or"),
        (LAUNCHED | {"RANK": "zero"}, "WORLD_SIZE is 2, but RANK is 'zero', no number: start"),
        (
            {name: value for name, value in LAUNCHED.items() if name != "MASTER_ADDR"},
            "WORLD_SIZE is 2, but MASTER_ADDR is not set: start",
        ),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, "OMPI_COMM_WORLD_SIZE is 4: start stages by torchrun or"),
    ],
)
def test_what_a_launcher_has_to_say(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=re.escape(message)):
        processes.launched()


def test_another_precision_than_the_params_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    processes.check_precision(True)
    with pytest.raises(UserError, match=r"sets mixed_precision bf16, but compute\.bf16 is false"):
        processes.check_precision(False)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    processes.check_precision(True)
    processes.check_precision(False)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the second of two launched processes, which have not joined."""
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, LAUNCHED[name])


@pytest.fixture
def second(two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the second of two processes that have joined; none waits for another."""
    monkeypatch.setattr(processes, "_here", processes._Here(rank=1, count=2))
    monkeypatch.setattr(processes, "gathered", lambda own: [own, own])


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("device", "gpus", "message"),
    [
        ("cuda:1", 2, "compute.device is 'cuda:1', but 2 processes are to share the stage: set"),
        ("auto", 1, "2 processes are started on a machine with 1 CUDA devices: start one for each"),
    ],
)
def test_processes_have_a_gpu_each(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: int, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=re.escape(message)), processes.joined(device):
        pass


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("engine", ["FSDP", "DEEPSPEED"])
def test_weights_are_not_spread_over_cpus(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setenv(f"ACCELERATE_USE_{engine}", "true")
    with (
        pytest.raises(UserError, match="accelerate's configuration spreads weights by"),
        processes.joined("cpu"),
    ):
        pass


@pytest.mark.parametrize(("rank", "told"), [("0", "ended by a signal"), ("1", None)])
def test_of_a_launcher_that_has_ended_the_first_tells(
    monkeypatch: pytest.MonkeyPatch, two: None, rank: str, told: str | None
) -> None:
    """Its store, which knows whether another one tells, has ended with it."""
    monkeypatch.setattr(processes, "_joined", lambda: True)
    monkeypatch.setattr(processes, "_PARENT", -1)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("RANK", rank)
    with pytest.raises((UserError, SystemExit)) as ended, processes.one_voice():
        raise SystemExit(processes.ENDED)
    assert isinstance(ended.value, UserError) == (told is not None)
    assert (told or "143") in str(ended.value)


@pytest.mark.usefixtures("second")
def test_each_process_has_the_gpu_of_its_number(
    monkeypatch: pytest.MonkeyPatch, params: Params
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("auto", "cuda"):
        compute = params.compute.model_copy(update={"device": name})
        with processes.apart():
            assert device_of(compute) == torch.device("cuda:1")
    assert device_of(params.compute) == torch.device("cpu")


@pytest.mark.usefixtures("second")
def test_the_first_process_alone_writes(tmp_path: Path) -> None:
    write_json({"a": 1}, tmp_path / "new" / "a.json")
    assert list(tmp_path.iterdir()) == []
    with processes.apart():
        write_json({"a": 1}, tmp_path / "b.json")
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


@pytest.mark.usefixtures("second")
def test_keys_are_those_of_one_process() -> None:
    torch.manual_seed(0)
    own = random_keys(3)
    torch.manual_seed(0)
    with processes.apart():
        assert torch.equal(random_keys(6)[3:], own)


@pytest.mark.parametrize("items", [[], [1], [1, 2, 3, 4, 5]])
def test_what_is_shared_comes_back_in_order(
    monkeypatch: pytest.MonkeyPatch, items: list[int]
) -> None:
    parts = []
    for rank in range(3):
        monkeypatch.setattr(processes, "_here", processes._Here(rank, 3))
        parts.append(processes.share(items))
    monkeypatch.setattr(processes, "gathered", lambda own: parts)
    assert processes.in_order(parts[0]) == items


@pytest.mark.usefixtures("second")
def test_a_batch_that_processes_cannot_share_evenly_is_refused(policy: Any, params: Params) -> None:
    odd = params.rlhf.model_copy(update={"batch_size": 3, "generations": 3})
    with pytest.raises(UserError, match=r"2 processes cannot share 9 completions evenly: they mu"):
        _config(TRAINERS["rloo"].config, odd, policy, [[1]], 0, "unused")


def test_a_trainer_takes_one_of_many_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    arguments._n_gpu = 8  # as transformers counts those it sees
    processes.keep_to_one_device(arguments, torch.device("cuda"))
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 8)
    arguments._n_gpu = 0
    processes.keep_to_one_device(arguments, torch.device("cpu"))
    assert arguments.n_gpu == 0


@pytest.mark.parametrize("name", ["cuda:1", "cuda:0", "cuda"])
def test_a_trainer_takes_the_gpu_that_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, policy: Model, params: Params, tmp_path: Path
) -> None:
    """transformers itself takes the first; accelerate the current one."""
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    compute = params.compute.model_copy(update={"device": name})
    named = Model(policy.module, policy.tokenizer, compute)
    states = Checkpoints(tmp_path, 0)
    try:
        config = _config(TRAINERS["rloo"].config, params.rlhf, named, [[1]], 0, states)
        assert Accelerator().device == torch.device("cuda")
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
    asked = torch.device("cuda:1" if name == "cuda:1" else "cuda:0")
    assert (config.device, config.n_gpu, current[-1]) == (asked, 1, asked)
