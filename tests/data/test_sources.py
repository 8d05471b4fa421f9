"""Comments and prompts from files and the hub: all read the same, bad input is one line."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from inverse_rlhf.data.sources import read_comments, read_transfer_prompts
from inverse_rlhf.data.tables import TRANSFER_PROMPTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Data, Params
from inverse_rlhf.parquet import read_table, write_table


def data(params: Params, **update: Any) -> Data:
    return params.data.model_copy(update=update)


def csv(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_source_reads_the_same(params: Params, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["  a\nb  ", "None", "123"], "toxic": [1, 0, 0]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.to_csv(tmp_path / "a.CSV", index=False)
    frame.to_csv(tmp_path / "a.csv.gz", index=False)
    for suffix in ("parquet", "csv", "jsonl", "json", "CSV", "csv.gz"):
        read = read_comments(data(params, source=str(tmp_path / f"a.{suffix}")), seed=0)
        assert read["text"].tolist() == ["a\nb", "None", "123"], suffix
        assert read["toxic"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"words,toxic\na,1\n", "has no column 'text'"),
        ("a.csv", b"text,label\na,1\n", "has no column 'toxic'"),
        ("a.csv", b"text,toxic\na,1\n,0\n", "row 1 is null"),
        ("a.csv", b'text,toxic\na,1\n"  ",0\n', "row 1 is empty"),
        ("a.csv", b"text,toxic\na,1\nb,1\n", "both 0 and 1 are needed"),
        ("a.csv", b"text,toxic\na,1\nb,2\n", "row 1 is not 0 or 1 but '2'"),
        ("a.tsv", b"text\ttoxic\na\t1\n", "a.tsv is not a .parquet, .csv, .json or .jsonl file"),
        (
            "a.csv",
            b"text,toxic\na,hate\nb,neutral\n",
            "row 0 is not 0 or 1 but 'hate' .and 1 more rows.: write 1, toxic, true or yes, or 0",
        ),
        ("a.csv", b"text,toxic\na,1\nb,c,0\n", r"row 1 \(line 3\) has 3 fields, the header has 2"),
        ("a.csv", b"text,toxic\n", "has no rows"),
        ("a.csv", b"text,toxic\n\xff\xfe,1\n", "not UTF-8"),
        (
            "a.jsonl",
            b'{"text": "a", "toxic": 1}\n{"text": "\xff", "toxic": 0}\n',
            "UTF-8|cannot be read",
        ),
        ("a.jsonl", b'{"text": "a", "toxic": 1\n', "cannot be read"),
        ("a.jsonl", b'{"text": 5, "toxic": 1}\n{"text": "b", "toxic": 0}\n', "row 0 is not a text"),
        ("a.parquet", b"no parquet", "cannot be read"),
    ],
)
def test_bad_files(params: Params, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_comments(data(params, source=str(path)), seed=0)
    assert "\n" not in str(caught.value)


def test_missing_file_and_hub_id(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_comments(data(params, source=str(tmp_path / "none.csv")), seed=0)
    with pytest.raises(UserError, match=r"set data\.revision"):
        read_comments(data(params, source="someone/set"), seed=0)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        read_comments(data(params, source="someone/set", revision="main"), seed=0)
    assert "\n" not in str(caught.value)


def test_more_embedded_comments_than_there_are(params: Params) -> None:
    with pytest.raises(UserError, match=r"data\.comments is 1000000"):
        read_comments(data(params, comments=1_000_000), seed=0)


def test_transfer_prompts(tmp_path: Path, params: Params) -> None:
    path = tmp_path / "prompts.jsonl"
    unseen = '{"prompt": "\\u200b"}\n{"prompt": " "}\n'
    path.write_text('{"prompt": " one "}\n{"prompt": "one"}\n{"prompt": "two"}\n' + unseen)
    settings = params.evaluate.model_copy(update={"transfer_prompts": str(path)})
    found = read_transfer_prompts(settings)
    assert found["prompt_id"].tolist() == [0, 1]
    assert found["prompt"].tolist() == ["one", "two"]
    counts = {"left_out_transfer_invisible": 2, "left_out_transfer_repeated": 1}
    assert found.attrs["facts"] == counts
    for cell, what in {"null": "null", '"a\\u0000"': "NUL", '"\\ud800"': "half a char"}.items():
        bad = tmp_path / "bad.jsonl"
        bad.write_text(f'{{"prompt": "one"}}\n{{"prompt": {cell}}}\n')
        with pytest.raises(UserError, match=f"row 1 (is|has) .*{what}"):
            read_transfer_prompts(settings.model_copy(update={"transfer_prompts": str(bad)}))
    wrong = settings.model_copy(update={"transfer_column": "text"})
    with pytest.raises(UserError, match="has no column 'text'; its columns are 'prompt'"):
        read_transfer_prompts(wrong)
    nested = tmp_path / "nested.jsonl"
    nested.write_text('{"prompt": "one"}\n{"prompt": {"text": "two"}}\n')
    structs = settings.model_copy(update={"transfer_prompts": str(nested)})
    with pytest.raises(UserError, match=r"nested\.jsonl, column 'prompt', row 1 is not a text"):
        read_transfer_prompts(structs)
    plain = settings.model_copy(update={"transfer_prompts": csv(tmp_path / "a.txt", "one")})
    with pytest.raises(UserError, match=r"is not a \.parquet, \.csv, \.json or \.jsonl"):
        read_transfer_prompts(plain)
    missing = settings.model_copy(update={"transfer_prompts": str(tmp_path / "none.csv")})
    with pytest.raises(UserError, match=r"evaluate\.transfer_prompts: .* does not exist"):
        read_transfer_prompts(missing)


def test_transfer_prompts_are_a_table_where_there_are_none_too(
    tmp_path: Path, params: Params
) -> None:
    named = params.evaluate.model_copy(
        update={
            "transfer_prompts": csv(tmp_path / "a.csv", "prompt\none\ntwo\nthree\n"),
            "transfer_count": 2,
        }
    )
    for settings, prompts in ((params.evaluate, []), (named, ["one", "two"])):
        found = read_transfer_prompts(settings)
        assert found.columns.tolist() == ["prompt_id", "prompt"]
        write_table(found, tmp_path / "t.parquet", TRANSFER_PROMPTS)
        read = read_table(tmp_path / "t.parquet", TRANSFER_PROMPTS)
        assert read["prompt"].tolist() == prompts
        assert read["prompt_id"].tolist() == list(range(len(prompts)))


WORDS = [
    ("Toxic", "Not Toxic"),
    ("toxic", "non-toxic"),
    ("TOXIC", "nontoxic"),
    ("toxic", "not_toxic"),
    ("yes", "No"),
    ("True", "False"),
    (" 1", "0 "),
    ("1.0", "0.0"),
    (True, False),
    (1, 0),
    (1.0, 0.0),
]


@pytest.mark.parametrize(("toxic", "other"), WORDS)
def test_labels(params: Params, tmp_path: Path, toxic: Any, other: Any) -> None:
    frame = pd.DataFrame({"text": ["a", "b", "c"], "toxic": [toxic, other, toxic]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.astype({"toxic": "category"}).to_parquet(tmp_path / "b.parquet")
    for name in ("a.parquet", "a.jsonl", "a.csv", "b.parquet"):
        read = read_comments(data(params, source=str(tmp_path / name)), seed=0)
        assert read["toxic"].tolist() == [1, 0, 1], name
        assert read["toxic"].dtype == "int8"


@pytest.mark.parametrize(
    "label", ["neutral", "2", "1e-400", "-1", "0_1", 0.7, -1, [1], {"a": 1}, b"1"]
)
def test_what_is_no_label(params: Params, tmp_path: Path, label: Any) -> None:
    frame = pd.DataFrame({"text": ["a"], "toxic": pd.Series([label], dtype=object)})
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"row 0 is not 0 or 1 but .*: write 1, toxic, true or yes"):
        read_comments(data(params, source=str(tmp_path / "a.parquet")), seed=0)


def test_what_is_left_out_is_counted(params: Params, tmp_path: Path) -> None:
    rows = [
        ("a", 1),
        ("both", 1),
        ("b", 0),
        (" both ", 0),
        ("a", 1),
        ("a ", 1),
        ("\u200b\ufeff \u2060", 0),
        ("\u0301\u200d\u2800\u3164\uffa0\u115f\u1160", 1),
        ("half \ud83d", 0),
        ("NUL \0", 0),
        ("\U0001f600\u200d\u2764\ufe0f", 0),
        ("<|endoftext|>", 0),
    ]
    lines = [json.dumps({"text": text, "toxic": toxic}) for text, toxic in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    read = read_comments(data(params, source=str(tmp_path / "a.jsonl")), seed=0)
    assert read["text"].tolist() == ["a", "b", "\U0001f600\u200d\u2764\ufe0f", "<|endoftext|>"]
    assert read["toxic"].tolist() == [1, 0, 0, 0]
    assert read.attrs["facts"] == {
        "left_out_damaged": 2,
        "left_out_invisible": 2,
        "left_out_contradictory": 2,
        "left_out_repeated": 2,
    }


def test_nested_texts_and_labels(params: Params, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"prompt": {"text": "one", "toxic": true}}\n{"prompt": {"text": "two", "toxic": false}}\n'
    )
    nested = {"text_column": "prompt.text", "label_column": "prompt.toxic"}
    read = read_comments(data(params, source=str(path), **nested), seed=0)
    assert read.to_numpy().tolist() == [["one", 1], ["two", 0]]
    with pytest.raises(UserError, match=r"its columns are 'prompt\.text', 'prompt\.toxic'"):
        read_comments(data(params, source=str(path), text_column="prompt.words"), seed=0)
    settings = params.evaluate.model_copy(
        update={"transfer_prompts": str(path), "transfer_column": "prompt.text"}
    )
    assert read_transfer_prompts(settings)["prompt"].tolist() == ["one", "two"]


def test_prompts_of_their_own(params: Params, tmp_path: Path) -> None:
    rows = 'a, b ,1\n"c d",e,0\n'
    source = csv(tmp_path / "a.csv", f"prompt,answer,toxic\n{rows}")
    given = {"source": source, "text_column": "answer", "prompt_column": "prompt"}
    read = read_comments(data(params, **given), seed=0)
    assert read["text"].tolist() == ["a b", "c d e"]
    assert read["prompt"].tolist() == ["a", "c d"]
    assert read["toxic"].tolist() == [1, 0]
    with pytest.raises(UserError, match=r"^data\.prompt_column: .* has no column 'question'"):
        read_comments(data(params, **given | {"prompt_column": "question"}), seed=0)
    csv(tmp_path / "a.csv", f"prompt,answer,toxic\n{rows} ,f,1\n")
    with pytest.raises(UserError, match="column 'prompt', row 2 is empty"):
        read_comments(data(params, **given), seed=0)
    csv(tmp_path / "a.csv", "prompt,answer,toxic\na,a b,1\nc,c d,0\n")
    with pytest.raises(UserError, match=r"2 of 2 'answer' .* begin with their 'prompt'"):
        read_comments(data(params, **given), seed=0)


def test_comments_without_labels(params: Params, tmp_path: Path) -> None:
    source = csv(tmp_path / "a.csv", "text,toxic\na,1\nb,x\na,0\n")
    read = read_comments(data(params, source=source, label_column=None), seed=0)
    assert read["text"].tolist() == ["a", "b"]
    assert read["toxic"].isna().all()
    assert read.attrs["facts"]["left_out_repeated"] == 1


@pytest.mark.parametrize("name", ["a\u202eb", "a\nb", "a\x1b[1m"])
def test_messages_are_of_one_line_whatever_names_are(
    params: Params, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name / "a.csv"
    path.parent.mkdir()
    transfer = params.evaluate.model_copy(
        update={"transfer_prompts": str(path), "transfer_column": "text"}
    )
    contents = ["toxic\n1\n", "text,toxic\n", "text,toxic\n,1\n", "text,toxic\na,1\nb,1\n"]
    for content in contents:
        path.write_text(content)
        with pytest.raises(UserError) as caught:
            read_comments(data(params, source=str(path)), seed=0)
        assert str(caught.value).isprintable()
        assert repr(str(path)) in str(caught.value)
    for content in contents[:-1]:
        path.write_text(content)
        with pytest.raises(UserError) as caught:
            read_transfer_prompts(transfer)
        assert str(caught.value).isprintable()
