"""Finished runs on disk: a stage fits those that it lacks, killed before or asked for more."""

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic, to_disk
from inverse_rlhf.irl.runs import Fit, Run
from inverse_rlhf.models import processes
from inverse_rlhf.resume import digest, own_folder

_PACKAGE = Path(__file__).parent.parent
FITTING = (
    *(f"irl/{name}.py" for name in ("fit", "problem", "design", "runs", "losses", "heads")),
    *(f"irl/{name}.py" for name in ("exact", "solvers", "bayes", "failure_aware")),
    *(f"irl/{name}.py" for name in ("log_ratio", "network", "frozen")),
    *(
        f"models/{name}.py"
        for name in ("checkpoints", "adapters", "lora", "reading", "blocks", "matmul")
    ),
    *("models/dropout.py", "models/probes.py"),
    *(
        "features/hidden_state.py",
        "features/lexicons.py",
        "features/objectives.py",
        "features/text.py",
        "features/words.py",
        "data/tables.py",
        "rewards/linear_text.py",
    ),
)
"""The modules that a run's result depends on."""


class RunStore:
    """A folder with a file for each finished run: its `Fit` and its trained weights.

    A file that is damaged, or is another run's or another problem's, counts as none.

    Args:
        folder: of this problem's runs.
        key: names everything that a run's result depends on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder
        self._key = key
        self._checked: dict[Run, Fit] = {}

    def put(self, fit: Fit, state: dict[str, torch.Tensor]) -> None:
        """Keep a run, whole or not at all, whatever happens to the machine."""
        tensors = {f"state.{name}": value.contiguous() for name, value in state.items()}
        tensors["loss"] = torch.tensor(fit.loss, dtype=torch.float64)
        tensors["valid_discrimination"] = torch.tensor(
            fit.valid_discrimination, dtype=torch.float64
        )
        tensors["epoch"] = torch.tensor(fit.epoch)
        tensors["rewards"] = torch.from_numpy(np.ascontiguousarray(fit.rewards))
        with processes.apart(), atomic(self._path(fit.run)) as temporary:
            save_file(tensors, temporary, self._marks(fit.run, tensors))
            to_disk(temporary)

    def get(self, run: Run) -> Fit | None:
        """A kept run; None where there is none."""
        if run not in self._checked and (kept := self._read(run)) is not None:
            names = ("loss", "valid_discrimination", "epoch", "rewards")
            loss, found, epoch, rewards = (kept[name] for name in names)
            own = rewards.numpy().copy()  # a view would hold the whole file, weights and all
            fit = Fit(run, loss.tolist(), found.tolist(), int(epoch), own)
            self._checked[run] = fit
        return self._checked.get(run)

    def all(self, runs: list[Run]) -> list[Fit]:
        """All of them.

        Raises:
            UserError: one is missing.
        """
        fits = [fit for run in runs if (fit := self.get(run))]
        if len(fits) < len(runs):
            raise UserError(
                f"{self._folder}: {len(runs) - len(fits)} of {len(runs)} finished runs were taken "
                "away or damaged: run the stage again, which fits them anew"
            )
        return fits

    def state(self, run: Run) -> dict[str, torch.Tensor]:
        """The trained weights of a kept run.

        Raises:
            UserError: it is no longer there.
        """
        tensors = self._read(run)
        if tensors is None:
            raise UserError(
                f"{self._path(run)} was taken away or damaged: run the stage again, which fits "
                "this run anew"
            )
        return {
            name.removeprefix("state."): value
            for name, value in tensors.items()
            if name.startswith("state.")
        }

    def _read(self, run: Run) -> dict[str, torch.Tensor] | None:
        try:
            with safe_open(self._path(run), "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                marks = file.metadata()
        except (OSError, SafetensorError):
            return None
        return tensors if marks == self._marks(run, tensors) else None

    def _marks(self, run: Run, tensors: dict[str, torch.Tensor]) -> dict[str, str]:
        """What a file says of itself: whose it is, and a checksum of its content."""
        content = hashlib.sha256()
        for name, value in sorted(tensors.items()):
            content.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            content.update(value.cpu().reshape(-1).view(torch.uint8).numpy().data)
        return {"key": self._key, "run": repr(run), "sha256": content.hexdigest()}

    def _path(self, run: Run) -> Path:
        return self._folder / f"{run.name}.safetensors"


@contextlib.contextmanager
def open_store(folder: Path, key: str) -> Iterator[RunStore]:
    """The store of a problem's runs, which is this process's alone within the block.

    Runs of other problems are forgotten, unless another process is at work on them. Processes that
    work together share one store, which the first of them opens.

    Args:
        folder: of all stores.
        key: see `RunStore`.

    Raises:
        UserError: another process is at work on this problem.
    """
    with own_folder(folder, key) as own:
        yield RunStore(own, key)


def store_key(tables: Mapping[str, pd.DataFrame], weights: Path | None, settings: str) -> str:
    """A digest of everything that a run's result depends on.

    Args:
        tables: what is fitted on and scored, by name.
        weights: the folder of the model that is started from, with its tokenizer; None, or no
            folder: of none.
        settings: params and seed, and what else names the model.
    """
    # Every file: tokenizers have theirs under many names.
    model = [path for path in weights.glob("*") if path.is_file()] if weights is not None else []
    files = {name: _PACKAGE / name for name in FITTING} | {
        path.name: path for path in sorted(model)
    }
    return digest(settings, tables=tables, files=files)
