"""What fits found, as rows of their tables."""

import numpy as np
import pandas as pd

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.runs import Fit
from inverse_rlhf.irl.tables import describe


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
