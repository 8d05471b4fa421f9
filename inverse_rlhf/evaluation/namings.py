"""What an audit, and what one would do otherwise, name in the same pairs, of all and of fewer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from inverse_rlhf.audit_params import AuditSettings
from inverse_rlhf.data.given_pairs import share_out
from inverse_rlhf.evaluation.audit_tables import objective_table
from inverse_rlhf.evaluation.baselines import log_odds, t_tests
from inverse_rlhf.evaluation.objectives import fit_objectives
from inverse_rlhf.evaluation.pair_features import (
    PairFeatures,
    by_split,
    named_objectives,
    objective_values,
)
from inverse_rlhf.irl.found import MAIN
from inverse_rlhf.parquet import table_schema

METHODS = ("audit", "t_test", "log_odds")
NAMINGS = table_schema(
    ("method", pa.string()),
    ("pairs", pa.int64()),
    ("name", pa.string()),
    ("weight", pa.float64()),
    ("found", pa.bool_()),
    ("main", pa.bool_()),
    ("with", pa.list_(pa.string())),
)
"""A row an objective, for every method and number of pairs. Weights are in each method's unit; main
are those found with a weight of the largest one's size, by one rule for all methods; with has the
objectives that the audit says pairs cannot tell from it."""


def namings(
    pairs: pd.DataFrame, whole: pd.DataFrame, settings: AuditSettings, sizes: Sequence[int]
) -> pd.DataFrame:
    """Every method's objectives, from the same fitted pairs.

    Args:
        pairs: the given_pairs table without splits.
        whole: the audit's objectives from all pairs, FOUND_OBJECTIVES.
        sizes: numbers of prompts, whose pairs are audited by themselves; those of fewer than
            there are.

    Returns:
        NAMINGS.
    """
    values = objective_values(pairs)
    prompts = pairs["prompt_id"].unique()
    order = np.random.default_rng([settings.seed, 3]).permutation(prompts)
    parts = [_all_methods(pairs, values, whole[whole["category"].isna()], settings)]
    for size in sizes:
        if size < len(order):
            rows = pairs["prompt_id"].isin(order[:size]).to_numpy()
            few = {side: table[rows] for side, table in values.items()}
            parts.append(_all_methods(pairs[rows], few, None, settings))
    return pd.concat(parts, ignore_index=True)


def _all_methods(
    pairs: pd.DataFrame,
    values: dict[str, np.ndarray],
    audited: pd.DataFrame | None,
    settings: AuditSettings,
) -> pd.DataFrame:
    shared = share_out(pairs, settings.audit.splits.model_dump(), seed=settings.seed)
    features, level = named_objectives(shared, values), settings.audit.level
    fitted = by_split(shared, "irl")
    base, aligned = (shared.loc[fitted, f"{side}_completion"] for side in ("base", "aligned"))
    tables = {
        "audit": _audited(shared, features, settings) if audited is None else audited,
        "t_test": t_tests(features, fitted, level),
        "log_odds": log_odds(base, aligned, level),
    }
    named = []
    for method, table in tables.items():
        alike = table["with"].tolist() if "with" in table else [[]] * len(table)
        size = table["weight"].abs() * table["found"]
        main = (size > 0) & (size >= MAIN * size.max())
        table = table[["name", "weight", "found"]].assign(
            method=method, pairs=len(pairs), main=main
        )
        named.append(table.assign(**{"with": alike})[NAMINGS.names])
    return pd.concat(named, ignore_index=True)


def _audited(shared: pd.DataFrame, features: PairFeatures, settings: AuditSettings) -> pd.DataFrame:
    weights = fit_objectives(features, shared, settings)
    return objective_table(features, weights, by_split(shared, "test"))
