"""Progress in a terminal, with the time that is left; nothing of it where output is piped."""

import sys
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer

from inverse_rlhf.models import processes

Item = TypeVar("Item")


def shown(items: Iterable[Item], name: str) -> Iterator[Item]:
    """The items, with a bar where standard error is a terminal."""
    return iter(tqdm(items, name, disable=None if processes.speaks() else True, leave=False))


def show_training(trainer: Trainer) -> None:
    """Have a trainer show one bar, in place of hundreds of characters a step."""
    for theirs in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(theirs)
    if sys.stderr.isatty() and processes.speaks():
        trainer.add_callback(_Bar)


class _Bar(ProgressCallback):
    """transformers' bar, with two values beside it in place of all of them below it."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Show the values."""
        values = {name: logs[name] for name in ("loss", "reward", "kl") if name in (logs or {})}
        if values and self.training_bar is not None:
            self.training_bar.set_postfix({name: f"{float(v):.3g}" for name, v in values.items()})
