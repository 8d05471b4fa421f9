"""A training that was stopped and goes on ends as one that was not, to the byte."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import Trainer

from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.models.scratch import train_classifier, train_policy
from inverse_rlhf.params import Compute, Params, Rlhf
from inverse_rlhf.policies.training import Score, train_on_reward
from tests.policies.conftest import lengths, prompts, small

__all__ = ["lengths", "prompts", "small"]

TrainIn = Callable[[Path], Model]
Steps = list[int]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """How often each process has computed gradients; a negative number before: it ends at that."""
    counts = [0]
    step = Trainer.training_step

    def counted(self: Any, *args: Any, **settings: Any) -> Any:
        counts[-1] += 1
        if not counts[-1]:
            raise KeyboardInterrupt
        return step(self, *args, **settings)

    monkeypatch.setattr(Trainer, "training_step", counted)
    return counts


def as_undisturbed(train: TrainIn, kills: list[int], steps: Steps, folder: Path) -> Steps:
    """Train at one go and with kills, compare, and say how many steps each process took.

    Args:
        kills: in which step each process but the last ends.
    """
    whole = train(folder / "whole")
    assert steps == [steps[0]]
    for kill in kills:
        steps.append(-kill)
        with pytest.raises(KeyboardInterrupt):
            train(folder / "stopped")
    steps.append(0)
    stopped = train(folder / "stopped")
    weights, others = whole.module.state_dict(), stopped.module.state_dict()
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        assert torch.equal(value, others[name]), name
    return [steps[0], *kills, steps[-1]]


def saved(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("checkpoint-*")]


@pytest.mark.parametrize(
    ("update", "kills", "taken"),
    [
        ({}, [3, 2], [4, 3, 2, 1]),
        ({"iterations": 2, "gradient_accumulation": 2}, [7], [8, 7, 4]),
        ({"algorithm": "grpo", "fast": False, "lr_schedule": "cosine"}, [3], [4, 3, 2]),
        ({"algorithm": "grpo", "iterations": 2, "trainable_layers": 1}, [4], [4, 4, 2]),
        ({"gradient_checkpointing": True, "batch_size": 2, "top_k": 9}, [4], [4, 4, 1]),
    ],
    ids=str,
)
def test_policies(
    update: dict[str, Any],
    kills: list[int],
    taken: Steps,
    params: Params,
    small: Any,
    policy_folder: Path,
    prompts: pd.DataFrame,
    lengths: Score,
    steps: Steps,
    tmp_path: Path,
) -> None:
    of_compute = {key: update.pop(key) for key in list(update) if key in Compute.model_fields}
    settings = small.model_copy(update={"steps": 4, "warmup_steps": 2, **update})
    compute = params.compute.model_copy(update=of_compute)
    curves, facts = [], []

    def train(folder: Path) -> Model:
        torch.manual_seed(len(curves))  # what was drawn before is of no account
        policy, curve = load("policy", policy_folder, compute), folder.with_suffix(".csv")
        found = train_on_reward(
            prompts,
            policy,
            lengths,
            settings,
            seed=0,
            curve=curve,
            checkpoints=Checkpoints(folder, 30),
        )
        curves.append(curve.read_text())
        facts.append({name: value for name, value in found.items() if "second" not in name})
        return policy

    assert as_undisturbed(train, kills, steps, tmp_path) == taken
    assert curves[0] == curves[1]
    assert facts[0] == facts[1]
    assert len(curves[0].splitlines()) == 1 + 4 // settings.iterations
    last = 4 - settings.iterations  # none is of the end: the outputs follow
    assert saved(tmp_path / "stopped") == saved(tmp_path / "whole") == [f"checkpoint-{last}"]


@pytest.mark.parametrize("kind", ["policy", "classifier"])
def test_models_from_scratch(
    kind: str, params: Params, comments: pd.DataFrame, steps: Steps, tmp_path: Path
) -> None:
    few = comments[:60].assign(split=["train"] * 48 + ["test"] * 12)
    scratch = params.base_policy.scratch.model_copy(update={"epochs": 3, "batch_size": 24})
    function = train_policy if kind == "policy" else train_classifier

    def train(folder: Path) -> Model:
        torch.manual_seed(0)
        states = Checkpoints(folder, 30)
        model, facts = function(few, scratch, params.compute, seed=0, checkpoints=states)
        losses.append(facts["valid_loss"])
        return model

    losses: list[float] = []
    # Two steps an epoch: the last checkpoints are at the end of the first and within the second.
    assert as_undisturbed(train, [3, 2], steps, tmp_path) == [6, 3, 2, 3]
    assert losses[0] == losses[1]


def test_a_checkpoint_that_is_not_whole_is_none(
    params: Params, comments: pd.DataFrame, steps: Steps, tmp_path: Path
) -> None:
    few = comments[:60].assign(split=["train"] * 48 + ["test"] * 12)
    scratch = params.base_policy.scratch.model_copy(update={"epochs": 1, "batch_size": 12})

    def train(count: int) -> None:
        states = Checkpoints(tmp_path, count)
        train_policy(few, scratch, params.compute, seed=0, checkpoints=states)

    train(0)
    assert saved(tmp_path) == []
    for kill, place in ((3, "trained.safetensors"), (3, "optimizer.pt"), (3, "sealed.json")):
        steps.append(-kill)
        with pytest.raises(KeyboardInterrupt):
            train(30)
        assert saved(tmp_path) == ["checkpoint-2"]
        file = tmp_path / "checkpoint-2" / place
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    steps.append(0)
    train(30)
    assert steps == [4, 0, 0, 0, 4]


def test_a_checkpoint_that_fails_says_where(
    policy: Model,
    prompts: pd.DataFrame,
    lengths: Score,
    small: Rlhf,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not the curve's file, which is open beside it."""

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Trainer, "_save_checkpoint", full)
    states = Checkpoints(tmp_path / "kept", 2)
    with pytest.raises(OSError, match="No space") as failed:
        train_on_reward(
            prompts,
            policy,
            lengths,
            small,
            seed=0,
            curve=tmp_path / "curve.csv",
            checkpoints=states,
        )
    assert failed.value.__notes__[0] == str(tmp_path / "kept")
