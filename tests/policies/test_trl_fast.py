"""Policy training without repeated work does what TRL's own does."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import TrainerCallback

from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.params import Params, Rlhf
from inverse_rlhf.policies.decoding import decode
from inverse_rlhf.policies.training import TRAINERS, Score, _config
from inverse_rlhf.policies.trl_fast import FastRloo, _places, _Unpadded
from inverse_rlhf.progress import show_training

Train = Callable[..., dict[str, float]]
Weights = dict[str, torch.Tensor]


@dataclass
class Training:
    """What a trainer did, in the order in which it did it."""

    rollouts: list[torch.Tensor] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    read_before: list[bool] = field(default_factory=list)  # the loss read nothing by itself
    gradients: list[Weights] = field(default_factory=list)
    weights: list[Weights] = field(default_factory=list)  # before every update, and at the end
    kl: list[float] = field(default_factory=list)


class Recorder(TrainerCallback):
    def __init__(self, seen: Training, *, checkpointing: bool) -> None:
        self.seen, self.checkpointing = seen, checkpointing

    def on_pre_optimizer_step(self, *_: Any, model: Any, **__: Any) -> None:
        assert model.is_activation_checkpointing == self.checkpointing
        named = dict(model.named_parameters())
        gradients = {name: value.grad for name, value in named.items() if value.grad is not None}
        self.seen.gradients.append({name: value.clone() for name, value in gradients.items()})
        self.seen.weights.append({name: value.detach().clone() for name, value in named.items()})

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "kl" in logs:
            self.seen.kl.append(logs["kl"])


def run(
    policy: Model, prompts: list[str], params: Rlhf, folder: Path, *, fast: bool, adapter: str
) -> Training:
    """Train on how often a text has an e; `decode` samples the rollouts, whoever reads them.

    Plain gradient descent: Adam makes steps of rounding errors where a gradient is 0.

    Args:
        adapter: "" none; "new" one that TRL adds and whose reference is the model without it;
            "own" one that the policy has and whose reference is a copy of it.
    """
    module, trainers, seen = policy.module, TRAINERS[params.algorithm], Training()
    torch.manual_seed(1)
    layers = ["query_key_value", "dense"]
    lora = LoraConfig(r=4, target_modules=layers, init_lora_weights=False)  # B is not 0
    if adapter == "own":
        module = get_peft_model(module, lora)
    policy.tokenizer.padding_side = "left"
    config = _config(trainers.config, params, policy, [[1]], 0, Checkpoints(folder, 0))
    config.optim = "sgd"
    trainer = (trainers.fast if fast else trainers.plain)(
        model=module,
        reward_funcs=lambda completions, **_: [float(text.count("e")) for text in completions],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=policy.tokenizer,
        callbacks=[Recorder(seen, checkpointing=policy.compute.gradient_checkpointing)],
        peft_config=lora if adapter == "new" else None,
    )
    show_training(trainer)
    trained, loss = trainer.model, trainer.compute_loss
    with torch.no_grad():  # away from the copy that is its reference
        for name, value in trained.named_parameters():
            if "lora_B.default" in name:
                value.add_(0.05 * torch.randn_like(value))

    def recorded(model: Any, inputs: dict[str, torch.Tensor], *args: Any, **rest: Any) -> Any:
        seen.rollouts.append(inputs["completion_ids"].clone())
        seen.read_before.append(getattr(trainer, "_kept", None) is not None)
        value = loss(model, inputs, *args, **rest)
        seen.losses.append(value.item())
        return value

    trainer.compute_loss = recorded
    trained.generate = partial(trained.generate, custom_generate=decode)
    trainer.train()
    seen.weights.append({name: value.detach() for name, value in trained.named_parameters()})
    return seen


@pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing:FutureWarning")  # TRL's
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"iterations": 2},
        {"gradient_accumulation": 2},
        {"gradient_checkpointing": True},
        {"adapter": "own"},
        {"adapter": "new"},
        {"adapter": "own", "kl_coef": 0.0},
        {"adapter": "own", "iterations": 2},
        {"adapter": "new", "gradient_checkpointing": True},
    ],
    ids=lambda case: ",".join(f"{key}={value}" for key, value in case.items()) or "plain",
)
def test_the_same_losses_gradients_and_weights_as_trl(
    params: Params,
    small: Rlhf,
    policy_folder: Path,
    prompts: pd.DataFrame,
    tmp_path: Path,
    algorithm: str,
    case: dict[str, Any],
) -> None:
    case = dict(case)
    adapter, checkpointing = case.pop("adapter", ""), case.pop("gradient_checkpointing", False)
    compute = params.compute.model_copy(update={"gradient_checkpointing": checkpointing})
    steps = 2 * case.get("iterations", 1)
    update = {"steps": steps, "max_new_tokens": 20, "max_grad_norm": 1e6, "algorithm": algorithm}
    lr = {"rloo": 5e-4, "grpo": 0.3}[algorithm]  # gradients of a sum, of a mean over tokens
    settings = small.model_copy(update=update | {"lr": lr} | case)
    ours, theirs = (
        run(
            load("policy", policy_folder, compute),
            prompts["prompt"].tolist(),
            settings,
            tmp_path,
            fast=fast,
            adapter=adapter,
        )
        for fast in (True, False)
    )
    losses = steps * settings.gradient_accumulation
    assert len(ours.losses) == len(theirs.losses) == losses
    assert len(ours.gradients) == len(theirs.gradients) == steps
    for mine, other in zip(ours.rollouts, theirs.rollouts, strict=True):
        assert torch.equal(mine, other)
    assert ours.losses == pytest.approx(theirs.losses, abs=1e-5)
    assert ours.kl == pytest.approx(theirs.kl, abs=1e-6)
    for mine, other in zip(ours.gradients, theirs.gradients, strict=True):
        size = close(mine, other, share=5e-5)
        assert size > 1e-3
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        close(mine, other, share=1e-6)
    once = losses == steps == 2 and not checkpointing and algorithm == "rloo"
    assert ours.read_before == [once] * losses
    assert theirs.read_before == [False] * losses
    if adapter:
        assert bool(ours.kl) == (settings.kl_coef > 0)
        assert all(abs(kl) > 1e-4 for kl in ours.kl)  # the policy is not its reference
        start, end = ours.weights[0], ours.weights[-1]
        moved = {name for name, value in end.items() if not torch.equal(value, start[name])}
        assert moved == {name for name in end if ".default." in name}


def close(mine: Weights, other: Weights, *, share: float) -> float:
    """Check that they are the same but for a share of the largest of all, and return that."""
    assert mine.keys() == other.keys()
    largest = max(value.abs().max().item() for value in other.values())
    for name, value in mine.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=share * largest, msg=name)
    return largest


def test_rows_are_found_in_another_order() -> None:
    rows = torch.randint(0, 3, (200, 4), generator=torch.Generator().manual_seed(0))  # some equal
    shuffled = rows[torch.randperm(200, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(rows[_places(shuffled, rows)], shuffled)
    with pytest.raises(IndexError):
        rows[_places(shuffled + 9, rows)]


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_rollouts_read_without_padding_are_those_of_trl(
    policy: Model,
    train: Train,
    lengths: Score,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    ours, padding = _Unpadded._get_per_token_logps_and_entropies, []

    def both(
        self: Any, model: Any, ids: Any, mask: Any, keep: int, *size: int, **settings: Any
    ) -> Any:
        found = ours(self, model, ids, mask, keep, *size, **settings)
        settings.pop("batch_size", None)
        padded = super(_Unpadded, self)._get_per_token_logps_and_entropies(  # type: ignore[misc]
            model, ids, mask, keep, **settings
        )
        seen = mask[:, -keep:].bool()
        for mine, theirs in zip(found[:2], padded[:2], strict=True):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                assert (mine[~seen] == 0).all()
                torch.testing.assert_close(mine[seen], theirs[seen], rtol=1e-4, atol=1e-5)
        if found[0].requires_grad:
            weight = model.get_output_embeddings().weight
            for loss in (lambda values: values.square(), torch.exp):
                mine, theirs = (
                    torch.autograd.grad(loss(values[0][seen]).sum(), weight, retain_graph=True)[0]
                    for values in (found, padded)
                )
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
        padding.append(1 - mask.float().mean().item())
        return found

    monkeypatch.setattr(_Unpadded, "_get_per_token_logps_and_entropies", both)
    train(policy, lengths, tmp_path / "curve.csv", algorithm=algorithm, max_new_tokens=30)
    assert len(padding) >= 4
    assert max(padding) > 0.15


@pytest.mark.parametrize(
    ("update", "saved"),
    [({}, 2), ({"gradient_accumulation": 2}, 0), ({"iterations": 2}, 0)],
)
def test_rollouts_are_read_once_where_they_are_used_once(
    params: Params,
    policy_folder: Path,
    train: Train,
    lengths: Score,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    update: dict[str, Any],
    saved: int,
) -> None:
    method = "_get_per_token_logps_and_entropies"
    read, reads, weights = getattr(_Unpadded, method), [0], []

    def counted(self: Any, model: Any, *args: Any, **settings: Any) -> Any:
        reads[-1] += model is self.model
        return read(self, model, *args, **settings)

    monkeypatch.setattr(_Unpadded, method, counted)
    for once in (True, False):
        if not once:  # as TRL does
            monkeypatch.delattr(FastRloo, method)
        policy = load("policy", policy_folder, params.compute)
        train(policy, lengths, tmp_path / "curve.csv", **update)
        weights.append(torch.nn.utils.parameters_to_vector(policy.module.parameters()).detach())
        reads.append(0)
    assert reads[1] - reads[0] == saved
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)
