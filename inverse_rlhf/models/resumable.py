"""Trainers of transformers and TRL that go on where a killed process stopped.

A training that was stopped and went on ends with the same weights, to the byte on a CPU, as one
that was not. Beside what transformers keeps (optimizer, schedule, random generators, logs) that
takes the order of the epoch that was stopped in, and a mark by which a checkpoint is whole.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from inverse_rlhf.errors import say
from inverse_rlhf.files import remove
from inverse_rlhf.resume import seal, sealed

_WEIGHTS = "trained.safetensors"
_EPOCH = "epoch-{rank}.safetensors"


@dataclass(frozen=True)
class Checkpoints:
    """Where a training keeps its state, see `unfinished`, and how often at least; 0: never."""

    folder: Path
    count: int

    def settings(self, steps: int, *, multiple: int = 1) -> dict[str, Any]:
        """Settings of a trainer.

        Args:
            steps: optimizer updates of the training.
            multiple: a checkpoint is taken after a multiple of so many updates.
        """
        settings: dict[str, Any] = {"output_dir": str(self.folder), "save_strategy": "no"}
        if self.count:
            every = max(1, steps // self.count // multiple) * multiple
            settings |= {"save_strategy": "steps", "save_steps": every}
        return settings


@contextlib.contextmanager
def or_none(checkpoints: Checkpoints | None) -> Iterator[Checkpoints]:
    """Those that are given, or none, for which trainers want a folder all the same."""
    with tempfile.TemporaryDirectory() as nowhere:
        yield checkpoints or Checkpoints(Path(nowhere), 0)


class Resumable(Trainer if TYPE_CHECKING else object):  # type: ignore[misc]
    """Goes before a trainer's class: keeps the trained weights by their names in the model.

    The trainer's own checkpoints have them by the names of the hub's layout, which for some
    architectures are others, and would leave out without a word what it cannot place.
    """

    order: Sampler[int] | None = None

    def _get_train_sampler(self, *args: Any) -> Sampler[int] | None:
        """The trainer's method; the order of prompts or texts is a state of its own."""
        self.order = super()._get_train_sampler(*args)
        return self.order

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The trainer's method; weights that are spread over processes are its own business."""
        if state_dict is not None:
            super()._save(output_dir, state_dict)
        elif self.args.should_save:
            folder = Path(str(output_dir))
            folder.mkdir(parents=True, exist_ok=True)
            trained = {name: value.detach().contiguous() for name, value in self._trained().items()}
            save_file(trained, folder / _WEIGHTS)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """The trainer's method; what fails here says where."""
        try:
            super()._save_checkpoint(*args, **kwargs)
        except Exception as error:
            error.add_note(str(self.args.output_dir))
            raise

    @torch.no_grad()
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The trainer's method."""
        if not (file := Path(resume_from_checkpoint, _WEIGHTS)).is_file():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        kept, trained = load_file(file), self._trained()
        if kept.keys() != trained.keys():
            raise RuntimeError(f"{file}: weights {kept.keys() ^ trained.keys()} of another model")
        for name, value in trained.items():
            value.copy_(kept[name])

    def _trained(self) -> dict[str, torch.nn.Parameter]:
        return {name: part for name, part in self.model.named_parameters() if part.requires_grad}

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """The trainer's method; a checkpoint is shown to nobody."""


def train(trainer: Resumable) -> float:
    """Train to the end, from the last whole checkpoint in the trainer's folder where there is one.

    Returns:
        Seconds that earlier processes have put into what was gone on with.
    """
    with trainer.accelerator.main_process_first():
        last = _last(Path(trainer.args.output_dir))
    folder, facts = last or (None, {"seconds": 0.0})
    if folder is not None and trainer.args.should_save:
        say(f"training goes on after update {_step(folder)}, see {folder.parent}")
    trainer.add_callback(_Keeping(trainer, folder, facts["seconds"]))
    trainer.train(resume_from_checkpoint=str(folder) if folder else None)
    return float(facts["seconds"])


def _last(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The last checkpoint that is whole, and its facts; the others are removed."""
    found = None
    for path in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        facts = None if found else sealed(path)
        if facts is None:
            remove(path)
        else:
            found = path, facts
    return found


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


class _Keeping(TrainerCallback):
    """Says when a checkpoint is whole, and brings back the order of the epoch that it is of."""

    def __init__(self, trainer: Resumable, resumed: Path | None, seconds: float) -> None:
        self.trainer, self.resumed = trainer, resumed
        self.started = time.monotonic() - seconds
        self.generator = torch.empty(0)  # the state of torch's own when the epoch began

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self.resumed is not None:
            # Samplers with a generator of their own have drawn an order for each epoch before.
            for _past in range(int(state.epoch or 0)):
                next(iter(self.trainer.order or ()), None)
            if (state.epoch or 0) % 1:
                kept = load_file(self.resumed / _EPOCH.format(rank=args.process_index))
                torch.set_rng_state(kept["generator"])
            else:  # the trainer does so only after this
                self.trainer._load_rng_state(str(self.resumed))
            self.resumed = None
        self.generator = torch.get_rng_state()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step >= state.max_steps:  # a trainer that went on here would go too far
            control.should_save = False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        file = folder / _EPOCH.format(rank=args.process_index)
        save_file({"generator": self.generator}, file)
        self.trainer.accelerator.wait_for_everyone()
        if args.should_save:
            seal(folder, seconds=time.monotonic() - self.started)
            for other in folder.parent.glob("checkpoint-*"):
                if other != folder:
                    remove(other)
