"""Runs that train the transformer: what changes, and what stays."""

import copy

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.data.tables import whole_texts
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Irl


def test_frozen_parts_stay(reward_network: Model, pairs: pd.DataFrame, short: Irl) -> None:
    module, pairs = reward_network.module, pairs[:60]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    settings = short.model_copy(update={"trainable": "last_k", "last_k": 1})
    texts = [
        *whole_texts(pairs["prompt"], pairs["aligned_completion"]),
        *whole_texts(pairs["prompt"], pairs["base_completion"]),
    ]
    network = RewardNetwork(reward_network, texts, settings)
    rows = np.stack([np.arange(60), np.arange(60, 120)], axis=1)
    network.fit(Pairs(rows[:40], rows[40:]), Run(0, "fit", 0))
    changed = {name for name, value in module.state_dict().items() if not value.equal(before[name])}
    assert "score.weight" in changed
    assert any("layers.1." in name for name in changed)
    assert not any("layers.0." in name or "embed" in name for name in changed)


def test_dropout_of_a_checkpointed_body_stays_out(
    reward_network: Model, pairs: pd.DataFrame, short: Irl
) -> None:
    """Checkpointing needs the training mode, where a body with dropout would drop."""
    config = copy.deepcopy(reward_network.module.config)
    config.hidden_dropout = config.attention_dropout = 0.5
    dropping = type(reward_network.module)(config)
    dropping.load_state_dict(reward_network.module.state_dict())
    texts = whole_texts(pairs["prompt"][:40], pairs["aligned_completion"][:40])
    rows = np.arange(40).reshape(20, 2)
    found = []
    for module, checkpointed in ((reward_network.module, False), (dropping, True)):
        compute = reward_network.compute.model_copy(update={"gradient_checkpointing": checkpointed})
        model = Model(module.eval(), reward_network.tokenizer, compute)
        network = RewardNetwork(model, texts, short.model_copy(update={"trainable": "all"}))
        found.append(network.fit(Pairs(rows[:10], rows[10:]), Run(0, "fit", 0)))
    assert found[1].loss == pytest.approx(found[0].loss, rel=1e-4)
