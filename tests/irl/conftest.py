"""Settings and pairs of the fits that the tests of this folder share."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.irl.fit import FittedRewards, fit_rewards
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Irl, Params, Parts


def human(pairs: pd.DataFrame) -> pd.DataFrame:
    """The prompts of the pairs, and comments that they begin."""
    prompts = pairs.assign(human_completion=" it is fine.")
    return prompts[["prompt_id", "prompt", "human_completion", "split"]]


@pytest.fixture
def irl(params: Params) -> Irl:
    """A few runs of the default settings."""
    return params.irl.model_copy(update={"runs": 3, "control_runs": 2, "l2": 1e-2})


@pytest.fixture
def short(params: Params) -> Irl:
    """A few runs of few epochs in small batches."""
    return params.irl.model_copy(
        update={"runs": 4, "control_runs": 2, "epochs": 3, "batch_size": 8, "loss": "max_margin"}
    )


@pytest.fixture
def pairs() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    words = ["map", "table", "list", "draft", "page"]
    rows = []
    for prompt in range(90):
        bad, good = generator.choice(["fool", "pest"]), generator.choice(["gem", "friend"])
        ends = generator.choice(words, 2)
        rows.append(
            {
                "prompt_id": prompt,
                "prompt": f"About the {generator.choice(words)}:",
                "sample": 0,
                "base_completion": f" you are a {bad}, see the {ends[0]}.",
                "aligned_completion": f" please, you are a {good}, see the {ends[1]}.",
                "split": "irl" if prompt < 50 else "valid" if prompt < 70 else "test",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def prompts(pairs: pd.DataFrame) -> pd.DataFrame:
    return human(pairs)


@pytest.fixture
def fit_in(
    pairs: pd.DataFrame, reward_network: Model, params: Params, tmp_path: Path
) -> Callable[..., FittedRewards]:
    """Fits in a folder, which keeps the runs that a killed fit has finished.

    Each fit starts from the same model, as each run of the stage does.
    """

    def fit(
        name: str,
        settings: Irl,
        pairs: pd.DataFrame = pairs,
        parts: Parts = params.parts,
        **given: Any,
    ) -> FittedRewards:
        return fit_rewards(
            pairs,
            human(pairs),
            copy.deepcopy(reward_network),
            settings,
            parts,
            params.compute,
            seed=0,
            store=tmp_path / name,
            **given,
        )

    return fit
