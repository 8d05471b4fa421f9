"""Completions as if a policy had written them."""

import pandas as pd
from transformers import PreTrainedTokenizerBase


def written(
    rows: pd.DataFrame, tokenizer: PreTrainedTokenizerBase, *, ended: bool = True
) -> pd.DataFrame:
    """The rows with the tokens of their completions, as `sample_completions` returns them."""
    ids = tokenizer(rows["completion"].tolist(), add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id] * ended
    sampled = pd.Series([[*row, *end] for row in ids], rows.index, dtype=object)
    return rows.assign(ids=sampled, ended=ended)


def written_pairs(pairs: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """The pairs with the tokens of both sides."""
    for side in ("base", "aligned"):
        found = written(pairs.assign(completion=pairs[f"{side}_completion"]), tokenizer)
        pairs = pairs.assign(**{f"{side}_ids": found["ids"], f"{side}_ended": found["ended"]})
    return pairs
