"""What all runs share: the texts, the pairs among them, the model that reads them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from inverse_rlhf.data.tables import completions_of, human_rows, pair_rows, texts_of
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, device_of
from inverse_rlhf.params import Compute, Irl, Parts


@dataclass(frozen=True)
class Problem:
    """Pairs to recover a reward from.

    Attributes:
        texts: see `all_texts`.
        model: whose hidden states are read; None: nobody's. The base policy's body has a
            one-output head.
        params, parts, compute, seed: the settings.
        log_ratios: of the aligned and the base completion of each pair in split irl, nats, where
            the loss needs them.
    """

    texts: pd.DataFrame
    model: Model | None
    params: Irl
    parts: Parts
    compute: Compute
    seed: int
    log_ratios: Float[np.ndarray, "pairs 2"] | None = None

    @property
    def device(self) -> torch.device:
        """Where rewards are fitted."""
        return device_of(self.compute) if self.model is None else self.model.device

    def pairs(self, split: str) -> np.ndarray:
        """Row numbers of aligned and base texts of a split's pairs, shape (pairs, 2)."""
        inside = np.flatnonzero(self.texts["split"] == split)
        rows: np.ndarray = inside[pair_rows(self.texts.iloc[inside])]
        return rows


def all_texts(pairs: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Every text to score: prompt_id, sample, source, split, prompt, completion, text, and fitted:
    whether the reward is fitted on it, as it never is on the comments behind the prompts (source
    human).
    """
    columns = ["prompt_id", "sample", "source", "split", "prompt", "completion"]
    parts = [
        part[columns].astype({"split": str})
        for part in (completions_of(pairs), human_rows(prompts))
    ]
    table = pd.concat(parts, ignore_index=True)
    fitted = (table["split"] == "irl") & (table["source"] != "human")
    return table.assign(text=texts_of(table), fitted=fitted)


def check_pairs(pairs: pd.DataFrame, params: Irl) -> None:
    """Raise a UserError where nothing can be recovered from the pairs."""
    fitted = pairs[pairs["split"] == "irl"]
    if (fitted["base_completion"] == fitted["aligned_completion"]).all():
        raise UserError("in split irl both policies wrote the same: there is no reward to recover")
    if params.method == "bayes" and params.bayes.rounds > len(fitted):
        raise UserError(f"irl.bayes.rounds is {params.bayes.rounds} for {len(fitted)} pairs")
