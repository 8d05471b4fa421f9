"""Runs that train the transformer: what changes, and what stays."""

import numpy as np
import pandas as pd

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
