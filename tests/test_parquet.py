"""Tables are checked when they are read."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.tables import NGRAMS
from inverse_rlhf.parquet import read_table, write_table


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view()], ids=lambda kind: str(kind)
)
def test_texts_and_categories_of_every_writer_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    frame = pd.DataFrame(
        {"comment_id": [1, 2, 3], "text": ["a", "b", "c"], "toxic": 1, "split": ["x", "y", "x"]}
    ).astype({"toxic": "int8"})
    table = pa.Table.from_pandas(frame)
    table = table.set_column(1, "text", table.column("text").cast(kind))
    split = table.column("split").cast(kind if kind != pa.string_view() else pa.string())
    pq.write_table(table.set_column(3, "split", split.dictionary_encode()), tmp_path / "t.parquet")
    read = read_table(tmp_path / "t.parquet", COMMENTS)
    assert read["text"].tolist() == ["a", "b", "c"]
    assert read["split"].tolist() == ["x", "y", "x"]
    assert read["split"].dtype == "category"


def test_tables_are_checked(tmp_path: Path) -> None:
    frame = pd.DataFrame({"comment_id": [1], "text": ["a"], "toxic": [None], "split": ["train"]})
    write_table(frame, tmp_path / "t.parquet", COMMENTS)
    assert read_table(tmp_path / "t.parquet", COMMENTS)["split"].tolist() == ["train"]
    frame.to_parquet(tmp_path / "u.parquet")
    with pytest.raises(UserError, match="column toxic is null, it must be int8"):
        read_table(tmp_path / "u.parquet", COMMENTS)
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "v.parquet", COMMENTS)
    frame[["comment_id"]].to_parquet(tmp_path / "w.parquet")
    with pytest.raises(UserError, match="has no column text, which it has since: run the stage"):
        read_table(tmp_path / "w.parquet", COMMENTS)
    frame.assign(text=1).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(UserError, match="column text is int64, it must be string"):
        read_table(tmp_path / "x.parquet", COMMENTS)
    empty = pd.DataFrame(columns=["ngram", "weight", "texts"])
    write_table(empty, tmp_path / "n.parquet", NGRAMS)
    assert read_table(tmp_path / "n.parquet", NGRAMS).empty


def test_a_flipped_byte_is_one_line(tmp_path: Path) -> None:
    """Whichever it is: what is read is what was written, or it is refused."""
    path, rows = tmp_path / "t.parquet", 40
    frame = pd.DataFrame({"comment_id": range(rows), "text": [f"text {i}" for i in range(rows)]})
    write_table(frame.assign(toxic=[0, 1] * 20, split=["train", "test"] * 20), path, COMMENTS)
    before, content = read_table(path, COMMENTS), path.read_bytes()
    refused = []
    for place in range(0, len(content), 4):
        changed = bytearray(content)
        changed[place] ^= 1 << place // 4 % 8
        path.write_bytes(changed)
        try:
            pd.testing.assert_frame_equal(read_table(path, COMMENTS), before)
        except UserError as error:
            refused.append(str(error))
    assert len(refused) > len(content) / 8
    assert all(line.startswith(str(path)) and "\n" not in line for line in refused)


def test_damaged_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame({"ngram": [str(i) for i in range(999)], "texts": range(999)})
    write_table(frame.assign(weight=0.1 * frame["texts"]), path, NGRAMS)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged: .*CRC checksum"):
        read_table(path, NGRAMS)
