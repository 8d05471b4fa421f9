"""Progress in a terminal, with the time that is left; nothing of it where output is piped."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

Item = TypeVar("Item")


def shown(items: Iterable[Item], name: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar where standard error is a terminal."""
    return iter(tqdm(items, name, total, disable=None, leave=False))


class Bar(TrainerCallback):
    """One bar for a training, with a few of its logged values.

    Args:
        name: of the bar.
        values: which logged values it shows, by the names they get.
    """

    def __init__(self, name: str, values: dict[str, str]) -> None:
        self.name, self.values = name, values
        self.bar: Any = None

    @classmethod
    def replace(cls, trainer: Trainer, name: str, values: dict[str, str]) -> None:
        """Put a bar in the place of what transformers prints: hundreds of characters a step."""
        for theirs in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(theirs)
        trainer.add_callback(cls(name, values))

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar."""
        self.bar = tqdm(desc=self.name, total=state.max_steps, disable=None, leave=False)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """One step further."""
        self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Show the values."""
        found = {
            self.values[key]: float(value)
            for key, value in (logs or {}).items()
            if key in self.values
        }
        if found:
            self.bar.set_postfix({name: f"{value:.3g}" for name, value in found.items()})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close it."""
        self.bar.close()
