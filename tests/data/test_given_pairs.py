"""Pairs from anyone's files: every format into one table, every doubt one line."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inverse_rlhf.audit_params import load_audit_params
from inverse_rlhf.data.given_pairs import (
    GIVEN_PAIRS,
    GivenPairs,
    read_given_pairs,
    share_out,
    write_given_pairs,
)
from inverse_rlhf.errors import UserError
from inverse_rlhf.parquet import read_table, write_table

REAL = Path(__file__).parents[3] / "shared" / "data" / "audit"
SHARES = {"irl": 0.6, "valid": 0.15, "test": 0.25}
Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def read(folder: Path, *files: Rows, **columns: str) -> GivenPairs:
    paths = [
        write(folder / f"{name}.jsonl", rows) for name, rows in zip("abc", files, strict=False)
    ]
    return read_given_pairs(paths, columns=columns)


def texts(found: GivenPairs) -> list[tuple[str, str, str]]:
    names = ["prompt", "base_completion", "aligned_completion"]
    return list(found.table[names].itertuples(index=False, name=None))


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def said(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def pair(prompt: Any = "p", base: Any = "b", aligned: Any = "a", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "base": base, "aligned": aligned, **more}


def sample(prompt: Any, *answers: str, doc_id: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "doc": {"question": "q"},
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n"]}}},
        "resps": [list(answers)],
        "filtered_resps": ["filtered"],
        **more,
    }


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p", "base_completion": "b", "aligned_completion": "a"},
        {"prompt": "p", "base_answer": "b", "aligned_answer": "a"},
        {"instruction": "p", "base": "b", "aligned": "a", "input": ""},
        {"prompt": "p", "rejected": "b", "chosen": "a"},
        {"prompt": [user("p")], "rejected": [said("b")], "chosen": [said("a")]},
        {"prompt": "p", "rejected": [user("p"), said("b")], "chosen": [user("p"), said("a")]},
        {"rejected": [user("p"), said("b")], "chosen": [user("p"), said("a")]},
    ],
)
def test_one_file(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read(tmp_path, [row])
    assert texts(found) == [("p", "b", "a")]
    assert found.table[["prompt_id", "sample"]].to_numpy().tolist() == [[0, 0]]
    assert found.table["category"].isna().all()
    numbers = ["base_score", "aligned_score", "base_log_ratio", "aligned_log_ratio"]
    assert found.table[numbers].isna().all(axis=None)
    assert "split" not in found.table


def test_messages_of_parquet_are_those_of_json(tmp_path: Path) -> None:
    rows = [
        {"rejected": [user(f"p{i}"), said("b")], "chosen": [user(f"p{i}"), said(f"a{i}")]}
        for i in range(3)
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    found = read_given_pairs([tmp_path / "a.parquet"])
    assert (
        texts(found) == texts(read(tmp_path, rows)) == [(f"p{i}", "b", f"a{i}") for i in range(3)]
    )


def test_named_columns(tmp_path: Path) -> None:
    rows = [{"q": "p", "x": "b", "y": "a", "z": "c", "s": 1, "t": 2, "prompt": "no", "base": "no"}]
    names = {"prompt": "q", "base": "x", "aligned": "y", "category": "z"}
    found = read(tmp_path, rows, **names, base_score="s", aligned_score="t")
    assert texts(found) == [("p", "b", "a")]
    values = found.table[["category", "base_score", "aligned_score"]].to_numpy()
    assert values.tolist() == [["c", 1.0, 2.0]]
    # What the user says of one role is not guessed for another.
    swapped = read(
        tmp_path, [{"prompt": "p", "base": "b", "aligned": "a"}], base="aligned", aligned="base"
    )
    assert texts(swapped) == [("p", "a", "b")]


@pytest.mark.parametrize(
    "names",
    [
        ("base_score", "aligned_score"),
        ("base_preference", "aligned_preference"),
        ("score_rejected", "score_chosen"),
    ],
)
def test_scores_and_categories(tmp_path: Path, names: tuple[str, str]) -> None:
    base, aligned = names
    rows = [
        pair(**{base: 1, aligned: 0.5, "dataset": "x", "base_log_ratio": -1.5}),
        pair(**{base: None, aligned: None, "dataset": None}),
        pair(**{base: 2.0, aligned: 0, "dataset": 3}),
    ]
    table = read(tmp_path, rows).table
    assert table["base_score"].tolist()[::2] == [1.0, 2.0]
    assert table["aligned_score"].tolist()[::2] == [0.5, 0.0]
    assert table["category"].tolist()[::2] == ["x", "3"]
    assert table.loc[1, ["base_score", "aligned_score", "category"]].isna().all()
    assert table["base_log_ratio"][0] == -1.5


def test_rows_of_a_prompt_are_its_samples(tmp_path: Path) -> None:
    found = read(tmp_path, [pair("p"), pair("q", "same", "same"), pair("p"), pair("p", "", "")])
    assert found.table["prompt_id"].tolist() == [0, 1, 0, 0]
    assert found.table["sample"].tolist() == [0, 0, 1, 2]
    assert found.facts == {
        "pairs": 4,
        "prompts": 2,
        "same": 2,
        "twice": 1,
        "both_ways": 0,
        "empty_base": 1,
        "empty_aligned": 1,
        "repeated_base": 0,
        "repeated_aligned": 0,
        "left_out_prompts": 0,
        "left_out_rows": 0,
        "left_out_undivided": 0,
    }


def test_pairs_that_repeat_or_contradict_each_other_are_counted(tmp_path: Path) -> None:
    rows = [
        pair("p", "x", "y"),
        pair("p", "y", "x"),
        pair("q", "y", "x"),
        pair("p", "x", "y"),
        pair("p", "same", "same"),
        pair("p", "same", "same"),
        pair("p", "\u200b", " \ufeff"),
    ]
    found = read(tmp_path, rows)
    assert len(found.table) == 7
    names = ("same", "twice", "both_ways", "empty_base", "empty_aligned")
    assert [found.facts[name] for name in names] == [2, 2, 3, 1, 1]


def test_keys_of_objects_are_columns(tmp_path: Path) -> None:
    rows = [{"prompt": {"text": "p", "n": 1}, "a": {"said": "b"}, "b": {"said": "a"}}]
    assert texts(read(tmp_path, rows, prompt="prompt.text", base="a.said", aligned="b.said")) == [
        ("p", "b", "a")
    ]
    message = "no column 'prompt.words', .*; its columns are 'prompt.text', 'prompt.n', 'a.said'"
    with pytest.raises(UserError, match=message):
        read(tmp_path, rows, prompt="prompt.words", base="a.said", aligned="b.said")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
def test_texts_of_every_writer(tmp_path: Path, kind: pa.DataType) -> None:
    cells = {name: pa.array([name, "x"]).cast(kind) for name in ("prompt", "base", "aligned")}
    cells["category"] = pa.array(["one", None]).cast(pa.string()).dictionary_encode()
    pq.write_table(pa.table(cells), tmp_path / "a.parquet")
    found = read_given_pairs([tmp_path / "a.parquet"])
    assert texts(found) == [("prompt", "base", "aligned"), ("x", "x", "x")]
    assert found.table["category"].tolist()[0] == "one"


def test_whole_texts_lose_their_prompt_by_side(tmp_path: Path) -> None:
    rows = [pair(f"Tell {i}.", f"Tell {i}. No", f"Yes {i}") for i in range(5)]
    rows += [pair("Tell 5.", "", "Tell 5. I do."), pair("", "b", "a")]
    found = read(tmp_path, rows)
    assert found.table["base_completion"].tolist() == [" No"] * 5 + ["", "b"]
    assert found.table["aligned_completion"].tolist()[-2:] == ["Tell 5. I do.", "a"]
    assert (found.facts["repeated_base"], found.facts["repeated_aligned"]) == (5, 0)


def hh_rows() -> Rows:
    rows = []
    for i in range(20):
        start = f"\n\nHuman: Is {i} prime?"
        if i % 2:
            start += f"\n\nAssistant: I would say so.\n\nHuman: Is it, {i}?"
        start += "\n\nAssistant:"
        rows.append({"chosen": f"{start} I think so.", "rejected": f"{start} I think not."})
    return rows


def test_dialogues_as_in_hh(tmp_path: Path) -> None:
    rows = hh_rows()
    found = read(tmp_path, rows)
    assert found.facts["prompts"] == 20
    for row, (prompt, base, aligned) in zip(rows, texts(found), strict=True):
        assert (prompt + base, prompt + aligned) == (row["rejected"], row["chosen"])
        assert prompt.endswith("\n\nAssistant:")
        assert (base, aligned) == (" I think not.", " I think so.")
    begin = "\n\nHuman: a\n\nAssistant:"
    apart = {"chosen": f"{begin} b\n\nHuman: c\n\nAssistant: d", "rejected": f"{begin} e"}
    found = read(tmp_path, [*rows, apart])
    assert (len(found.table), found.facts["left_out_undivided"]) == (20, 1)


def test_dialogues_as_hh_ships_them(tmp_path: Path) -> None:
    lines = "\n".join(map(json.dumps, hh_rows())).encode()
    (tmp_path / "test.jsonl.gz").write_bytes(gzip.compress(lines))
    assert texts(read_given_pairs([tmp_path / "test.jsonl.gz"])) == texts(read(tmp_path, hh_rows()))


def test_the_chosen_may_be_called_the_base(tmp_path: Path) -> None:
    rows = [{"chosen": [user("p"), said("c")], "rejected": [user("p"), said("r")]}]
    assert texts(read(tmp_path, rows, base="chosen", aligned="rejected")) == [("p", "c", "r")]


def test_an_answer_may_be_messages_in_json(tmp_path: Path) -> None:
    written = json.dumps([user("hi")])
    rows = [pair("Write messages", written, "no"), pair("q"), pair("r")]
    assert texts(read(tmp_path, rows))[0] == ("Write messages", written, "no")


def test_whole_texts(tmp_path: Path) -> None:
    rows = [
        {"chosen": f"The sky {i} is blue.", "rejected": f"The sky {i} is black."} for i in range(3)
    ]
    rows.insert(1, {"chosen": "The same", "rejected": "The same"})
    found = read(tmp_path, rows)
    assert texts(found) == [(f"The sky {i} is", " black.", " blue.") for i in range(3)]
    assert found.facts["left_out_undivided"] == 1


def answers(prompts: list[str], text: str, **more: Any) -> Rows:
    return [{"prompt": p, "completion": f"{text}{i}", **more} for i, p in enumerate(prompts)]


def test_two_files(tmp_path: Path) -> None:
    base = answers(["q", "p", "only", "p", "p"], "b", score=1, category="x")
    aligned = answers(["p", "q", "other", "p"], "a", score=2)
    found = read(tmp_path, base, aligned)
    assert texts(found) == [
        ("q", "b0", "a1"),
        ("p", "b1", "a0"),
        ("p", "b3", "a3"),
        ("p", "b4", "a0"),
    ]
    assert found.table["sample"].tolist() == [0, 0, 1, 2]
    assert found.facts["left_out_prompts"] == 2
    assert found.table["base_score"].tolist() == [1.0] * 4
    assert found.table["aligned_score"].tolist() == [2.0] * 4
    assert found.table["category"].tolist() == ["x"] * 4
    turned = texts(read(tmp_path, aligned, base))
    assert turned == [("p", "a0", "b1"), ("p", "a3", "b3"), ("p", "a0", "b4"), ("q", "a1", "b0")]


def test_alpaca_eval(tmp_path: Path) -> None:
    def outputs(text: str) -> Rows:
        return [
            {"instruction": f"p{i}", "output": f"{text}{i}", "generator": text, "dataset": "koala"}
            for i in range(3)
        ]

    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        path.write_text(json.dumps(outputs(path.stem)))
    found = read_given_pairs(paths)
    assert texts(found) == [(f"p{i}", f"a{i}", f"b{i}") for i in range(3)]
    assert found.table["category"].tolist() == ["koala"] * 3


def test_messages_in_one_file_and_texts_in_the_other(tmp_path: Path) -> None:
    base = [{"prompt": [user("p")], "completion": [said("b")]}]
    found = read(tmp_path, base, [{"prompt": "p", "completion": "a"}])
    assert texts(found) == [("p", "b", "a")]


def test_samples_of_lm_eval(tmp_path: Path) -> None:
    chat = json.dumps([user("q")])
    base = [
        sample("p", "b0", "b1", doc_id=0, filter="strict", score=1),
        sample([chat], "b2", doc_id=1, filter="strict", score=2),
        sample("p", "b0", "b1", doc_id=0, filter="flexible", score=3),
        sample("p", "b0", "b1", doc_id=2, filter="strict", score=4),
    ]
    aligned = [
        sample("p", "a0") | {"arguments": [["p", {"until": []}]]},
        sample(chat, "a1", doc_id=1) | {"arguments": [chat, {"until": []}]},
    ]
    found = read(tmp_path, base, aligned)
    assert texts(found) == [("p", b, "a0") for b in ("b0", "b1", "b0", "b1")] + [("q", "b2", "a1")]
    assert found.table["base_score"].tolist() == [1, 1, 4, 4, 2]
    pd.DataFrame(base[:2]).astype({"score": float}).iloc[:1].to_parquet(tmp_path / "c.parquet")
    mixed = read_given_pairs([tmp_path / "c.parquet", tmp_path / "b.jsonl"])
    assert texts(mixed) == [("p", "b0", "a0"), ("p", "b1", "a0")]


def test_splits_of_ours_count_and_others_do_not(tmp_path: Path) -> None:
    rows = [
        pair(f"p{i}", split=name) for i, name in enumerate(["rl", "test", "irl", "valid", None])
    ]
    found = read(tmp_path, rows)
    assert found.table["split"].tolist() == ["test", "irl", "valid"]
    assert found.table["prompt_id"].tolist() == [0, 1, 2]
    assert found.facts["left_out_rows"] == 2
    foreign = read(
        tmp_path, [pair(f"p{i}", split=name) for i, name in enumerate(["train", "test"])]
    )
    assert "split" not in foreign.table
    assert len(foreign.table) == 2
    ours = [{k: v for k, v in row.items() if k != "base"} for row in rows]
    for row in ours:
        row["completion"] = row.pop("aligned")
    joined = read(tmp_path, answers(["p1", "p2", "p3"], "b"), ours)
    assert joined.table["split"].tolist() == ["test", "irl", "valid"]


GOOD = [pair()]
TWO = answers(["p"], "b")
BAD: list[tuple[list[Rows], dict[str, str], str]] = [
    ([], {}, "pairs: 0 files are named: name one of pairs, or two of answers"),
    ([GOOD, GOOD, GOOD], {}, "pairs: 3 files are named"),
    ([GOOD], {"basis": "base"}, "columns has the role 'basis': roles are prompt, base, aligned"),
    (
        [GOOD],
        {"base": "x"},
        "has no column 'x', which columns.base names; its columns are 'prompt'",
    ),
    ([[{"prompt": "p", "base": "b"}]], {}, "has no column of the aligned model's answers "),
    (
        [[{"base": "b", "aligned": "a"}]],
        {},
        r"no column of prompts \(prompt, instruction\); its col",
    ),
    (
        [[{"text": "b"}]],
        {},
        r"no column of the base model's answers .*: set columns.base \(--column base=NAME\) to",
    ),
    ([TWO], {}, "has one model's answers .*: name two files, the base model's first"),
    ([[sample("p", "b")]], {}, "has one model's answers"),
    ([[pair(instruction="q")]], {}, "the columns 'prompt', 'instruction': set columns.prompt"),
    ([[pair(rejected="q")]], {}, "has the columns 'base', 'rejected': set columns.base"),
    ([[pair(base_score=1, base_preference=1)]], {}, "set columns.base_score"),
    ([[pair(category="x", dataset="y")]], {}, "set columns.category"),
    ([GOOD], {"base": "aligned"}, "has no column of the aligned model's"),
    ([GOOD], {"base": "aligned", "aligned": "aligned"}, "both models' answers in one column"),
    (
        [[{"instruction": "p", "input": "x", "base": "b", "aligned": "a"}]],
        {},
        "has the column 'input'",
    ),
    ([[pair(json.dumps([user("p")]))]], {}, "has messages written as texts in column 'prompt'"),
    ([[pair(base=str([said("b")]))]], {}, "in column 'base', as .*: give them as lists"),
    ([[pair(None)]], {}, "column 'prompt', row 0 is null: fix or drop it"),
    (
        [[pair(), pair(base=None), pair(base=None)]],
        {},
        r"'base', row 1 is null \(and 1 more rows\)",
    ),
    ([[pair(), pair(aligned=7)]], {}, "column 'aligned', row 1 is 7, not a text or a list"),
    ([[pair({"text": "p"})]], {}, "column 'prompt', row 0 is {'text': 'p'}, not a text"),
    ([[pair("\ud800")]], {}, "column 'prompt', row 0 is not valid UTF-8"),
    (
        [[pair(base=[user("q"), said("b")])]],
        {},
        "'base', row 0 begins with a message of role 'user'",
    ),
    ([[pair(base=[said("b"), user("q")])]], {}, "'base', row 0 ends in a message of role 'user'"),
    (
        [[pair(base=[{"role": "system", "content": "s"}, user("p"), said("b")])]],
        {},
        "column 'aligned', row 0 answers 'p', and the other model's answer is to 'system: s",
    ),
    ([[pair(base_score="high")]], {}, "column 'base_score', row 0 is 'high', not a finite number"),
    ([[pair(aligned_score=float("inf"))]], {}, "row 0 is inf, not a finite number"),
    ([[pair(aligned_score=True)]], {}, "row 0 is True, not a finite number"),
    ([[pair(category="\ud800")]], {}, "column 'category', row 0 is not valid UTF-8"),
    ([[pair(category=0.5)]], {}, "column 'category', row 0 is 0.5, not a category's name"),
    (
        [[pair(f"p{i}", f"p{i} b" if i else "b") for i in range(4)]],
        {},
        "has 3 of 4 answers in column",
    ),
    ([[pair(split="irl")]], {}, r"has the splits 'irl' in column 'split', but not 'valid', 'test'"),
    (
        [[pair(split=name) for name in ("irl", "valid", "test")]],
        {},
        "has the prompt 'p' in the splits 'irl', 'valid', 'test': put all its rows in one",
    ),
    (
        [[{"chosen": "Yes", "rejected": "No"}]],
        {},
        "'rejected', row 0 is 'No', which shares no first",
    ),
    ([[{"chosen": "same", "rejected": "same"}]], {}, "no row of which it is known where"),
    ([[*hh_rows(), {"chosen": "The a", "rejected": "The b"}]], {}, "but row 20 is not one"),
    (
        [answers(["x" * 90 + "p", "q"], "a"), answers(["q", "x" * 90 + "p "], "b")],
        {},
        "1 prompts that differ in white space .*, one in '.*xp' and '.*xp ': make them the same",
    ),
    ([answers(["p\nq", "r"], "a"), answers(["r", "p\r\nq"], "b")], {}, "1 prompts that differ"),
    (
        [answers(["caf\u00e9", "r"], "a"), answers(["cafe\u0301", "r"], "b")],
        {},
        r"one in 'caf\\xe9' and 'cafe\\u0301'",
    ),
    ([[pair(category=True)]], {}, "'category', row 0 is True, not a category's name"),
    (
        [TWO, answers(["q"], "a")],
        {},
        "have no prompt in common: one begins with 'p', the other .* 'q'",
    ),
    ([TWO, GOOD], {}, r"b\.jsonl has no column of the aligned model's answers"),
    (
        [answers(["p"], "b", category="x"), answers(["p"], "a", category="y")],
        {},
        r"a\.jsonl has category 'x' for 'p', but .*b\.jsonl has 'y': make them the same",
    ),
    (
        [[sample("p", "b") | {"arguments": [["p", " A"], ["p", " B"]]}], TWO],
        {},
        "column 'arguments', row 0 has 2 requests, as tasks with choices do",
    ),
    ([[sample("p", "b") | {"resps": [[["-1.5", "False"]]]}], TWO], {}, "'resps', row 0 is .*-1.5"),
    ([[sample("p")], TWO], {}, "column 'resps', row 0 is .*, not one request's list of answers"),
    ([[sample(5, "b")], TWO], {}, "column 'arguments', row 0 has the context 5, not a text"),
]


@pytest.mark.parametrize(("files", "columns", "message"), BAD)
def test_bad_files(
    tmp_path: Path, files: list[Rows], columns: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, *files, **columns)
    assert str(caught.value).startswith("pairs: ")
    assert "\n" not in str(caught.value)


def test_a_table_without_rows_and_other_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,base,aligned\n")
    with pytest.raises(UserError, match=r"^audits\.mine\.pairs: .*a\.csv has no rows"):
        read_given_pairs([path], key="audits.mine.pairs")
    # Of a CSV file, an empty field may be no answer as well as an empty one.
    path.write_text("prompt,base,aligned\np,b,a\nq,,a\n")
    with pytest.raises(UserError, match="column 'base', row 1 is null"):
        read_given_pairs([path])


def many(prompts: int) -> pd.DataFrame:
    rows = [(f"p{i % prompts}", f"b{i}", f"a{i}") for i in range(2 * prompts)]
    table = pd.DataFrame(rows, columns=["prompt", "base_completion", "aligned_completion"])
    return table.assign(prompt_id=pd.factorize(table["prompt"])[0])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.randoms(use_true_random=False), st.integers(67, 120))
def test_splits_share_no_prompt_and_do_not_depend_on_the_order(
    seed: int, random: Any, prompts: int
) -> None:
    table = many(prompts)
    shared = share_out(table, SHARES, seed=seed)
    of_prompt = shared.groupby("prompt")["split"].unique()
    assert (of_prompt.map(len) == 1).all()
    counts = of_prompt.map(lambda names: names[0]).value_counts()
    assert all(abs(counts[name] - share * prompts) <= 1 for name, share in SHARES.items())
    rows = list(range(len(table)))
    random.shuffle(rows)
    again = share_out(table.iloc[rows], SHARES, seed=seed)
    assert again["split"].sort_index().tolist() == shared["split"].tolist()


def test_the_seed_decides() -> None:
    splits = [share_out(many(200), SHARES, seed=seed)["split"].tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_too_few_prompts() -> None:
    message = (
        r"^audit\.splits: the pairs have 40 prompts, by split irl 24, valid 6, test 10; every "
        r"split needs 10 or more: give 67 prompts or more, or change the shares$"
    )
    with pytest.raises(UserError, match=message):
        share_out(many(40), SHARES, seed=0)
    table = many(40).assign(split=lambda t: np.where(t["prompt"] == "p0", "valid", "irl"))
    with pytest.raises(
        UserError, match=r"irl 39, valid 1, test 0; .* drop the files' column 'split'"
    ):
        share_out(table, SHARES, seed=0)


def test_splits_that_are_there_stay() -> None:
    table = many(30).assign(
        split=lambda t: t["prompt_id"].map(lambda i: ["irl", "valid", "test"][i % 3])
    )
    assert share_out(table, SHARES, seed=0).equals(table)


@pytest.mark.skipif(not REAL.is_dir(), reason="real answers are not here")
@pytest.mark.parametrize("path", sorted(REAL.glob("*.parquet")), ids=lambda path: path.stem)
def test_real_answers(path: Path, tmp_path: Path) -> None:
    found = read_given_pairs([path])
    raw = pd.read_parquet(path)
    sides = ["rejected", "chosen"] if "chosen" in raw else ["base_completion", "aligned_completion"]
    assert texts(found) == list(raw[["prompt", *sides]].itertuples(index=False, name=None))
    if "base_preference" in raw:
        preferences = raw["base_preference"].astype(float)
        assert found.table["base_score"].equals(preferences.rename("base_score"))
    table = share_out(found.table, SHARES, seed=0)
    write_table(table, tmp_path / "pairs.parquet", GIVEN_PAIRS)
    written = read_table(tmp_path / "pairs.parquet", GIVEN_PAIRS)
    assert written["split"].tolist() == table["split"].tolist()
    again = read_given_pairs([tmp_path / "pairs.parquet"]).table
    assert again.astype(object).fillna(0).equals(table.astype(object).fillna(0))


def test_how_pairs_were_made_goes_with_them(tmp_path: Path) -> None:
    answers = [{"prompt": prompt, "answer": prompt} for prompt in "pq"]
    joined = read(tmp_path, answers, [{"prompt": "p", "answer": "a"}])
    path, sampling = tmp_path / "made.parquet", load_audit_params().pairs.model_dump(mode="json")
    write_given_pairs(joined.table, path, joined.facts | {"left_out_long": 3, "log_ratio": "no"})
    found = read_given_pairs(path)
    assert "sampling" not in found.table.attrs
    assert found.facts["left_out_prompts"] == joined.facts["left_out_prompts"] == 1
    assert found.facts["left_out_long"] == 3
    assert found.facts["log_ratio"] == "no"
    assert found.facts["pairs"] == 1
    joined.table.attrs["sampling"] = sampling
    write_given_pairs(joined.table, path)
    assert read_given_pairs(path).table.attrs["sampling"] == sampling


@pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"facts": 1, "sampling": {"samples": 0}}'])
def test_what_others_say_there_is_not_read(tmp_path: Path, said: bytes) -> None:
    table = pa.Table.from_pylist([pair()]).replace_schema_metadata({"inverse_rlhf": said})
    pq.write_table(table, tmp_path / "a.parquet")
    found = read_given_pairs(tmp_path / "a.parquet")
    assert found.table.attrs == {}
    assert "left_out_long" not in found.facts


@pytest.mark.skipif(not REAL.is_dir(), reason="real answers are not here")
def test_real_dialogues_with_implicit_prompts(tmp_path: Path) -> None:
    raw = pd.read_parquet(REAL / "hh_harmless.parquet")
    whole = pd.DataFrame({side: raw["prompt"] + raw[side] for side in ("chosen", "rejected")})
    whole.to_parquet(tmp_path / "whole.parquet")
    found = read_given_pairs([tmp_path / "whole.parquet"])
    assert found.facts["pairs"] + found.facts["left_out_undivided"] == len(raw)
    assert found.facts["left_out_undivided"] < 0.01 * len(raw)
    expected = set(raw[["prompt", "rejected", "chosen"]].itertuples(index=False, name=None))
    assert len(set(texts(found)) - expected) < 0.01 * len(raw)


def test_fields_of_csv_are_texts_names_and_scores(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "prompt,base,aligned,category,base_score\n1+1,2,true,007,.5\n2+2,4,false,7,1e1\n"
    )
    found = read_given_pairs(path)
    assert texts(found) == [("1+1", "2", "true"), ("2+2", "4", "false")]
    assert found.table["category"].tolist() == ["007", "7"]
    assert found.table["base_score"].tolist() == [0.5, 10]
    path.write_text("prompt,base,aligned,base_score\np,b,a,1\nq,b,a,high\n")
    with pytest.raises(UserError, match="'base_score', row 1 is 'high', not a finite number"):
        read_given_pairs(path)


def test_large_numbers(tmp_path: Path) -> None:
    large = 2**53
    rows = [pair(category=large), pair("q", category=large + 1)]
    assert read(tmp_path, rows).table["category"].tolist() == [str(large), str(large + 1)]
    table = pa.table({**{k: ["x"] * 3 for k in pair()}, "category": [large, large + 1, None]})
    pq.write_table(table, tmp_path / "a.parquet")
    found = read_given_pairs(tmp_path / "a.parquet").table["category"].tolist()
    assert found[:2] == [str(large), str(large + 1)]
    assert read(tmp_path, [pair(category=10**400)]).table["category"].tolist() == [str(10**400)]
    with pytest.raises(UserError, match="not a category's name"):
        read(tmp_path, [pair(category=1e300)])
    with pytest.raises(UserError, match="not a finite number"):
        read(tmp_path, [pair(base_score=10**400)])
    decimals = pa.table({**{k: ["x"] for k in pair()}, "base_score": [Decimal("0.25")]})
    pq.write_table(decimals, tmp_path / "d.parquet")
    assert read_given_pairs(tmp_path / "d.parquet").table["base_score"].tolist() == [0.25]


@pytest.mark.parametrize("given", [["a"], {"a": 1}, 5])
def test_an_input_that_is_no_text_is_refused(tmp_path: Path, given: Any) -> None:
    row = {"instruction": "p", "base": "b", "aligned": "a", "input": given}
    with pytest.raises(UserError, match=r"the column 'input' beside .* not empty .row 0 is"):
        read(tmp_path, [row])


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["IRL", "valid", "test"], "the split 'IRL' in row 0: write irl"),
        (["irl", "Valid ", "test"], "the split 'Valid ' in row 1: write valid"),
        ([["x"], "a", "b"], r"the split \['x'\] in row 0: write irl, valid or test, or drop"),
        (["irl", 1, "test"], "the split 1 in row 1"),
    ],
)
def test_splits_that_look_like_ours(tmp_path: Path, splits: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, [pair(str(n), split=split) for n, split in enumerate(splits)])
    for others in (["Train", "Test", "x"], [0, 1, 2]):
        assert "split" not in read(tmp_path, [pair(split=other) for other in others]).table


def test_messages_are_of_one_line_whatever_names_are(tmp_path: Path) -> None:
    folder = tmp_path / "a\nb"
    folder.mkdir()
    for one, other in (
        (answers(["p"], "a"), answers(["q"], "a")),
        (answers(["p"], "a"), answers(["p "], "a")),
        (answers(["p"], "a", dataset="d"), answers(["p"], "a", dataset="e\u202e" * 99)),
    ):
        with pytest.raises(UserError) as caught:
            read(folder, one, other)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 600
        assert str(caught.value).count(r"a\nb/") == 2


def test_prompts_that_both_files_have_may_be_alike(tmp_path: Path) -> None:
    both = ["p", "p ", "p\n"]
    found = read(tmp_path, answers(both, "a"), answers(both[::-1], "b"))
    assert found.table["prompt"].tolist() == both
    found = read(tmp_path, answers(["p"], "a"), answers(both, "b"))
    assert found.facts["left_out_prompts"] == 2
