"""Finished runs on disk: a stage fits those that it lacks, killed before or asked for more."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from inverse_rlhf.files import atomic, remove
from inverse_rlhf.irl.runs import Fit, Run

_PACKAGE = Path(__file__).parent.parent
FITTING = (
    *(f"irl/{name}.py" for name in ("fit", "problem", "design", "runs", "losses", "heads")),
    *(f"irl/{name}.py" for name in ("exact", "solvers", "bayes", "failure_aware")),
    *(f"irl/{name}.py" for name in ("log_ratio", "network", "frozen")),
    *(f"models/{name}.py" for name in ("checkpoints", "adapters", "reading", "blocks", "matmul")),
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

    Args:
        folder: of all stores; only the one of `key` is kept.
        key: names everything that a run's result depends on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._folder = folder / key
        if folder.is_dir():
            for other in folder.iterdir():
                if other != self._folder:
                    remove(other)

    def put(self, fit: Fit, state: dict[str, torch.Tensor]) -> None:
        """Keep a run, whole or not at all."""
        tensors = {f"state.{name}": value.contiguous() for name, value in state.items()}
        tensors["loss"] = torch.tensor(fit.loss, dtype=torch.float64)
        tensors["valid_discrimination"] = torch.tensor(
            fit.valid_discrimination, dtype=torch.float64
        )
        tensors["epoch"] = torch.tensor(fit.epoch)
        tensors["rewards"] = torch.from_numpy(np.ascontiguousarray(fit.rewards))
        with atomic(self._path(fit.run)) as temporary:
            save_file(tensors, temporary)

    def get(self, run: Run) -> Fit | None:
        """A kept run; None where there is none."""
        try:
            with safe_open(self._path(run), "pt") as kept:  # without its weights
                names = ("loss", "valid_discrimination", "epoch", "rewards")
                loss, found, epoch, rewards = (kept.get_tensor(name) for name in names)
        except (FileNotFoundError, SafetensorError):
            return None
        return Fit(run, loss.tolist(), found.tolist(), int(epoch), rewards.numpy())

    def state(self, run: Run) -> dict[str, torch.Tensor]:
        """The trained weights of a kept run."""
        tensors = load_file(self._path(run))
        return {
            name.removeprefix("state."): value
            for name, value in tensors.items()
            if name.startswith("state.")
        }

    def _path(self, run: Run) -> Path:
        return self._folder / f"{run.name}.safetensors"


def store_key(tables: Iterable[pd.DataFrame], weights: Path | None, settings: str) -> str:
    """A digest of everything that a run's result depends on.

    Args:
        tables: what is fitted on and scored.
        weights: the folder of the model that is started from; None, or no folder: of none.
        settings: params and seed, and what else names the model.
    """
    digest = hashlib.sha256(settings.encode())
    for table in tables:
        digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    sources = [_PACKAGE / name for name in FITTING]
    kinds = ("*.safetensors", "*.json", "*.txt", "*.model")  # with its tokenizer
    model = [path for kind in kinds for path in weights.glob(kind)] if weights is not None else []
    for path in [*sources, *sorted(model)]:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
