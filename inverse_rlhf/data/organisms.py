"""Tables of model organisms: the base policy's completions, and what is planted."""

import pyarrow as pa

from inverse_rlhf.parquet import table_schema

BASE = table_schema(
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("completion", pa.string()),
    ("ids", pa.list_(pa.int64())),
)
"""The base policy's completions, which every organism of a seed is compared with."""
PLANTED = table_schema(
    ("prompt_id", pa.int64()),
    ("base_reward", pa.float64()),
    ("aligned_reward", pa.float64()),
)
"""What the planted reward says of each pair: the examiner's alone."""
