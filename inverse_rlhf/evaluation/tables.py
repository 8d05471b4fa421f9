"""The tables of `evaluate`."""

import pyarrow as pa

from inverse_rlhf.parquet import CATEGORY, table_schema

SCORES = table_schema(
    ("prompt_id", pa.int64()),
    ("prompt", pa.string()),
    ("completion", pa.string()),
    ("sample", pa.int32()),
    ("source", CATEGORY),
    ("toxic", pa.int8(), True),
    ("toxicity", pa.float32(), True),
    ("true_reward", pa.float32(), True),
    ("irl_reward", pa.float32()),
    ("irl_ensemble", pa.float32(), True),
    ("irl_std", pa.float32(), True),
)
RUN_CORRELATIONS = table_schema(
    ("run", pa.int32()), ("other_run", pa.int32()), ("spearman", pa.float64(), True)
)
TOKEN_CREDITS = table_schema(
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("source", CATEGORY),
    ("position", pa.int32()),
    ("token", pa.string()),
    ("reward", pa.float32()),
    ("credit", pa.float32()),
)
WORD_CREDITS = table_schema(
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("source", CATEGORY),
    ("position", pa.int32()),
    ("word", pa.string()),
    ("reward", pa.float32()),
    ("credit", pa.float32()),
)
SHOWN_CREDITS = WORD_CREDITS
"""Of the texts that the report shows, whosever they are."""
MARGINS = table_schema(
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("prompt", pa.string()),
    ("base_completion", pa.string()),
    ("aligned_completion", pa.string()),
    ("margin", pa.float32()),
    ("margin_std", pa.float32()),
)
NGRAMS = table_schema(("ngram", pa.string()), ("weight", pa.float64()), ("texts", pa.int64()))
DISAGREEMENTS = table_schema(
    ("kind", CATEGORY),
    ("disagreement", pa.float64()),
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("source", CATEGORY),
    ("prompt", pa.string()),
    ("completion", pa.string()),
    ("true_reward", pa.float32(), True),
    ("irl_reward", pa.float32()),
    ("irl_std", pa.float32(), True),
)
