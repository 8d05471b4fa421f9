"""Files of anyone: each kind reads the same, and what could be read in two ways is one line."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inverse_rlhf.data.read_file import column_of, named_columns, read_frame
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import kind_of

REAL = Path(__file__).parents[3] / "shared" / "data" / "audit"
ROWS: list[dict[str, Any]] = [
    {"text": "one, two\nthree", "toxic": 1},
    {"text": 'say "no"\u2028 now', "toxic": 0},
    {"text": "ü 日本", "toxic": None},
]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
BOM = b"\xef\xbb\xbf"


def contents() -> dict[str, bytes]:
    frame = pd.DataFrame(ROWS)
    csv = frame.to_csv(index=False).encode()
    array = json.dumps(ROWS, indent=1).encode()
    lines = LINES.encode()
    return {
        "a.csv": csv,
        "A.CSV": csv,
        "bom.csv": BOM + csv,
        "windows.csv": frame.to_csv(index=False, lineterminator="\r\n").encode(),
        "mac.csv": csv.replace(b"\n", b"\r").replace(b"\rthree", b"\nthree"),
        "blank.csv": csv.replace(b"toxic\n", b"toxic\n\n") + b"\n\n",
        "a.csv.gz": gzip.compress(csv),
        "a.jsonl": lines,
        "a.JSONL": b"\n" + lines.replace(b"\n", b"\r\n\n") + b"\n",
        "bom.jsonl": BOM + lines,
        "a.jsonl.gz": gzip.compress(lines),
        "a.json": array,
        "bom.Json": BOM + array,
        "a.json.gz": gzip.compress(array),
        "lines.json": lines,
        "array.jsonl": array,
    }


@pytest.mark.parametrize("name", contents())
def test_every_kind_reads_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(contents()[name])
    found = read_frame(path, "key")
    assert list(found) == ["text", "toxic"]
    assert found["text"].tolist() == [row["text"] for row in ROWS]
    given = found["toxic"].tolist()[:2]
    assert given == (["1.0", "0.0"] if ".csv" in name.lower() else [1, 0])
    assert found["toxic"].isna().tolist() == [False, False, True]
    assert found.index.tolist() == [0, 1, 2]


def test_parquet_of_every_string_type_and_a_folder(tmp_path: Path) -> None:
    texts = ["a", None, "c"]
    types = [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ]
    for number, kind in enumerate(types):
        table = pa.table({"text": pa.array(texts, pa.string()).cast(kind), "n": [1, 2, 3]})
        pq.write_table(table, tmp_path / f"{number}.parquet")
        found = read_frame(tmp_path / f"{number}.parquet", "key")
        assert [None if pd.isna(text) else text for text in found["text"]] == texts, kind
    for name in ("README.md", "_SUCCESS", "_metadata", ".0.parquet.crc", ".hidden.parquet"):
        (tmp_path / name).write_text("not read")
    found = read_frame(tmp_path, "key")
    assert found["n"].tolist() == [1, 2, 3] * 5
    rows = [f"{row} of {number}.parquet" for number in range(5) for row in range(3)]
    assert found.index.tolist() == rows


def test_an_index_is_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["a", "b"], "n": [1, 2]}).set_index("text")
    frame.to_parquet(tmp_path / "a.parquet")
    found = read_frame(tmp_path / "a.parquet", "key")
    assert found["text"].tolist() == ["a", "b"]


def test_fields_of_csv_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("number,boolean,text,mixed,none\n1.5,True,None,1,\n,false,nan,x,\n")
    found = read_frame(path, "key")
    assert found["number"].tolist() == ["1.5", None]
    assert found["boolean"].tolist() == ["True", "false"]
    assert found["text"].tolist() == ["None", "nan"]
    assert found["mixed"].tolist() == ["1", "x"]
    assert found["none"].isna().all()


def test_a_key_that_rows_lack_is_null_and_numbers_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 12345678901234567}\n{"b": [{"role": "user"}]}\n')
    found = read_frame(path, "key")
    assert found["a"].tolist() == [12345678901234567, None]
    assert found["b"].tolist() == [None, [{"role": "user"}]]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": [{"role": "user", "content": "a"}], "base": "b"},
        {"prompt": {"text": "a"}, "labels": []},
        {"a": [{"role": "user", "content": "a"}], "b": [{"role": "assistant", "content": "b"}]},
        {"resps": [["a"]], "arguments": [["b", {}]]},
        {"a": [], "b": {}},
    ],
)
def test_one_row_is_a_table(tmp_path: Path, row: dict[str, Any]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row))
    assert read_frame(path, "key").to_dict("records") == [row]


def test_kinds() -> None:
    assert kind_of("x/a.JSONL.GZ") == ".jsonl.gz"
    assert kind_of(Path("a.b.parquet")) == ".parquet"
    for name in ("a.parquet.gz", "a.gz", "a", "someone/set", "csv", ".csv", "a.txt", "a.tsv"):
        assert kind_of(name) is None, name


def test_keys_of_objects_are_columns(tmp_path: Path) -> None:
    objects = [{"text": "a", "scores": {"toxicity": 0.1}}, None, {"text": "c"}]
    rows = [{"prompt": cell, "n": n, "x.y": n} for n, cell in enumerate(objects)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        frame = read_frame(tmp_path / name, "key")
        texts, scores = column_of(frame, "prompt.text"), column_of(frame, "prompt.scores.toxicity")
        assert texts is not None
        assert scores is not None
        assert texts.tolist() == ["a", None, "c"]
        assert texts.name == "prompt.text"
        assert scores.tolist() == [0.1, None, None]
        assert list(column_of(frame, "x.y")) == [0, 1, 2]
        for absent in ("prompt.words", "prompt.text.words", "n.text", "text", "prompt."):
            assert column_of(frame, absent) is None, absent
        points = pd.DataFrame({"a.b": [{"c.d": 1, "e": {"f": 2}}]})
        assert list(column_of(points, "a.b.c.d")) == [1]
        assert list(column_of(points, "a.b.e.f")) == [2]
        assert named_columns(frame) == "'prompt.text', 'prompt.scores', 'n', 'x.y'"


LEGITIMATE = [
    'text,toxic\n"a list:\nbread, butter\nthat is all",1\nb,0\n',  # another number of fields, or
    'text,toxic\n"in May,\nin May, 1\nor so",1\nb,0\n',  # no label
    'text,n\n"May, 2005\nof",1.5\nb,2.5\n',  # a blank before it
    'text\n"a\nb\nc"\nd\n',  # one column: any line is like a row
    'text,toxic\n"""1"" said he, ""1"",\nand",1\nb,0\n',
    'text,label\na,yes\nb,"yes\nno"\n',  # a line that is one field
    'p,base,aligned\np,b,"The first, the second:\n1,2,3\n4,5,6"\nq,c,d\n',  # not the first line
    'p,base,aligned\np,b,"As a table:\n1,2,3\n4,5,6\nThat is all"\nq,c,d\n',  # not the last
    'p,base,aligned\np,"one, two\nthree, four, five\nsix, seven",a\nq,c,d\n',  # blanks
    'prompt,answer\np,"It costs\n1,000"\nq,b\n',  # one line alone
]


