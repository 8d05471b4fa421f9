"""By how much the recovered reward prefers the aligned text of each pair, and how sure it is."""

from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.evaluation.candidates import Rewards

_KEYS = ["prompt_id", "sample"]


def margin_table(
    scores: pd.DataFrame, pairs: pd.DataFrame, runs: Rewards, std: float
) -> pd.DataFrame:
    """The margins of the test pairs: the reward of the aligned text minus that of the base text.

    Args:
        scores: the scores table.
        pairs: the pairs table.
        runs: the recovered rewards of all runs.
        std: standard deviation of the exported reward on the texts it was fitted on.

    Returns:
        The margins table, the smallest margin first; margin and margin_std (over runs) count in
        standard deviations of each reward on the texts it was fitted on.
    """
    reward = scores.astype({"source": str}).set_index(["source", *_KEYS])["irl_reward"]
    reward = reward.astype(np.float64)
    found = pd.DataFrame(
        {
            "margin": (reward.loc["aligned"] - reward.loc["base"]) / std,
            "margin_std": runs.test_margins().std(axis=1, ddof=0),
        }
    )
    test = pairs[pairs["split"] == "test"]
    table = test.merge(found.reset_index(), on=_KEYS, validate="one_to_one")
    return table.sort_values("margin", kind="stable", ignore_index=True)


def beside_control(margins: pd.DataFrame, by_kind: dict[str, Rewards]) -> dict[str, np.ndarray]:
    """Margins by whose they are: the exported reward's (recovered), and the shuffled control's of
    all its runs together, if it was run.

    Args:
        margins: the margins table.
        by_kind: the rewards of all runs by their kind.
    """
    found = {"recovered": margins["margin"].to_numpy()}
    if "shuffled" in by_kind:
        found["shuffled"] = by_kind["shuffled"].test_margins().to_numpy().ravel()
    return found


def extreme_pairs(margins: pd.DataFrame, count: int = 3) -> dict[str, Any]:
    """The pairs of the largest and of the smallest margin, the most extreme first.

    Args:
        margins: the margins table.
        count: pairs of each kind.

    Returns:
        best_pairs and worst_pairs: prompt, base and aligned (completions), margin (standard
        deviations).
    """
    names = {"base_completion": "base", "aligned_completion": "aligned"}
    rows = margins.rename(columns=names)[["prompt", "base", "aligned", "margin"]]
    return {
        "best_pairs": rows.tail(count)[::-1].to_dict("records"),
        "worst_pairs": rows.head(count).to_dict("records"),
    }
