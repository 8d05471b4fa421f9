"""Pairs, completions and texts: there and back again, and damaged pairs are one line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.data.tables import (
    PAIRS,
    PROMPTS,
    both_policies,
    completions_of,
    human_rows,
    pair_rows,
    paired,
    read_pairs,
    read_prompts,
    texts_of,
    whole_texts,
)
from inverse_rlhf.errors import UserError
from inverse_rlhf.parquet import write_table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: pairs[pairs["split"] != "valid"], "no pairs in split valid"),
        (lambda pairs: pd.concat([pairs, pairs[1:2]]), "has sample 0 of prompt 1 twice"),
        (lambda pairs: pd.concat([pairs, pairs[:1].assign(sample=1)]), "has 2 samples a prompt"),
        (lambda pairs: pairs.replace({"prompt_id": {2: 999}}), "has prompt 999, which the prom"),
        (lambda pairs: pairs.assign(base_ids=[[1], [], [1]]), "has no base_ids of prompt 1"),
    ],
)
def test_damaged_pairs_are_one_line(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    pairs = pd.DataFrame({"prompt_id": [0, 1, 2], "split": ["irl", "valid", "test"]}).assign(
        prompt="a", sample=0, base_completion=" b", aligned_completion=" c"
    )
    pairs = pairs.assign(
        base_ids=[[1]] * 3, aligned_ids=[[2, 0]] * 3, base_ended=False, aligned_ended=True
    )
    path = tmp_path / "pairs.parquet"
    write_table(pairs, path, PAIRS)
    assert read_pairs(path, pairs)["prompt_id"].tolist() == [0, 1, 2]
    write_table(change(pairs), path, PAIRS)
    with pytest.raises(UserError, match=message):
        read_pairs(path, pairs)


@pytest.fixture
def prompts() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prompt_id": [7, 2, 5, 4],
            "prompt": ["seven", "two", "five", "four"],
            "human_completion": [" h7", " h2", " h5", " h4"],
            "toxic": [0, 1, 1, 0],
            "split": ["irl", "valid", "test", "irl"],
        }
    )


def sampled(prompts: pd.DataFrame, name: str) -> pd.DataFrame:
    """Two completions of every prompt that say whose they are."""
    rows = prompts[["prompt_id"]].merge(pd.DataFrame({"sample": [0, 1]}), how="cross")
    texts = [f" {name} {row.prompt_id} {row.sample}" for row in rows.itertuples()]
    ids = [[len(name), row.prompt_id, row.sample] for row in rows.itertuples()]
    return rows.assign(completion=texts, ids=ids, ended=rows["sample"] == 1)


def test_completions_to_pairs_and_back(prompts: pd.DataFrame, tmp_path: Path) -> None:
    base, aligned = sampled(prompts, "base"), sampled(prompts, "aligned")
    keys = prompts[["prompt_id", "prompt", "split"]]
    pairs = paired(keys, base.sample(frac=1, random_state=0), aligned)
    write_table(pairs, tmp_path / "pairs.parquet", PAIRS)
    read = read_pairs(tmp_path / "pairs.parquet", prompts)
    assert read["prompt_id"].tolist() == prompts["prompt_id"].repeat(2).tolist()
    completions = completions_of(read)
    assert completions["source"].tolist() == ["base"] * 8 + ["aligned"] * 8
    for name, side in (("base", base), ("aligned", aligned)):
        own = completions[completions["source"] == name]
        columns, keys = (
            ["prompt_id", "sample", "completion", "ids", "ended"],
            ["prompt_id", "sample"],
        )
        found = own[columns].sort_values(keys, ignore_index=True)
        expected = side[columns].sort_values(keys, ignore_index=True)
        found["ids"] = found["ids"].map(list)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False)
        assert own["prompt"].tolist() == read["prompt"].tolist()
    assert texts_of(completions) == (completions["prompt"] + completions["completion"]).tolist()


def test_rows_of_a_pair_are_its_completions(prompts: pd.DataFrame) -> None:
    pairs = paired(
        prompts[["prompt_id", "prompt", "split"]],
        sampled(prompts, "base"),
        sampled(prompts, "aligned"),
    )
    completions = completions_of(pairs)
    # With other texts after, between and before them, the rows are still the pairs'.
    halves = [completions[completions["source"] == name] for name in ("base", "aligned")]
    human = human_rows(prompts)
    mixed = [
        completions,
        pd.concat([completions, human]),
        pd.concat([halves[0], human, halves[1]]),
        pd.concat([human, *halves]),
    ]
    for table in mixed:
        rows = pair_rows(table)
        assert rows.shape == (len(pairs), 2)
        found = table["completion"].to_numpy()[rows]
        np.testing.assert_array_equal(found[:, 0], pairs["aligned_completion"])
        np.testing.assert_array_equal(found[:, 1], pairs["base_completion"])
        assert both_policies(table)["completion"].tolist() == completions["completion"].tolist()


def test_a_pair_needs_both_completions_once(prompts: pd.DataFrame) -> None:
    keys, side = prompts[["prompt_id", "prompt", "split"]], sampled(prompts, "base")
    with pytest.raises(pd.errors.MergeError):
        paired(keys, pd.concat([side, side[:1]]), side)
    with pytest.raises(ValueError, match="zip"):
        whole_texts(["a"], ["b", "c"])


def test_prompts_are_read_without_their_labels(prompts: pd.DataFrame, tmp_path: Path) -> None:
    write_table(prompts, tmp_path / "prompts.parquet", PROMPTS)
    read = read_prompts(tmp_path / "prompts.parquet", "valid", "test")
    assert read.columns.tolist() == ["prompt_id", "prompt", "human_completion", "split"]
    assert read["prompt_id"].tolist() == [2, 5]
    human = human_rows(read)
    assert texts_of(human) == ["two h2", "five h5"]
    assert (human["source"] == "human").all()
    assert (human["sample"] == 0).all()
