"""Policy training on any reward: what moves, what is written, what stops it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import GenerationMixin, Trainer

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Params
from inverse_rlhf.policies.decoding import decode
from inverse_rlhf.policies.training import CURVE, Score, standardise
from inverse_rlhf.policies.trl_fast import FastGrpo, FastRloo, Grpo, Rloo
from tests.architectures import save_tiny

Train = Callable[..., dict[str, float]]


def copied(policy: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy.module.state_dict().items()}


def test_standardised_reward_has_unit_spread(lengths: Score) -> None:
    texts = ["e" * n for n in range(9)]
    values = standardise(lengths, [""] * 9, texts)([""] * 9, texts)
    assert values.mean() == pytest.approx(0, abs=1e-6)
    assert values.std() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "update",
    [{"algorithm": "rloo"}, {"algorithm": "grpo"}, {"iterations": 2, "gradient_accumulation": 2}],
)
def test_training_moves_the_policy(
    policy: Model, train: Train, lengths: Score, tmp_path: Path, update: dict[str, Any]
) -> None:
    before = copied(policy)
    facts = train(policy, lengths, tmp_path / "curve.csv", **update)
    assert any(not torch.equal(value, before[name]) for name, value in copied(policy).items())
    curve = pd.read_csv(tmp_path / "curve.csv")
    assert list(curve.columns) == CURVE
    assert curve["step"].max() == 3 - update.get("iterations", 1)  # a row a rollout batch
    assert facts["final_length"] > 0


def test_without_a_penalty_there_is_no_kl(
    policy: Model, train: Train, lengths: Score, tmp_path: Path
) -> None:
    facts = train(policy, lengths, tmp_path / "curve.csv", kl_coef=0.0)
    assert "final_kl" not in facts
    assert "final_reward" in facts
    assert pd.read_csv(tmp_path / "curve.csv")["kl"].isna().all()


def test_frozen_blocks_stay(policy: Model, train: Train, lengths: Score, tmp_path: Path) -> None:
    before = copied(policy)
    train(policy, lengths, tmp_path / "curve.csv", trainable_layers=1)
    changed = {
        name for name, value in copied(policy).items() if not torch.equal(value, before[name])
    }
    assert any("layers.1." in name for name in changed)
    assert not any("layers.0." in name or "embed_in" in name for name in changed)


def test_broken_rewards_and_divergence_stop(
    policy: Model, train: Train, lengths: Score, tmp_path: Path
) -> None:
    curve = tmp_path / "curve.csv"
    with pytest.raises(UserError, match="the reward model is broken"):
        train(policy, lambda _, texts: np.full(len(texts), np.nan), curve)
    with pytest.raises(UserError, match="diverged"):
        train(policy, lengths, curve, lr=0.5, max_kl=0.01, steps=20)
    with pytest.raises(UserError, match="diverged"):
        train(policy, lengths, curve, lr=1e9, max_kl=1e30, steps=20)
    assert "generate" not in vars(policy.module)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("algorithm", "fast", "kind"),
    [
        ("rloo", False, Rloo),
        ("grpo", False, Grpo),
        ("rloo", True, FastRloo),
        ("grpo", True, FastGrpo),
    ],
)
def test_without_fast_trl_and_transformers_do_all(
    params: Params,
    policy_folder: Path,
    train: Train,
    lengths: Score,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
    fast: bool,
    kind: type,
) -> None:
    trainers, loops, weights = [], [], []
    run, generate = Trainer.train, GenerationMixin.generate

    def seen_train(self: Any, *args: Any, **settings: Any) -> Any:
        trainers.append(type(self))
        return run(self, *args, **settings)

    def seen_generate(self: Any, *args: Any, **settings: Any) -> Any:
        loops.append(settings.get("custom_generate"))
        return generate(self, *args, **settings)

    monkeypatch.setattr(Trainer, "train", seen_train)
    monkeypatch.setattr(GenerationMixin, "generate", seen_generate)
    compute = params.compute.model_copy(update={"fast": fast})
    for state in (1, 2):
        torch.manual_seed(state)  # what was drawn before is of no account
        policy = load("policy", policy_folder, compute)
        train(policy, lengths, tmp_path / f"{state}.csv", algorithm=algorithm)
        weights.append(copied(policy))
    assert trainers == [kind] * 2
    assert loops == [decode if fast else None] * 4  # two rollout batches each
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
@pytest.mark.parametrize("named", [None, [], ["GPT2Model"], ["LlamaForSequenceClassification"]])
def test_a_folder_may_name_no_or_another_architecture(
    named: list[str] | None,
    algorithm: str,
    params: Params,
    train: Train,
    lengths: Score,
    tmp_path: Path,
) -> None:
    file = save_tiny("gpt2", tmp_path / "base") / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"architectures": named}))
    policy = load("policy", tmp_path / "base", params.compute, key="base_policy.source")
    facts = train(policy, lengths, tmp_path / "curve.csv", algorithm=algorithm, steps=1)
    assert facts["final_kl"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("kind", ["llama", "mamba", "gemma2", "bloom", "falcon"])
def test_at_first_the_policy_is_what_sampled_and_its_reference(
    kind: str,
    iterations: int,
    params: Params,
    train: Train,
    lengths: Score,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ratio 1 and KL 0: rollouts, the loss and the penalty read what each text alone gives."""
    method, reads = "_get_per_token_logps_and_entropies", []
    read = getattr(FastRloo, method)

    def seen(self: Any, model: Any, ids: Any, mask: Any, keep: int, *args: Any, **more: Any) -> Any:
        found = read(self, model, ids, mask, keep, *args, **more)
        reads.append((model is self.model, ids, mask, keep, found[0].detach()))
        return found

    monkeypatch.setattr(FastRloo, method, seen)
    folder = save_tiny(kind, tmp_path / "base")
    policy = load("policy", folder, params.compute, key="base_policy.source")
    update = {"steps": iterations, "iterations": iterations, "lr": 1e-12, "temperature": 1.0}
    facts = train(policy, lengths, tmp_path / "curve.csv", **update)
    assert facts["final_kl"] == pytest.approx(0, abs=1e-5)
    assert [is_policy for is_policy, *_ in reads] == [True, False] + [True] * iterations
    base = load("policy", folder, params.compute).module
    for _, ids, mask, keep, logps in reads:
        for row, shown, found in zip(ids, mask.bool(), logps, strict=True):
            text, completion = row[shown], row[-keep:][shown[-keep:]]
            with torch.no_grad():
                alone = base(text[None]).logits[0, -len(completion) - 1 : -1].log_softmax(-1)
            expected = alone.gather(1, completion[:, None])[:, 0]
            torch.testing.assert_close(found[shown[-keep:]], expected, atol=1e-4, rtol=1e-4)
