"""The tables of an audit: its objectives, the margins of its test pairs, examples."""

import numpy as np
import pandas as pd
import pyarrow as pa

from inverse_rlhf.evaluation.pair_features import PairFeatures, by_split
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.irl.found import Weights
from inverse_rlhf.parquet import CATEGORY, table_schema

FOUND_OBJECTIVES = table_schema(
    ("category", CATEGORY, True),
    ("name", pa.string()),
    ("unit", pa.string()),
    ("weight", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("marginal", pa.float64()),
    ("less", pa.float64()),
    ("found", pa.bool_()),
    ("main", pa.bool_()),
    ("with", pa.list_(pa.string())),
    ("critical", pa.float64()),
)
"""A row an objective; category is null where all pairs are counted. main: found, with a weight not
far below the largest one found."""
MARGINS = table_schema(
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("margin", pa.float64()),
    ("margin_std", pa.float64()),
    ("prompt", pa.string()),
    ("base_completion", pa.string()),
    ("aligned_completion", pa.string()),
)
"""The test pairs with the recovered reward's margin (nats) and its spread over runs."""
EXAMPLES = table_schema(
    ("objective", pa.string()),
    ("base_value", pa.float64()),
    ("aligned_value", pa.float64()),
    ("prompt", pa.string()),
    ("base_completion", pa.string()),
    ("aligned_completion", pa.string()),
)
"""Test pairs that the recovered reward tells apart by one objective more than by others."""


def objective_table(features: PairFeatures, weights: Weights, test: np.ndarray) -> pd.DataFrame:
    """The objectives by the size of their weight, see `FOUND_OBJECTIVES`.

    marginal and less are the shares of test pairs in which the aligned completion has more and
    less; with names what pairs cannot tell from the objective.

    Args:
        test: which pairs are reported.
    """
    deltas = features.deltas[test]
    low, high = weights.interval()
    together = weights.together - np.eye(len(features.names))
    names = np.array(features.names)
    table = pd.DataFrame(
        {
            "category": None,
            "name": names,
            "unit": [OBJECTIVES[name].unit for name in names],
            "weight": weights.median,
            "low": low,
            "high": high,
            "marginal": (deltas > 0).mean(axis=0),
            "less": (deltas < 0).mean(axis=0),
            "found": weights.found(),
            "main": weights.main(),
            "with": [names[row != 0].tolist() for row in together],
            "critical": weights.critical,
        }
    )
    return table.sort_values("weight", key=np.abs, ascending=False, ignore_index=True)


def margins_table(
    pairs: pd.DataFrame, margins: np.ndarray, over_runs: np.ndarray, test: np.ndarray
) -> pd.DataFrame:
    """The test pairs, worst first."""
    rows = pairs[test].assign(margin=margins[test], margin_std=over_runs.std(axis=0))
    return rows[MARGINS.names].sort_values("margin", kind="stable", ignore_index=True)


def examples_table(
    pairs: pd.DataFrame,
    features: PairFeatures,
    values: dict[str, np.ndarray],
    weights: Weights,
    count: int,
) -> pd.DataFrame:
    """For each objective that is found the test pairs in which it counts for most of the margin."""
    test = np.flatnonzero(by_split(pairs, "test"))
    parts = features.deltas[test] * weights.median
    share = parts / np.maximum(np.abs(parts).sum(axis=1, keepdims=True), 1e-12)
    found = np.flatnonzero(weights.found())
    rows = []
    for column in found[np.argsort(-np.abs(weights.median[found]), kind="stable")]:
        order = np.argsort(-share[:, column], kind="stable")[:count]
        for place in test[order[share[order, column] > 0]]:
            pair = pairs.iloc[place]
            rows.append(
                {"objective": features.names[column]}
                | {f"{side}_value": values[side][place, column] for side in values}
                | {key: pair[key] for key in EXAMPLES.names[3:]}
            )
    return pd.DataFrame(rows, columns=EXAMPLES.names)
