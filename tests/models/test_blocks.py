"""A model cut to its bottom blocks computes what the whole one does there."""

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3Config,
    PreTrainedModel,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.blocks import blocks, keep_bottom_blocks, train_top_blocks
from inverse_rlhf.models.checkpoints import Model


def test_bottom_blocks_are_the_models_own(reward_network: Model) -> None:
    module = reward_network.module
    batch = reward_network.tokenizer("a map and a list", return_tensors="pt")
    with torch.no_grad():
        states = module.base_model(**batch, output_hidden_states=True).hidden_states
        normed = module.base_model.final_layer_norm(states[1])
        keep_bottom_blocks(module, 1)
        found = module.base_model(**batch).last_hidden_state
    torch.testing.assert_close(found, normed)
    with pytest.raises(UserError, match="the model has 1 blocks"):
        keep_bottom_blocks(module, 2)


@pytest.fixture
def seeing() -> Gemma3Config:
    """A configuration with as many blocks for images as for text."""
    shared = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    shared |= {"intermediate_size": 48}
    text = shared | {"vocab_size": 300, "num_key_value_heads": 2, "head_dim": 8}
    return Gemma3Config(
        text_config=text,
        vision_config=shared | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
        boi_token_index=290,
        eoi_token_index=291,
        image_token_index=292,
    )


@pytest.mark.parametrize(
    "auto", [AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModel]
)
def test_of_a_model_that_sees_the_blocks_are_those_of_text(
    auto: type, seeing: Gemma3Config
) -> None:
    model: PreTrainedModel = auto.from_config(seeing)
    assert blocks(model) is model.base_model.language_model.layers
    train_top_blocks(model, 1)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    inside = {name for name in trained if "language_model." in name}
    assert inside
    assert all("layers.1." in name or "language_model.norm." in name for name in inside)
    assert trained - inside <= {"score.weight"}
    keep_bottom_blocks(model, 1)
    assert len(model.base_model.language_model.layers) == 1
    assert len(model.base_model.vision_tower.encoder.layers) == 2


def test_blocks_that_read_no_text_are_not_trained(
    seeing: Gemma3Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForCausalLM.from_config(seeing)
    monkeypatch.setattr(type(model), "get_decoder", lambda self: self)  # its images come first
    with pytest.raises(UserError, match="what its top blocks read cannot be told"):
        train_top_blocks(model, 1)
