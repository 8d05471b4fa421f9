"""Completions by a policy in a folder, sampled alike wherever they are compared."""

from pathlib import Path

import pandas as pd

from inverse_rlhf.models import load
from inverse_rlhf.params import Params
from inverse_rlhf.sampling import sample_completions


def complete(prompts: pd.DataFrame, policy: Path, params: Params, *, name: str) -> pd.DataFrame:
    """`sample_completions` of the policy in a folder, by the settings of `pairs`."""
    model, tokenizer = load("policy", policy, params.compute)
    return sample_completions(
        prompts, model, tokenizer, params.pairs, params.compute, seed=params.seed, name=name
    )
