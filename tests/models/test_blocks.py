"""A model cut to its bottom blocks computes what the whole one does there."""

import pytest
import torch

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.blocks import keep_bottom_blocks
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
