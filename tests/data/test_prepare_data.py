"""The first stage on files of anyone: what is left out is counted, what remains can be used."""

import copy
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from inverse_rlhf import preset
from inverse_rlhf.data.corpus import generate_comments
from inverse_rlhf.data.tables import COMMENTS, PROMPTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import for_stage, parse_params
from inverse_rlhf.parquet import read_table
from stages.prepare_data import StageParams, main

LINK = "http://example.org/" + "/".join(f"a{n}-x{7 * n % 31}" for n in range(60))
SPLITS = {"rl": 80, "irl": 20, "valid": 20, "test": 20}


def prepared(raw_params: dict[str, Any], frame: pd.DataFrame, **data: Any) -> dict[str, Any]:
    """Run the stage on a table, in the working directory; its facts."""
    frame.to_json("mine.jsonl", orient="records", lines=True)
    content = copy.deepcopy(raw_params)
    mine = {"source": "mine.jsonl", "comments": None, "toxic_share": None, "splits": SPLITS}
    preset.merge(content, {"data": mine | data, "evaluate": {"threshold": "otsu"}})
    main(for_stage(parse_params(content), StageParams))
    facts: dict[str, Any] = json.loads(Path("metrics/prepare_data.json").read_text())
    return facts["prepare_data"]


def test_what_is_left_out(
    raw_params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    good = generate_comments(160, seed=0)
    bad = pd.DataFrame(
        {
            "text": [
                *(f"see {n} {LINK} a page that is there" for n in range(20)),
                *good["text"][:2],
                good["text"][3],
                "\u200b",
                "a\0 b",
            ],
            "toxic": [0, 1] * 10 + (1 - good["toxic"][:2]).tolist() + [good["toxic"][3], 0, 0],
        }
    )
    facts = prepared(raw_params, pd.concat([good, bad]))
    assert facts["comments"] == 178
    assert facts["left_out_contradictory"] == 4
    assert facts["left_out_repeated"] == 1
    assert facts["left_out_invisible"] == 1
    assert facts["left_out_damaged"] == 1
    assert 10 < facts["left_out_long"] <= 20
    prompts = read_table("data/prompts.parquet", PROMPTS)
    assert len(prompts) == sum(SPLITS.values()) - facts["left_out_long"]
    assert prompts["prompt_id"].tolist() == list(range(len(prompts)))
    assert not prompts["prompt"].str.contains("http").any()
    texts = read_table("data/comments.parquet", COMMENTS)["text"]
    assert texts.is_unique
    assert not texts.isin(good["text"][:2]).any()


def test_comments_without_labels(
    raw_params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = copy.deepcopy(raw_params)
    given["true_reward"]["source"] = "./mine"
    facts = prepared(given, generate_comments(160, seed=0)[["text"]], label_column=None)
    assert "toxic_share" not in facts
    assert read_table("data/comments.parquet", COMMENTS)["toxic"].isna().all()
    assert read_table("data/prompts.parquet", PROMPTS)["toxic"].isna().all()


def test_transfer_prompts_that_are_left_out(
    raw_params: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = copy.deepcopy(raw_params)
    given["evaluate"]["transfer_prompts"] = "wide.jsonl"
    texts = ["one", " one", "\u200b", LINK, "two"]
    Path("wide.jsonl").write_text("\n".join(json.dumps({"prompt": text}) for text in texts))
    facts = prepared(given, generate_comments(160, seed=0))
    counts = {
        kind: facts[f"left_out_transfer_{kind}"] for kind in ("repeated", "invisible", "long")
    }
    assert counts == {"repeated": 1, "invisible": 1, "long": 1}
    Path("wide.jsonl").write_text(json.dumps({"prompt": LINK}))
    with pytest.raises(UserError, match="none of the 1 prompts leaves room"):
        prepared(given, generate_comments(160, seed=0))
