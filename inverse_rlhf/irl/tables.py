"""The tables of `maxmargin_irl`: a row a run and epoch, a row a run and text."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.runs import Fit
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


def runs_table(fits: list[Fit], texts: pd.DataFrame) -> pd.DataFrame:
    """The irl_runs table; mean, std and thresholds stand in the chosen epoch's row.

    Raises:
        UserError: a run is not finite.
    """
    return pd.concat([_run_rows(fit, texts) for fit in fits], ignore_index=True)


def scores_table(fits: list[Fit], texts: pd.DataFrame) -> pd.DataFrame:
    """The irl_scores table: every run's rewards of the texts that were not fitted."""
    kept = ~texts["fitted"]
    columns = texts.loc[kept, ["prompt_id", "sample", "source", "split"]]
    tables = [
        columns.assign(kind=fit.run.kind, run=fit.run.number, irl_reward=fit.rewards[kept])
        for fit in fits
    ]
    return pd.concat(tables, ignore_index=True)


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


def _run_rows(fit: Fit, texts: pd.DataFrame) -> pd.DataFrame:
    if not np.isfinite(fit.rewards).all() or not np.isfinite(fit.loss).all():
        raise UserError(f"run {fit.run.name} is not finite: lower irl.lr or irl.max_grad_norm")
    epochs = np.arange(1, len(fit.loss) + 1)
    rows = pd.DataFrame(
        {
            "kind": fit.run.kind,
            "run": fit.run.number,
            "epoch": epochs,
            "loss": fit.loss,
            "valid_discrimination": fit.valid_discrimination,
            "selected": epochs == fit.epoch,
        }
    )
    described = describe(fit.rewards, texts)
    cuts = {f"threshold_{name}": cut for name, cut in described.pop("thresholds").items()}
    for name, value in (described | cuts).items():
        rows.loc[rows["selected"], name] = value
    return rows
