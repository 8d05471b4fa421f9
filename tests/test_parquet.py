"""Tables are checked when they are read."""

from pathlib import Path

import pandas as pd
import pytest

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.tables import NGRAMS
from inverse_rlhf.parquet import read_table, write_table


def test_tables_are_checked(tmp_path: Path) -> None:
    frame = pd.DataFrame({"comment_id": [1], "text": ["a"], "toxic": [None], "split": ["train"]})
    write_table(frame, tmp_path / "t.parquet", COMMENTS)
    assert read_table(tmp_path / "t.parquet", COMMENTS)["split"].tolist() == ["train"]
    frame.to_parquet(tmp_path / "u.parquet")
    with pytest.raises(UserError, match="column text is large_string, it must be string"):
        read_table(tmp_path / "u.parquet", COMMENTS)
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "v.parquet", COMMENTS)
    frame[["comment_id"]].to_parquet(tmp_path / "w.parquet")
    with pytest.raises(UserError, match="has no column text, which it has since: run the stage"):
        read_table(tmp_path / "w.parquet", COMMENTS)
    empty = pd.DataFrame(columns=["ngram", "weight", "texts"])
    write_table(empty, tmp_path / "n.parquet", NGRAMS)
    assert read_table(tmp_path / "n.parquet", NGRAMS).empty
