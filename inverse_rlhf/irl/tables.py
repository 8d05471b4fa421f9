"""The tables of `maxmargin_irl`: a row a run and epoch, a row a run and text."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from inverse_rlhf.parquet import CATEGORY, table_schema
from inverse_rlhf.rewards.thresholds import THRESHOLDS, thresholds

IRL_RUNS = table_schema(
    ("kind", CATEGORY),
    ("run", pa.int32()),
    ("epoch", pa.int32()),
    ("loss", pa.float64()),
    ("valid_discrimination", pa.float64()),
    ("selected", pa.bool_()),
    ("mean", pa.float64(), True),
    ("std", pa.float64(), True),
    *((f"threshold_{name}", pa.float64(), True) for name in THRESHOLDS),
)
IRL_SCORES = table_schema(
    ("kind", CATEGORY),
    ("run", pa.int32()),
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("source", CATEGORY),
    ("split", CATEGORY),
    ("irl_reward", pa.float32()),
)
OUTLIERS = table_schema(
    ("kind", CATEGORY),
    ("prompt_id", pa.int64(), True),
    ("sample", pa.int32(), True),
    ("text", pa.string()),
    ("distance", pa.float64()),
    ("flagged", pa.bool_()),
)


def describe(rewards: np.ndarray, texts: pd.DataFrame) -> dict[str, Any]:
    """Mean, std and thresholds of a reward, from the rewards of all texts."""
    fitted = rewards[texts["fitted"]].astype(np.float64)
    known = ~texts["fitted"] & (texts["split"] != "test")
    scores = {
        source: rewards[known & (texts["source"] == source)].astype(np.float64)
        for source in ("base", "aligned", "human")
    }
    with warnings.catch_warnings():  # of a mixture fitted to a reward that is constant
        warnings.simplefilter("ignore")
        cuts = thresholds(**scores)
    std = max(fitted.std(), np.finfo(np.float32).tiny)
    return {"mean": fitted.mean(), "std": std, "thresholds": cuts}
