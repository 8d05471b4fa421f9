"""Which texts the report of the closed loop shows, by rules that pick none by hand."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from inverse_rlhf.data.tables import both_policies

SHOWN = 10
"""Texts of each kind."""
_KEYS = ["prompt_id", "sample", "source"]


@dataclass(frozen=True)
class Shown:
    """The texts that the report shows, rows of the scores table.

    Attributes:
        beside: of the first test prompts, all policies' first completions.
        best, worst: both policies' test completions of the highest and of the lowest recovered
            reward, the most extreme first.
        runs, truth: on which runs, and recovered and true reward, disagree most; none of runs where
            there is one.
        against: completions of the pairs whose base completion is preferred most.
    """

    beside: pd.DataFrame
    best: pd.DataFrame
    worst: pd.DataFrame
    runs: pd.DataFrame
    truth: pd.DataFrame
    against: pd.DataFrame

    def rows(self) -> pd.DataFrame:
        """All of them, each once."""
        parts = [self.beside, self.best, self.worst, self.runs, self.truth, self.against]
        columns = [*_KEYS, "prompt", "completion"]
        plain = [part[columns].astype({"source": str}) for part in parts]
        return pd.concat(plain, ignore_index=True).drop_duplicates(_KEYS, ignore_index=True)


def choose(scores: pd.DataFrame, disagreements: pd.DataFrame, margins: pd.DataFrame) -> Shown:
    """The texts to show, of the scores, disagreements and margins tables."""
    scores = scores.astype({"source": str})
    policies = scores[scores["source"] != "human"]
    first = np.sort(policies["prompt_id"].unique())[: SHOWN // 2]
    beside = policies[policies["prompt_id"].isin(first) & (policies["sample"] == 0)]
    ranked = both_policies(scores).drop_duplicates(["prompt", "completion"])
    ranked = ranked.sort_values("irl_reward", kind="stable")
    runs, truth = (disagreements[disagreements["kind"] == kind] for kind in ("runs", "true_reward"))
    against = margins[margins["margin"] < 0].head(SHOWN // 2)
    pairs = against[["prompt_id", "sample", "margin"]].merge(
        both_policies(scores), on=["prompt_id", "sample"], how="left"
    )
    return Shown(
        beside=beside,
        best=ranked.tail(SHOWN)[::-1],
        worst=ranked.head(SHOWN),
        runs=runs[runs["disagreement"] > 0].head(SHOWN),
        truth=truth.head(SHOWN),
        against=pairs,
    )
