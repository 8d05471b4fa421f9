"""Faults of the machine and bad input are one line; the faults here are real ones where they can
be.
"""

import contextlib
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError, one_line
from inverse_rlhf.files import atomic, write_csv, write_json
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.parquet import write_table

ROOT = Path(__file__).parent.parent


def ended(function: Callable[[], object], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and what stands on standard error."""
    with pytest.raises(SystemExit) as caught, one_line():
        function()
    return int(str(caught.value.code)), capfd.readouterr().err


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


def _endless() -> list[object]:
    content: list[object] = []
    for _ in range(100_000):
        content = [content]
    return content


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (lambda: np.empty(2**50), "out of memory: lower batch sizes"),
        (lambda: torch.empty(2**50), "you tried to allocate 4503599627370496 bytes"),
        (raising(torch.OutOfMemoryError("CUDA out of memory. Tried 2 GiB")), "Tried 2 GiB"),
        (raising(RuntimeError("CUDA error: out of memory\nCUDA kernel")), "out of memory: lower"),
        (raising(MemoryError()), "no more is known"),
        (lambda: json.dumps(_endless()), "nested too deeply, by a library: make it flatter"),
        (lambda: Path("a" * 300).write_text(""), "the name is too long for the disk"),
        (lambda: Path("/proc/self/mem/x").write_text(""), "a file is where a folder is needed"),
        (lambda: Path("/dev/null").mkdir(), "/dev/null: a file is where a folder is needed"),
        (lambda: Path("/proc").write_text(""), "/proc: a folder is where a file is needed"),
        (lambda: Path("/dev/full").write_text("x" * 10**6), "no space is left on the disk: free"),
        (lambda: torch.save(torch.zeros(10**6), "/dev/full"), "no space is left on the disk: free"),
        (raising(OSError(errno.EDQUOT, "", "f")), "error: f: the disk quota is used up"),
        (raising(OSError(errno.EROFS, "", "f")), "error: f: the disk is read-only"),
        (raising(PermissionError(errno.EACCES, "", "f")), "error: f: permission is denied"),
        (raising(Exception("No space left (os error 28)")), "no space is left on the disk"),
        (raising(FileNotFoundError(errno.ENOENT, "", "x.tmp")), "is another run at work"),
        (raising(UserError("irl.lr is -1")), "error: irl.lr is -1\n"),
    ],
)
def test_what_is_no_bug_is_one_line(
    cause: Callable[[], object], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, line = ended(cause, capfd)
    assert code == 2
    assert words in line
    assert len(line.splitlines()) == 1
    assert len(line) < 1010


def test_an_error_behind_another_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def wrapped() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space", "x.bin")
        except OSError as error:
            raise RuntimeError("cannot save") from error

    assert ended(wrapped, capfd) == (
        2,
        "error: x.bin: no space is left on the disk: free some "
        "and run it again: what was finished is kept\n",
    )


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a"),
        RuntimeError("shape mismatch"),
        FileNotFoundError(errno.ENOENT, "", "a"),
        ValueError("No space"),
    ],
    ids=repr,
)
def test_a_bug_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), one_line():
        raise error


def test_ctrl_c_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    code, line = ended(raising(KeyboardInterrupt()), capfd)
    assert (code, len(line.splitlines())) == (130, 1)
    assert line.startswith("error: interrupted")


def test_long_messages_are_shortened(capfd: pytest.CaptureFixture[str]) -> None:
    _, line = ended(raising(UserError("a" * 3000 + "b" * 3000)), capfd)
    assert line.startswith("error: aaa")
    assert "a [...] b" in line
    assert line.endswith("b\n")
    assert 950 < len(line.removeprefix("error: ")) <= 1001
    _, text = ended(raising(UserError("\n".join(f"key_{i} is wrong" for i in range(500)))), capfd)
    lines = text.splitlines()
    assert lines[0] == "error: key_0 is wrong"
    assert lines[-1] == f"error: ... and {500 - len(lines) + 1} more"
    assert all(line.startswith("error: ") for line in lines)
    assert 900 < len(text) <= 1010
    _, short = ended(raising(UserError("one\ntwo")), capfd)
    assert short == "error: one\nerror: two\n"


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Within it no file can be larger: writing fails in the middle, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _table(path: Path) -> None:
    rows = {"comment_id": range(9000), "text": [f"{i}" for i in range(9000)], "toxic": [0] * 9000}
    write_table(pd.DataFrame(rows).assign(split="train"), path, COMMENTS)


def _tensors(path: Path) -> None:
    with atomic(path) as temporary:
        save_file({"a": torch.zeros(9000)}, temporary)


WRITERS: dict[str, Callable[[Path], None]] = {
    "parquet": _table,
    "json": lambda path: write_json(list(range(9000)), path),
    "csv": lambda path: write_csv(pd.DataFrame({"a": range(9000)}), path),
    "tensors": _tensors,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_what_cannot_be_written_whole_is_not_written(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        with largest_file(2048):
            WRITERS[kind](tmp_path / "out")

    code, line = ended(write, capfd)
    assert code == 2
    assert line.startswith(f"error: {tmp_path}/out")
    assert "the file is larger than the disk or `ulimit -f` allows" in line
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").write_text("before")
    ended(write, capfd)
    assert (tmp_path / "out").read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_model_that_cannot_be_written_whole_is_not_written(
    policy: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        with largest_file(2048):
            policy.save(tmp_path / "model")

    code, line = ended(write, capfd)
    assert code == 2
    assert "error: " not in "".join(line.splitlines()[:-1])
    assert "the file is larger than the disk" in line
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import sys
from pathlib import Path
from inverse_rlhf.errors import one_line
from inverse_rlhf.files import write_json
sys.path.insert(0, {tests!r})
from test_errors import WRITERS
for write in WRITERS.values():
    try:
        with one_line():
            for i in range(99):
                write(Path(f"{{i}}"))
    except SystemExit as ended:
        print(ended.code, len([p for p in Path().iterdir() if p.suffix == ".tmp"]))
    for path in Path().iterdir():
        path.unlink()
"""


def test_a_full_disk(tmp_path: Path) -> None:
    mount = "mount -t tmpfs -o size=64k none {0} && cd {0}"
    inside = ("unshare", "--map-root-user", "--mount", "sh", "-c")
    if subprocess.run([*inside, mount.format(tmp_path)], capture_output=True).returncode:
        pytest.skip("no disk of its own can be mounted here")
    (tmp_path / "disk").mkdir()
    script = tmp_path / "script.py"
    script.write_text(FULL_DISK.format(tests=str(Path(__file__).parent)))
    result = subprocess.run(
        [*inside, f"{mount.format(tmp_path / 'disk')} && {sys.executable} {script}"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines() == ["2 0"] * len(WRITERS)
    lines = result.stderr.splitlines()
    assert len(lines) == len(WRITERS)
    assert all("no space is left on the disk: free some" in line for line in lines)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    return tmp_path


def stage(folder: Path, script: str, name: str = "prepare_data") -> subprocess.Popen[str]:
    """A stage by hand, with what a shell does around it."""
    return subprocess.Popen(
        ["bash", "-c", script.replace("STAGE", f"{sys.executable} -m stages.{name}")],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What is started in the background ignores Ctrl-C, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_nobody_reads_what_a_stage_says(project: Path) -> None:
    out, err = stage(project, "set -o pipefail; STAGE | true").communicate()
    assert (out, err) == ("", "")
    assert (project / "data/comments.parquet").is_file()


def test_a_terminal_of_ascii(project: Path) -> None:
    said = "from inverse_rlhf.errors import say; say('a → b', 'c')"
    script = f'PYTHONIOENCODING=ascii:strict python -c "{said}"'
    out, err = stage(project, script).communicate()
    assert (out, err) == ("a \\u2192 b\nc\n", "")


def test_what_a_stage_says_goes_to_a_full_disk(project: Path) -> None:
    process = stage(project, "exec STAGE > /dev/full")
    _, err = process.communicate()
    assert process.returncode == 2
    assert err.startswith("error: no space is left on the disk")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("at_work", [False, True], ids=["importing", "at work"])
def test_ctrl_c_of_a_stage(project: Path, at_work: bool) -> None:
    process = stage(project, "exec STAGE")
    assert process.stdout is not None
    if at_work:
        assert process.stdout.readline() == "prepare_data: started\n"
    else:
        while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode in (130, -signal.SIGINT)
    assert err == "error: interrupted: what was finished is kept, run it again to go on\n"
    assert not list(project.rglob("*.tmp"))
