"""`compute.dtype` is of weights that are only read: less memory, and the same but for rounding."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification

from inverse_rlhf.data.corpus import generate_comments
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Compute, Params
from inverse_rlhf.policies import likelihood, trl_fast
from inverse_rlhf.policies.likelihood import likelihood_table, log_ratios
from inverse_rlhf.policies.training import train_on_reward
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.classifier import ClassifierReward
from inverse_rlhf.rewards.recovered import IrlReward, load_irl_reward
from tests.written import written

TEXTS = generate_comments(24, seed=8)["text"].tolist()


@pytest.fixture(params=["bfloat16", "float16"])
def compute(params: Params, request: pytest.FixtureRequest) -> Compute:
    return params.compute.model_copy(update={"dtype": request.param})


def test_weights_are_of_the_type_and_what_is_computed_once_is_not(
    policy_folder: Path, compute: Compute
) -> None:
    asked = getattr(torch, compute.dtype)
    frozen = load("policy", policy_folder, compute)
    assert {value.dtype for value in frozen.module.parameters()} == {asked}
    buffers = {v.dtype for v in frozen.module.buffers() if v.is_floating_point()}
    assert buffers == {torch.float32}
    trained = load("policy", policy_folder, compute, trained=True)
    assert {value.dtype for value in trained.module.parameters()} == {torch.float32}


def test_a_policy_of_the_users_is_tried_in_its_type(policy_folder: Path, compute: Compute) -> None:
    assert load("policy", policy_folder, compute, key="base").max_tokens


def test_a_classifier_reads_nearly_the_same(
    classifier_folder: Path, params: Params, compute: Compute
) -> None:
    exact, rounded = (
        ClassifierReward(load("classifier", classifier_folder, asked), params.true_reward)
        for asked in (params.compute, compute)
    )
    expected, found = exact.score(TEXTS), rounded.score(TEXTS)
    np.testing.assert_allclose(found, expected, atol=5e-3)  # of logits that cancel
    assert (found != expected).any()


def test_a_recovered_reward_is_written_as_it_is(
    policy_folder: Path, card: RewardCard, params: Params, compute: Compute, tmp_path: Path
) -> None:
    """Its head is float32 in either case; the body is read as it was."""
    body = load("classifier", policy_folder, compute, num_labels=1)
    head = torch.randn(1, body.module.config.hidden_size, generator=torch.manual_seed(0))
    body.module.score.weight.data = head
    reward = IrlReward(body, None, card)
    reward.save(tmp_path / "reward")
    with safe_open(tmp_path / "reward/model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F32"}  # noqa: SIM118
        assert torch.equal(weights.get_tensor("score.weight"), head)
    again = load_irl_reward(tmp_path / "reward", compute)
    assert torch.equal(again.head, head)
    np.testing.assert_array_equal(again.score(TEXTS), reward.score(TEXTS))
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    assert plain.dtype == torch.float32
    exact = load_irl_reward(tmp_path / "reward", params.compute).score(TEXTS)
    np.testing.assert_allclose(reward.score(TEXTS), exact, atol=0.03 * np.abs(exact).max())


def test_the_reference_of_a_training_is_of_the_type(
    policy_folder: Path,
    params: Params,
    compute: Compute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, types = load("policy", policy_folder, compute, trained=True), []
    before = {name: value.clone() for name, value in policy.module.named_parameters()}
    cast: Callable[[torch.nn.Module, torch.dtype], None] = trl_fast.to_dtype

    def watched(model: torch.nn.Module, dtype: torch.dtype) -> None:
        cast(model, dtype)
        types.append({value.dtype for value in model.parameters()})

    monkeypatch.setattr(trl_fast, "to_dtype", watched)

    def lengths(_: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        return np.array([len(text) for text in completions], dtype=np.float32) / 10

    settings = {"steps": 1, "batch_size": 2, "generations": 2, "max_new_tokens": 8}
    rlhf = params.rlhf.model_copy(update={**settings, "min_new_tokens": 2, "warmup_steps": 0})
    prompts = pd.DataFrame({"prompt_id": [0, 1], "prompt": ["About", "As"]})
    facts = train_on_reward(prompts, policy, lengths, rlhf, seed=0, curve=tmp_path / "curve.csv")
    assert types == [{getattr(torch, compute.dtype)}]
    after = dict(policy.module.named_parameters())
    assert {value.dtype for value in after.values()} == {torch.float32}
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    assert abs(facts["final_kl"]) < 0.5  # at first the policy is its reference, but for rounding


def test_likelihoods_in_parts_are_those_of_the_whole(
    policy: Model, policy_folder: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load("policy", policy_folder, params.compute)
    with torch.no_grad():
        other.module.get_output_embeddings().weight.mul_(1.1)
    rows = pd.DataFrame({"prompt": ["As", "About the map"] * 12, "completion": TEXTS})
    rows = rows.assign(split="test", source="base", prompt_id=range(24), sample=0)
    rows = written(rows, policy.tokenizer)
    heads = [policy.tokenizer(prompt)["input_ids"] for prompt in rows["prompt"]]
    whole = likelihood_table(rows, other, policy)
    ratios = log_ratios(heads, rows["ids"].tolist(), other, policy)
    held: list[int] = []
    forward = policy.module.forward

    def counted(**inputs: torch.Tensor) -> object:
        output = forward(**inputs)
        held.append(output.logits.numel())
        return output

    monkeypatch.setattr(policy.module, "forward", counted)
    vocabulary = policy.module.config.vocab_size
    limit = 100 * vocabulary
    monkeypatch.setattr(likelihood, "LOGITS", limit)
    monkeypatch.setattr(likelihood, "AT_ONCE", 7 * vocabulary)
    parts = likelihood_table(rows, other, policy)
    np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-5)
    assert max(held) <= limit
    again = log_ratios(heads, rows["ids"].tolist(), other, policy)
    np.testing.assert_allclose(again, ratios, rtol=1e-5, atol=1e-5)
