"""A bar in a terminal; where output is piped, nothing but what a stage prints itself."""

from inverse_rlhf.stage import quieten

import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets.utils.logging import enable_progress_bar as bars_of_datasets
from transformers.utils.logging import enable_progress_bar as bars_of_transformers

from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Params
from inverse_rlhf.policies.training import train_on_reward
from inverse_rlhf.progress import shown

TINY: dict[str, Any] = {
    "steps": 2,
    "batch_size": 2,
    "generations": 2,
    "max_new_tokens": 4,
    "min_new_tokens": 2,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """As `run_stage` does before it calls a stage."""
    quieten()
    yield
    bars_of_datasets()
    bars_of_transformers()


def train(policy: Model, params: Params, curve: Path) -> None:
    prompts = pd.DataFrame({"prompt_id": [0, 1], "prompt": ["About", "Your"]})
    settings = params.rlhf.model_copy(update=TINY)
    train_on_reward(
        prompts, policy, lambda _, texts: np.arange(len(texts)), settings, seed=0, curve=curve
    )


@pytest.mark.parametrize("compute", [{}, {"fast": False}, {"gradient_checkpointing": True}])
def test_a_piped_training_prints_nothing(
    policy_folder: Path,
    params: Params,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    compute: dict[str, bool],
) -> None:
    policy = load("policy", policy_folder, params.compute.model_copy(update=compute))
    with warnings.catch_warnings(record=True) as warned:
        train(policy, params, tmp_path / "curve.csv")
    assert capfd.readouterr() == ("", "")
    printed = (UserWarning, FutureWarning, RuntimeWarning)  # unless a filter says otherwise
    assert [str(w.message) for w in warned if issubclass(w.category, printed)] == []


def test_a_terminal_shows_one_bar_with_few_values(
    policy: Model,
    params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    train(policy, params, tmp_path / "curve.csv")
    assert capsys.readouterr().out == ""
    shown = terminal.getvalue()
    assert "2/2" in shown
    assert "reward=1.5" in shown
    assert "kl=" in shown
    assert "{" not in shown  # transformers' printers: a dictionary of all values a step
    assert "completions/" not in shown


def test_items_pass_with_a_bar_in_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert list(shown(range(3), "texts")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert list(shown(iter("ab"), "texts")) == ["a", "b"]
    assert "texts" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")  # the bar is cleared
