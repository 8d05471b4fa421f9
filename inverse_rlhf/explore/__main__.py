"""Type a prompt and completions, see what a recovered reward makes of them, and why.

    python -m inverse_rlhf.explore          # the run of this folder, with its three policies
    python -m inverse_rlhf.explore DIR      # the reward that an audit wrote into DIR

The page is on this machine's loopback alone, and asks nothing of any network. Ctrl-C ends it.
"""

from inverse_rlhf.stage import quieten, seed_everything

import argparse
import contextlib
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inverse_rlhf.errors import one_line, say

if TYPE_CHECKING:
    from inverse_rlhf.explore.answers import Subject

PORT = 8642


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; bad input is one line and exit code 2."""
    options = _parser().parse_args(arguments)
    os.environ |= {"HF_HUB_OFFLINE": "1"}  # libraries read it when they are imported
    with one_line(), contextlib.suppress(KeyboardInterrupt):
        from inverse_rlhf.explore.server import Explorer  # late: it takes a while

        with Explorer(options.port) as server, _subject(options.folder) as subject:
            server.show(subject)
            say(f"explore: {server.address} (Ctrl-C ends it)")
            server.serve_forever()
    say("explore: ended")


@contextlib.contextmanager
def _subject(folder: Path | None) -> Iterator["Subject"]:
    """What is explored: an audit's folder, or the run of the working directory."""
    if folder is not None:
        from inverse_rlhf.explore.audited import AuditedReward

        yield AuditedReward(folder)
        return
    from inverse_rlhf.explore.closed_loop import ClosedLoop
    from inverse_rlhf.models.matmul import onednn_products
    from inverse_rlhf.params import load_params

    params = load_params()
    seed_everything(params.seed)
    quieten()
    with onednn_products() if params.compute.fast else contextlib.nullcontext():
        yield ClosedLoop(params)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inverse_rlhf.explore",
        description=inspect.getdoc(sys.modules[__name__]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folder", nargs="?", type=Path, metavar="DIR", help="folder that an audit wrote")
    add("--port", type=_port, default=PORT, help=f"{PORT}; 0: any that is free")
    return parser


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text} is no port: write a number from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    main()
    os._exit(0)  # Python's own end may meet a thread that still reads a text, and abort
