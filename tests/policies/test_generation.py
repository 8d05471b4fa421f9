"""What draws completions while a policy is trained: transformers' continuous batching, and vLLM."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, GenerationMixin
from transformers.generation import ContinuousBatchingConfig

from inverse_rlhf import params as params_module
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import prompt_ids
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.params import Params, Rlhf
from inverse_rlhf.policies import generation
from inverse_rlhf.policies.training import TRAINERS, Score, _config
from tests.architectures import save_tiny

Train = Callable[..., dict[str, float]]
CONTINUOUS: dict[str, Any] = {"generation": "continuous_batching", "min_new_tokens": 0}
TEXTS = ["About", "On Monday's", "I read the list of the day before", "Your", "As"]


def _not_asked(*_: Any, **__: Any) -> None:
    raise AssertionError


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2", "llama", "gemma2"])
def test_continuous_batches_are_what_generate_says(
    kind: str, params: Params, tmp_path: Path
) -> None:
    policy = load("policy", save_tiny(kind, tmp_path / "base"), params.compute)
    prompts = prompt_ids(TEXTS, policy.tokenizer)
    generation.check_continuous(policy, prompts, 30)
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=30,
        eos_token_id=0,
        pad_token_id=policy.module.config.pad_token_id,
    )
    room = ContinuousBatchingConfig(**generation._room(policy, prompts, 30, len(prompts)))
    with generation.drawing(policy.module, fast=False):
        found = policy.module.generate_batch(
            prompts, generation_config=greedy, continuous_batching_config=room
        )
    texts = [output.generated_tokens for output in found.values()]
    for head, text in zip(prompts, texts, strict=True):
        ids = torch.tensor([head])
        whole = policy.module.generate(
            ids, attention_mask=torch.ones_like(ids), generation_config=greedy
        )
        assert head + text == whole[0].tolist()
    assert max(map(len, texts)) == 30


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("gptj", "draws other texts than the policy's, of a gptj: set it to generate"),
        ("gpt_neo", "draws other texts than the policy's, of a gpt_neo: set it to generate"),
        ("mamba", "fails: Invalid layer type: linear_attention, of a mamba: set it to generate"),
        ("falcon", "fails: The size of tensor a"),
    ],
)
def test_what_it_does_not_read_rightly_is_refused(
    kind: str,
    message: str,
    params: Params,
    train: Train,
    lengths: Score,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    policy = load("policy", save_tiny(kind, tmp_path / "base"), params.compute)
    capfd.readouterr()
    with pytest.raises(UserError) as refused:
        train(policy, lengths, tmp_path / "curve.csv", **CONTINUOUS)
    line = f"rlhf.generation is continuous_batching, which {message}"
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("algorithm", "fast", "lora_rank"), [("rloo", True, 0), ("grpo", False, 0), ("rloo", True, 4)]
)
def test_a_policy_is_trained_on_continuous_batches(
    algorithm: str,
    fast: bool,
    lora_rank: int,
    params: Params,
    policy_folder: Path,
    train: Train,
    lengths: Score,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same seed gives the same weights; `generate` is not asked."""
    monkeypatch.setattr(GenerationMixin, "generate", _not_asked)
    batches, weights = [], []
    draw = generation._batched

    def seen(module: Any, prompts: Any, **settings: Any) -> Any:
        found = draw(module, prompts, **settings)
        batches.append([output.generated_tokens for output in found.values()])
        return found

    monkeypatch.setattr(generation, "_batched", seen)
    compute = params.compute.model_copy(update={"fast": fast})
    for state in (1, 2):
        torch.manual_seed(state)  # what was drawn before is of no account
        policy = load("policy", policy_folder, compute)
        before = {name: value.clone() for name, value in policy.module.state_dict().items()}
        update = CONTINUOUS | {"algorithm": algorithm, "lora_rank": lora_rank, "lr": 1e-2}
        facts = train(policy, lengths, tmp_path / f"{state}.csv", **update)
        weights.append({name: v.clone() for name, v in policy.module.state_dict().items()})
        assert abs(facts["final_kl"]) > 1e-4
        assert "generate_batch" not in vars(policy.module)
    assert any(not torch.equal(value, before[name]) for name, value in weights[0].items())
    torch.testing.assert_close(*weights, rtol=0, atol=0)
    assert [len(batch) for batch in batches] == [2, 8, 8] * 2  # the trial, and two steps
    assert batches[:3] == batches[3:]
    assert batches[1] != batches[2]
    assert len(set(map(tuple, batches[1]))) > 4  # generations of a prompt differ


def test_what_fails_in_the_middle_ends_the_training(
    policy: Model, train: Train, lengths: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers would go on with what was drawn until then."""
    steps = [0]
    forward = type(policy.module).forward

    def fails(self: Any, *args: Any, **settings: Any) -> Any:
        steps[0] += "past_key_values" not in settings
        if steps[0] > 30:
            raise RuntimeError("a fault\nof many lines")
        return forward(self, *args, **settings)

    monkeypatch.setattr(generation, "check_continuous", lambda *_: None)
    monkeypatch.setattr(type(policy.module), "forward", fails)
    with pytest.raises(UserError, match=r"fails: a fault.*: set it to generate"):
        train(policy, lengths, tmp_path / "curve.csv", steps=20, **CONTINUOUS)


@pytest.mark.parametrize("mode", ["colocate", "server"])
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_trl_is_told_of_vllm(
    algorithm: str, mode: str, policy: Model, small: Rlhf, tmp_path: Path
) -> None:
    settings = small.model_copy(update={"generation": f"vllm_{mode}"})
    states = Checkpoints(tmp_path, 0)
    config = _config(TRAINERS[algorithm].config, settings, policy, [[1, 2]], 0, states)
    assert (config.use_vllm, config.vllm_mode) == (True, mode)
    ends = [policy.tokenizer.eos_token_id]
    assert config.generation_kwargs == {"min_tokens": 2, "stop_token_ids": ends}
    assert not config.use_transformers_continuous_batching


def test_vllm_that_is_not_installed_is_one_line(
    policy: Model, train: Train, lengths: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(params_module, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"vLLM is not installed: `pip install 'trl\[vllm\]'`, on"):
        train(policy, lengths, tmp_path / "curve.csv", generation="vllm_colocate")
    assert list(tmp_path.iterdir()) == []
