"""What a user or a machine can cause ends in one line that says what to do; a bug does not."""

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable, Iterator

INTERRUPTED = "interrupted: what was finished is kept, run it again to go on"
_LONGEST = 1000  # characters of a message
_NEXT = "\nerror: "


class UserError(Exception):
    """Bad input: one line that says what is wrong, where, and what to do."""


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """End the program with one line on standard error where what fails within it is no bug.

    The exit code is 2 for bad input and for faults of the machine (disk, memory, permissions), and
    130 after Ctrl-C; a pipe that nobody reads ends it without a word. Any other exception is a bug
    and keeps its traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        _end(INTERRUPTED, 130)
    except BrokenPipeError:  # nobody is left to be told
        _to_nowhere(sys.stdout.fileno())
        raise SystemExit(141) from None
    except Exception as error:
        line = _line(error)
        if line is None:
            raise
        _end(line, 2)


def first_line(error: Exception) -> str:
    """What a library says is wrong, for a message: its first line that is no heading of others."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.endswith(":")), repr(error))[:500]


def advise_on_memory(advice: Callable[[], str]) -> None:
    """What to say from now on, in place of general advice, where memory runs out."""
    _advice[:] = [advice]


def say(*lines: str) -> None:
    """Print lines; where nobody reads on, as after `| head -1`, the program goes on unheard."""
    text = "\n".join(lines)
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # a terminal that knows ASCII alone
        print(text.encode("ascii", "backslashreplace").decode(), flush=True)
    except BrokenPipeError:
        _to_nowhere(sys.stdout.fileno())


def _end(line: str, code: int) -> None:
    try:
        print(f"error: {line}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:  # such as a full disk behind it: nothing more can be said
        for stream in (sys.stdout, sys.stderr):
            _to_nowhere(stream.fileno())
    raise SystemExit(code) from None


def _to_nowhere(stream: int) -> None:
    """Else Python tells at its end that it could not write what is left to write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _line(error: BaseException | None) -> str | None:
    """What to say of an error, or of the one behind it; None: it is a bug."""
    while error is not None:
        line = str(error) if isinstance(error, UserError) else _fault(error)
        if line is not None:
            return _shortened(line)
        error = error.__cause__
    return None


def _shortened(message: str) -> str:
    """Of a message that is too long the last lines, or the middle of its line, are left out.

    Several things that are wrong have a line each, which all begin alike.
    """
    lines = message.splitlines()
    while len(lines) > 1 and sum(len(_NEXT) + len(line) for line in lines) > _LONGEST - 30:
        lines.pop()
    left = len(message.splitlines()) - len(lines)
    text = _NEXT.join([*lines, *([f"... and {left} more"] if left else [])])
    half = _LONGEST // 2 - 4
    return text if len(text) <= _LONGEST else f"{text[:half]} [...] {text[-half:]}"


_MEMORY = (
    "DefaultCPUAllocator",
    "No executable batch size",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "ALLOC_FAILED",
)
_GENERAL = (
    "lower batch sizes (compute.batch_size), lengths or sizes of models, or set "
    "compute.gradient_checkpointing"
)
_advice: list[Callable[[], str]] = [lambda: _GENERAL]
_FULL = "free some and run it again: what was finished is kept"
_DENIED = "change the permissions or name another place"
_MACHINE = {
    errno.ENOSPC: f"no space is left on the disk: {_FULL}",
    errno.EDQUOT: f"the disk quota is used up: {_FULL}",
    errno.EFBIG: "the file is larger than the disk or `ulimit -f` allows: raise it",
    errno.EIO: "the disk fails to read or write: see the system's log",
    errno.EROFS: f"the disk is read-only: {_DENIED}",
    errno.EACCES: f"permission is denied: {_DENIED}",
    errno.EPERM: f"permission is denied: {_DENIED}",
    errno.ENAMETOOLONG: "the name is too long for the disk: name a shorter one",
    errno.EMFILE: "too many files are open: raise `ulimit -n`",
    errno.ENFILE: "too many files are open on this machine: close other programs",
    errno.ENOTDIR: "a file is where a folder is needed: move it away or name another place",
    errno.EEXIST: "a file is where a folder is needed: move it away or name another place",
    errno.EISDIR: "a folder is where a file is needed: move it away or name another place",
    errno.ELOOP: "its links lead in a circle: name another place",
    errno.ENOMEM: "the machine is out of memory: close other programs",
}

# Of torch.save, which says no more where a file cannot be written to its end.
_CUT_SHORT = ("iostream error", "inline_container.cc")


def _fault(error: BaseException) -> str | None:
    """What to say of a fault of the machine, or of input that is too large for it."""
    text = " ".join(str(error).split())
    of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if of_memory or any(mark in text for mark in _MEMORY):
        return f"out of memory: {_advice[0]()} ({text[:200] or 'no more is known'})"
    if isinstance(error, RecursionError):
        return f"what is read is nested too deeply, {_innermost(error)}: make it flatter"
    what = _MACHINE.get(_number(error, text))
    if what is not None:
        notes = getattr(error, "__notes__", [""])  # see files.atomic
        where = str(getattr(error, "filename", None) or notes[0])
        return f"{where}: {what}" if where else what
    if isinstance(error, FileNotFoundError) and str(error.filename).endswith(".tmp"):
        return f"{error.filename} was taken away: is another run at work in this folder?"
    return None


def _number(error: BaseException, text: str) -> int:
    """The system's number of an error, also in the words of libraries written in Rust; else 0."""
    if isinstance(error, OSError):
        return error.errno or 0
    if any(mark in text for mark in _CUT_SHORT):
        return errno.ENOSPC
    found = re.search(r"\(os error (\d+)\)", text)
    return int(found[1]) if found else 0


def _innermost(error: BaseException) -> str:
    """The place in the project's own code that an error passed last, for whoever looks for it."""
    place, trace = "", error.__traceback__
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if f"{os.sep}inverse_rlhf{os.sep}" in file and file != __file__:
            place = f"in {os.path.basename(file)}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return place or "by a library"
