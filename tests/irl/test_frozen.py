"""What frozen blocks make of a text, replayed, is what they would make of it again."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
)

from inverse_rlhf.irl.network import RewardNetwork
from inverse_rlhf.models.blocks import blocks
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import encode, pad
from inverse_rlhf.params import Irl


@pytest.mark.parametrize(
    "config",
    [
        GPTNeoXConfig(intermediate_size=32),
        GPT2Config(),  # adds positions to whatever it is given
        LlamaConfig(intermediate_size=32),
        BloomConfig(),  # its blocks give tuples
    ],
    ids=lambda config: config.model_type,
)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_frozen_blocks_are_read_once_and_change_nothing(
    config: Any, pooling: str, reward_network: Model, short: Irl
) -> None:
    tokenizer = reward_network.tokenizer
    config.update(
        dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=3, num_labels=1)
        | dict(num_attention_heads=2, num_key_value_heads=2, pad_token_id=tokenizer.pad_token_id)
    )
    torch.manual_seed(0)
    module = AutoModelForSequenceClassification.from_config(config).eval()
    model = Model(module, tokenizer, reward_network.compute)
    texts = ["one", "a much longer text about a map and a table", "two words", "three of them"]
    batch = pad(encode(texts, model), range(4), model)
    settings = short.model_copy(update={"trainable": "last_k", "last_k": 1, "pooling": pooling})
    network = RewardNetwork(model, texts, settings)
    assert network.frozen is not None
    calls: list[int] = []
    first, last = blocks(module)[0], blocks(module)[-1]
    for child in first.children():
        child.register_forward_hook(lambda *_: calls.append(1))
    found = network.rewards_of_rows(np.arange(4))
    found.sum().backward()
    gradients = [parameter.grad for parameter in last.parameters()]
    module.zero_grad()
    assert not calls
    np.testing.assert_allclose(network.score(), found.detach(), atol=1e-5)
    network.frozen = None
    expected = network.rewards(batch | {"row": torch.arange(4)})
    assert calls
    expected.sum().backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for gradient, parameter in zip(gradients, last.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)
