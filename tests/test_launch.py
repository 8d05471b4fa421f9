"""What launches a stage ends with whoever asked for it, and every process with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.projects import ROOT

WORKER = """
import os, time, pathlib
pathlib.Path(f"{os.environ['RANK']}.pid").write_text(str(os.getpid()))
time.sleep(300)
"""
# What DVC does; its own process is the one that is killed.
STARTS = """
import subprocess, sys
subprocess.run(sys.argv[1], shell=True)
"""
COMMAND = (
    f"exec {sys.executable} -m inverse_rlhf.launch "
    f"{sys.executable} -m torch.distributed.run --nproc_per_node 2 worker.py"
)


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.05)


def _fields(pid: int) -> list[str]:
    """State, parent and others of a process, from proc_pid_stat; none where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _lives(pid: int) -> bool:
    return _fields(pid)[:1] not in ([], ["Z"])


@pytest.mark.skipif(sys.platform != "linux", reason="processes end with their parent on Linux")
def test_killing_dvc_ends_torchrun_and_its_processes(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    dvc = subprocess.Popen(
        [sys.executable, "-c", STARTS, COMMAND],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    pids: list[int] = []

    def at_work() -> bool:
        texts = [file.read_text() for file in tmp_path.glob("*.pid")]
        pids[:] = map(int, filter(None, texts))
        return len(pids) == 2

    try:
        _wait(at_work)
        (launcher,) = {int(_fields(pid)[1]) for pid in pids}
        pids.append(launcher)
        assert int(_fields(launcher)[1]) == dvc.pid
        dvc.kill()
        dvc.wait()
        _wait(lambda: not any(map(_lives, pids)))
    finally:
        dvc.kill()
        for pid in filter(_lives, pids):
            os.kill(pid, signal.SIGKILL)


def test_a_launcher_that_is_not_there_is_one_line() -> None:
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "inverse_rlhf.launch",
            "no-such-torchrun",
            "-m",
            "stages.evaluate",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr == (
        "error: no-such-torchrun cannot be started: No such file or directory: see launch in "
        "params.yaml\n"
    )


def test_nothing_to_start_is_one_line() -> None:
    command = [sys.executable, "-m", "inverse_rlhf.launch"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("error: name what starts the stage")
    assert run.stderr.count("\n") == 1
