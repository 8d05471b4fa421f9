"""What is sampled depends on the policy, the seed, the prompt and the sample's number alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, GenerationMixin

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Params
from inverse_rlhf.policies.decoding import decode
from inverse_rlhf.policies.sampling import sample_completions

Sampled = Callable[..., pd.DataFrame]


@pytest.fixture
def sampled(params: Params, prompts: pd.DataFrame) -> Sampled:
    """Short completions, in the order of the prompts' numbers."""

    def sample(
        policy: Model, given: pd.DataFrame = prompts, seed: int = 0, **update: Any
    ) -> pd.DataFrame:
        compute = {key: update.pop(key) for key in ("batch_size", "fast") if key in update}
        short = {"max_new_tokens": 12, "min_new_tokens": 3}
        settings = params.pairs.model_copy(update=short | update)
        model = replace(policy, compute=policy.compute.model_copy(update=compute))
        frame = sample_completions(given, model, settings, seed=seed, name="test")
        return frame.sort_values(["prompt_id", "sample"], ignore_index=True)

    return sample


def test_batch_and_order_do_not_change_the_text(
    policy: Model, sampled: Sampled, prompts: pd.DataFrame
) -> None:
    together = sampled(policy)
    pd.testing.assert_frame_equal(together, sampled(policy, batch_size=1))
    pd.testing.assert_frame_equal(together, sampled(policy, prompts[::-1]))
    some = sampled(policy, prompts[2:3])
    assert (
        some["completion"].tolist() == together["completion"][together["prompt_id"] == 11].tolist()
    )


def test_seeds_and_samples_differ(policy: Model, sampled: Sampled) -> None:
    first = sampled(policy)
    assert first["completion"].tolist() != sampled(policy, seed=1)["completion"].tolist()
    per_prompt = first.groupby("prompt_id")["completion"].nunique()
    assert (per_prompt > 1).any()


def test_greedy_takes_the_mode(policy: Model, sampled: Sampled) -> None:
    model, tokenizer = policy.module, policy.tokenizer
    text = sampled(policy, decoding="greedy", samples=1, max_new_tokens=3)["completion"][0]
    ids = tokenizer("About", return_tensors="pt")["input_ids"]
    for _ in range(3):
        logits = model(ids).logits[0, -1]
        logits[model.config.eos_token_id] = -torch.inf
        ids = torch.cat([ids, logits.argmax().view(1, 1)], dim=1)
    assert text == tokenizer.decode(ids[0])[len("About") :]


def test_how_a_policys_folder_decodes_is_not_ours(
    policy: Model, params: Params, sampled: Sampled, tmp_path: Path
) -> None:
    model, tokenizer = policy.module, policy.tokenizer
    own = {"num_beams": 3, "min_p": 0.9, "repetition_penalty": 5.0, "eos_token_id": [0, 5]}
    GenerationConfig(**own, do_sample=True).save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors", {"format": "pt"})
    found = load("policy", tmp_path, params.compute)
    assert found.module.generation_config.eos_token_id == [0, 5]
    model.generation_config.eos_token_id = [0, 5]
    pd.testing.assert_frame_equal(sampled(found), sampled(policy))


def test_prompt_too_long_is_one_line(policy: Model, sampled: Sampled) -> None:
    long = pd.DataFrame({"prompt_id": [7], "prompt": ["word " * 200]})
    with pytest.raises(UserError, match="prompt 7 has"):
        sampled(policy, long)


@pytest.mark.parametrize("fast", [True, False])
def test_without_fast_transformers_generates(
    policy: Model, sampled: Sampled, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    generate, loops = GenerationMixin.generate, []

    def generated(self: Any, *args: Any, custom_generate: Any = None, **settings: Any) -> Any:
        loops.append(custom_generate)
        return generate(self, *args, custom_generate=custom_generate, **settings)

    monkeypatch.setattr(GenerationMixin, "generate", generated)
    torch.manual_seed(1)
    first = sampled(policy, fast=fast)
    assert loops == [decode if fast else None] * 2  # 10 completions in batches of 8
    torch.manual_seed(2)
    before = torch.get_rng_state()
    pd.testing.assert_frame_equal(first, sampled(policy, fast=fast))
    assert torch.equal(torch.get_rng_state(), before)
    others = sampled(policy, fast=fast, seed=1)["completion"]
    assert (first["completion"] != others).mean() > 0.5
    by_prompt = first.groupby("prompt_id")["completion"]
    assert by_prompt.nunique().mean() > 1.5
    greedy = {"decoding": "greedy", "samples": 1}
    pd.testing.assert_frame_equal(
        sampled(policy, fast=fast, **greedy), sampled(policy, fast=True, **greedy)
    )
