"""What the tests of policies share: five prompts, a reward and a training of seconds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Params, Rlhf
from inverse_rlhf.policies.training import Score, train_on_reward

SMALL = {
    "steps": 2,
    "batch_size": 4,
    "generations": 2,
    "max_new_tokens": 8,
    "min_new_tokens": 2,
    "warmup_steps": 0,
    "lr": 1e-3,
}


@pytest.fixture
def prompts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prompt_id": [4, 9, 11, 30, 31],
            "prompt": ["About", "On Monday's", "I read the", "Your", "As"],
        }
    )


@pytest.fixture
def small(params: Params) -> Rlhf:
    """Settings of a training that takes a second."""
    return params.rlhf.model_copy(update=SMALL)


@pytest.fixture
def lengths() -> Score:
    """A reward: how often a completion has an e."""

    def score(prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        return np.array([text.count("e") for text in completions], dtype=np.float32)

    return score


@pytest.fixture
def train(prompts: pd.DataFrame, small: Rlhf) -> Callable[..., dict[str, float]]:
    def trained(policy: Model, score: Score, curve: Path, **update: Any) -> dict[str, float]:
        settings = small.model_copy(update=update)
        return train_on_reward(prompts, policy, score, settings, seed=0, curve=curve)

    return trained