@pytest.mark.parametrize("content", LEGITIMATE)
def test_lines_within_fields_that_are_no_rows(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    assert len(read_frame(path, "key")) == 2


@pytest.mark.parametrize(
    ("rows", "first"),
    [
        (["a,1", '"b,0', "c,1", 'd",0', "e,1"], "'b,0'"),
        (["a,1", '"b,0', 'c",1', "d,0"], "'b,0'"),
        (['"a,0.25', 'b",0.5', *(f"t{n},{n / 7}" for n in range(30))], "'a,0.25'"),
        (['"a,Not Toxic', 'b",Toxic', "c,Not Toxic", "d,Toxic"], "'a,Not Toxic'"),
    ],
)
def test_rows_that_a_quote_swallows(tmp_path: Path, rows: list[str], first: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text,toxic", *rows]))
    with pytest.raises(UserError, match=f"has a quoted field with . lines like rows, .* {first}"):
        read_frame(path, "key")


@pytest.mark.parametrize(
    ("content", "row", "first"),
    [
        ('toxic,text\n0,"Hello\n1,foo"\n1,bar\n0,baz\n1,qux\n', 0, "1,foo"),
        ('toxic,base,aligned\n0,"b,a\n1,c",d\n1,e,f\n0,g,h\n1,i,j\n', 0, "1,c"),
        ('p,base,aligned\np1,"b1,a1\np2,b2,a2\np3,b3",a3\np4,b4,a4\n', 0, "b1,a1"),
        ('p,base,aligned\np0,b0,a0\np1,b1,"a1\np2,b2,a2"\np3,b3,a3\n', 1, "p2,b2,a2"),
        ('p,base,aligned\n"p1,b1,a1\np2",b2,a2\np3,b3,a3\n', 0, "p1,b1,a1"),
        ('prompt,answer\np1,"a1\np2,a2\np3,a3"\np4,a4\n', 0, "p2,a2"),
    ],
)
def test_rows_that_a_quote_swallows_at_any_place(
    tmp_path: Path, content: str, row: int, first: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=rf"row {row} \(.*lines like rows, the first '{first}'"):
        read_frame(path, "key")


@pytest.mark.skipif(not REAL.exists(), reason="needs the shared answers")
def test_real_answers_are_no_swallowed_rows(tmp_path: Path) -> None:
    for file in sorted(REAL.glob("*.parquet")):
        frame = pd.read_parquet(file)
        frame.to_csv(tmp_path / "a.csv", index=False)
        found = read_frame(tmp_path / "a.csv", "key")
        assert len(found) == len(frame)


SHIFTED = b"text,reply,toxic\nyou,go away,1,0,\nnice,thanks,0\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
BAD: list[tuple[str, bytes, str]] = [
    ("a.csv", b"", "is empty"),
    ("a.csv", b" \n\n", "is empty"),
    ("a.jsonl", BOM, "is empty"),
    ("a.json", b"[]", "is empty"),
    ("a.csv.gz", gzip.compress(b"", mtime=0), "is empty"),  # a time of day would be in its name
    ("a.txt", b"text", r"is not a \.parquet, \.csv, \.json or \.jsonl file .* nor a folder"),
    ("a.csv", SHIFTED, r"row 0 \(line 2\) has 5 fields, the header has 3, .* last field is ''"),
    ("a.csv", b"a,b\n1,2\n\n3\n", r"row 1 \(line 4\) has 1 fields, the header has 2"),
    ("a.csv", b'a,b\n"x\ny",2\n3,4,5\n', r"row 1 \(line 4\) has 3 fields"),
    ("a.csv", b'a,b\n"say \\"no\\" now",1\n', r"row 0 \(line 2\): .* not with a backslash"),
    ("a.csv", b'a,b\n1,2\n"open,1\n', r"row 1 \(line 3\): .*double"),
    ("a.csv", b'a, b\n1, "x"\n2, "y"\n3, z\n', "column ' b' has blanks before its quotes, as in"),
    ("a.csv", b"a,b,a\n1,2,3\n", "the header has 'a' twice"),
    ("a.csv", b"text\n\xff\xfe\n", "not UTF-8 at byte 5"),
    ("a.csv", "text\na\n".encode("utf-16"), "not UTF-8 at byte 0"),
    ("a.csv.gz", b"text\na\n", r"cannot be read as \.csv\.gz"),
    (
        "a.csv.gz",
        gzip.compress(b"text\n" + b"a\n" * 99, mtime=0)[:-9],
        r"cannot be read as \.csv\.gz",
    ),
    ("a.jsonl", b'{"a": 1}\n\n{"a": 2\n', r"row 1 \(line 3\) is not a JSON object: .* one object"),
    ("a.jsonl", b'{"a": 1}\n[1]\n', r"row 1 is \[1\], not an object"),
    ("a.json", b'[{"a": 1}, 2]', "row 1 is 2, not an object"),
    ("a.json", b'[{"a": 1}, ', r"cannot be read as \.json"),
    ("a.json", b'{\n"a": 1\n}', "it is one object with the keys 'a': write one array of objects"),
    ("a.json", b'{\n"a": 1\n', r"row 0 \(line 1\) is not a JSON object"),
    ("a.json", b'{"data": [{"a": 1}, {"a": 2}], "n": 2}', "one object with the keys 'data', 'n'"),
    ("a.json", b'{"a": {"0": 1, "1": 2}, "b": {"0": 1, "1": 2}}', "one object with the keys"),
    ("a.json", b'{"a": ["x", "y"], "b": [1, 0]}', "one object with the keys 'a', 'b'"),
    ("a.csv", POINTER, r"it is Git LFS's pointer to the file: run `git lfs pull`"),
    ("a.jsonl", POINTER, "Git LFS"),
    ("a.parquet", POINTER, "Git LFS"),
    ("a.jsonl", b'{"a": 1, "a": 2}\n', r"row 0 \(line 1\): the key 'a' is there twice"),
    ("a.json", b'[{"a": {"b": 1, "b": 1}}]', "the key 'b' is there twice"),
    ("a.jsonl", b'{"a": ' + b"[" * 10**5 + b"\n", r"cannot be read as \.jsonl"),
    ("a.parquet", b"no parquet", r"cannot be read as \.parquet"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_frame(path, "some.key")
    assert str(caught.value).startswith(f"some.key: {path} ")
    assert "\n" not in str(caught.value)


def test_bad_folders_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"key: .*none\.csv does not exist"):
        read_frame(tmp_path / "none.csv", "key")
    with pytest.raises(UserError, match="is a folder without"):
        read_frame(tmp_path, "key")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    pd.DataFrame({"b": [1]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b\.parquet has the columns 'b', but a\.parquet .* 'a'"):
        read_frame(tmp_path, "key")
    (tmp_path / "b.parquet").rename(tmp_path / "b\n.parquet")
    with pytest.raises(UserError, match=r"^key: '.*b\\n\.parquet' has the columns 'b'"):
        read_frame(tmp_path, "key")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b.csv", r"has b\.csv beside a\.parquet, which would not be read"),
        ("folder", "has folder/ beside"),
        ("folder.parquet", r"has folder\.parquet/ beside"),
        ("linked", "has linked/ beside"),
        ("linked.parquet", r"has linked\.parquet/ beside"),
        ("dangling.parquet", r"has dangling\.parquet beside"),
    ],
)
def test_what_in_a_folder_would_go_unread(tmp_path: Path, name: str, message: str) -> None:
    folder, other = tmp_path / "data", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "a.parquet")
    (folder / "a.parquet").symlink_to(tmp_path / "a.parquet")
    assert len(read_frame(folder, "key")) == 1
    if name.startswith("linked"):
        (folder / name).symlink_to(other)
    elif name.startswith("dangling"):
        (folder / name).symlink_to("nowhere")
    elif name.startswith("folder"):
        (folder / name).mkdir()
    else:
        (folder / name).write_text("a\n1\n")
    with pytest.raises(UserError, match=message):
        read_frame(folder, "key")


def test_columns_twice_in_parquet(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="a column is there twice among 'a', 'a'"):
        read_frame(tmp_path / "a.parquet", "key")
