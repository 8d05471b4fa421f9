"""The decoding loop: tokens from the softmax, and what transformers' own loop would decode."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    FalconH1Config,
    GenerationConfig,
    MambaConfig,
    MistralConfig,
)

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.policies import decoding
from inverse_rlhf.policies.decoding import decode, draw_tokens, random_keys


def test_tokens_are_drawn_from_the_softmax() -> None:
    scores = torch.tensor([2.0, -torch.inf, 1.0, 0.0, -3.0, -torch.inf])
    keys = torch.arange(100_000, dtype=torch.int32)
    chosen, again = (draw_tokens(scores.expand(len(keys), -1), keys, place) for place in (5, 6))
    shares = torch.bincount(chosen, minlength=6) / len(chosen)
    torch.testing.assert_close(shares, scores.softmax(0), atol=0.006, rtol=0)
    assert set(chosen.tolist()) == {0, 2, 3, 4}
    independent = float((scores.softmax(0) ** 2).sum())
    assert float((chosen == again).float().mean()) == pytest.approx(independent, abs=0.01)


def test_rare_tokens_are_drawn_as_often_as_they_should() -> None:
    keys, scores = random_keys(20_000), torch.zeros(500, 5_000)
    chosen = torch.cat([draw_tokens(scores, part, 0) for part in keys.split(len(scores))])
    assert chosen.unique().numel() == pytest.approx(5_000 * (1 - np.exp(-4)), rel=0.01)


@pytest.mark.parametrize("sample", [True, False])
def test_a_finished_completion_leaves_the_batch(
    policy: Model, prompts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, sample: bool
) -> None:
    model, tokenizer = policy.module, policy.tokenizer
    config = GenerationConfig(
        do_sample=sample,
        top_k=0,
        min_new_tokens=2,
        max_new_tokens=20,
        eos_token_id=list(range(1, 512, 3)),  # many, so that completions end early
        pad_token_id=tokenizer.pad_token_id,
    )
    texts = [f"{start} {end}" for start in prompts["prompt"] for end in ("", "the other day")]
    batch = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    keys = torch.arange(len(texts), dtype=torch.int32)
    rows: list[int] = []
    forward = type(model).forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counted)
    decoded = partial(
        model.generate, **batch, generation_config=config, custom_generate=decode, keys=keys
    )
    found = decoded()
    assert rows[0] == len(texts) > rows[-1]
    monkeypatch.setattr(decoding, "_can_drop", lambda *_: False)
    torch.testing.assert_close(found, decoded())
    assert rows[-1] == len(texts)
    if not sample:
        torch.testing.assert_close(found, model.generate(**batch, generation_config=config))


SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 5,
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
KINDS = {
    "recurrent": MambaConfig(**SMALL, state_size=8),
    "sliding_window": MistralConfig(**SMALL, **HEADS, sliding_window=6),
    "hybrid": FalconH1Config(
        **SMALL, **HEADS, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8
    ),
}


@pytest.mark.parametrize("settings", [{}, {"repetition_penalty": 1.5}])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_policy_decodes_as_transformers_does(
    kind: str, settings: dict[str, float]
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(KINDS[kind]).eval()
    prompts = torch.randint(10, 40, (30, 6))
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=20,
        eos_token_id=list(range(2, 40, 3)),
        pad_token_id=0,
        **settings,
    )
    generate = partial(
        model.generate, prompts, attention_mask=torch.ones_like(prompts), generation_config=config
    )
    torch.testing.assert_close(generate(custom_generate=decode), generate())


@pytest.mark.parametrize("sample", [True, False])
def test_nan_is_never_decoded(policy: Model, sample: bool) -> None:
    model = policy.module
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = float("nan")
    config = GenerationConfig(max_new_tokens=3, pad_token_id=0, do_sample=sample)
    with pytest.raises(FloatingPointError, match="not finite"):
        model.generate(torch.full((2, 3), 5), generation_config=config, custom_generate=decode)
