"""Starts a stage as `launch` in params.yaml says, in place of this process.

    python -m inverse_rlhf.launch torchrun --nproc_per_node 2 -m stages.evaluate

What is started ends with DVC, which started it. A stage sees to that itself, but torchrun and
accelerate would go on, and all their processes with them.
"""

import os
import sys

from inverse_rlhf.errors import UserError, one_line
from inverse_rlhf.models.processes import end_with_parent


def become(command: list[str]) -> None:
    """Take the place of this process.

    Raises:
        UserError: there is no such command.
    """
    if not command:
        raise UserError("name what starts the stage, as launch in params.yaml does")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise UserError(
            f"{command[0]} cannot be started: {error.strerror}: see launch in params.yaml"
        ) from None


if __name__ == "__main__":
    end_with_parent()
    with one_line():
        become(sys.argv[1:])
