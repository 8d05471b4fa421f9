"""From comments to prompts: the sample's size and share, cuts, and splits without overlap."""

from typing import Any

import pandas as pd
import pytest

from inverse_rlhf.data.prompts import sample_comments, split_prompts
from inverse_rlhf.data.sources import read_comments
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Data, Params, Splits

SMALL = Splits(rl=12, irl=10, valid=10, test=10)


def data(params: Params, **update: Any) -> Data:
    return params.data.model_copy(update=update)


def test_splits_share_no_prompt(params: Params) -> None:
    settings = data(
        params,
        comments=3000,
        splits=params.data.splits.model_copy(
            update={"rl": 300, "irl": 200, "valid": 100, "test": 100}
        ),
        prompt_words=3,
    )
    sampled = sample_comments(read_comments(settings, seed=0), settings, seed=0)
    comments, prompts = split_prompts(sampled, settings, seed=0)
    assert prompts["prompt"].is_unique
    assert prompts["split"].value_counts().to_dict() == {
        "rl": 300,
        "irl": 200,
        "valid": 100,
        "test": 100,
    }
    originals = set(comments["text"])
    assert set(prompts["prompt"] + prompts["human_completion"]) <= originals
    held_out = tuple(prompts["prompt"][prompts["split"].isin(["valid", "test"])] + " ")
    assert not comments["text"][comments["split"] == "train"].str.startswith(held_out).any()
    assert comments["split"].isin(["valid", "test"]).sum() >= 200


def test_cut_keeps_white_space(params: Params) -> None:
    frame = pd.DataFrame({"text": [f"a  b\n\nc {n} d" for n in range(10)], "toxic": [0, 1] * 5})
    settings = data(params, comments=None, toxic_share=None, max_words=4, prompt_words=2)
    sampled = sample_comments(frame, settings, seed=0)
    assert sorted(sampled["text"])[0] == "a  b\n\nc 0"


def test_too_few(params: Params) -> None:
    frame = pd.DataFrame({"text": [f"word {n} and more" for n in range(20)], "toxic": [0, 1] * 10})
    with pytest.raises(UserError, match=r"data\.comments is 30"):
        sample_comments(frame, data(params, comments=30), seed=0)
    with pytest.raises(UserError, match=r"data\.splits need"):
        split_prompts(frame, data(params), seed=0)


def test_share_is_kept(params: Params) -> None:
    frame = pd.DataFrame({"text": [f"t {n}" for n in range(100)], "toxic": [1] * 90 + [0] * 10})
    half = sample_comments(frame, data(params, comments=None, toxic_share=0.5), seed=0)
    assert (len(half), half["toxic"].sum()) == (20, 10)
    most = sample_comments(frame, data(params, comments=40, toxic_share=0.75), seed=0)
    assert (len(most), most["toxic"].sum()) == (40, 30)


@pytest.mark.parametrize(("size", "share"), [(41, 0.5), (40, 0.2), (40, None), (30, 0.9)])
def test_embedded_comments_suffice(params: Params, size: int, share: float | None) -> None:
    settings = data(params, comments=size, toxic_share=share)
    sampled = sample_comments(read_comments(settings, seed=0), settings, seed=0)
    assert len(sampled) == size
    assert share is None or sampled["toxic"].sum() == round(size * share)


def test_labels_that_contradict_each_other_after_the_cut(params: Params) -> None:
    frame = pd.DataFrame(
        {
            "text": ["one two three", "one two four", "a b c", "a b d", "e f", "g h"],
            "toxic": [0, 1, 1, 1, 0, 1],
        }
    )
    frame.attrs["facts"] = {"left_out_contradictory": 3, "left_out_damaged": 1}
    settings = data(params, comments=None, toxic_share=None, max_words=2)
    sampled = sample_comments(frame, settings, seed=0)
    assert sorted(sampled["text"]) == ["a b", "e f", "g h"]
    assert sampled.attrs["facts"] == {
        "left_out_contradictory": 5,
        "left_out_repeated": 1,
        "left_out_damaged": 1,
    }


def test_prompts_show_something(params: Params) -> None:
    texts = [f"w{n} is it" for n in range(10)] + ["\u200b \u2060 x", "x y \u200b", "x"]
    frame = pd.DataFrame({"text": texts, "toxic": [0, 1] * 6 + [0]})
    splits = params.data.splits.model_copy(update={"rl": 2, "irl": 2, "valid": 3, "test": 4})
    with pytest.raises(UserError, match=r"need 11 .* 13 comments give 10 .* \(3 comments have no"):
        split_prompts(frame, data(params, splits=splits, prompt_words=2), seed=0)


def test_prompts_of_their_own(params: Params) -> None:
    prompts = [f"p{n} it" if n % 2 else f"p{n}" for n in range(22)] + ["p0", "one two three four"]
    frame = pd.DataFrame({"prompt": prompts, "toxic": [0, 1] * 12})
    frame["text"] = frame["prompt"] + [f" says {n}" for n in range(24)]
    given = data(params, prompt_column="prompt", comments=None, toxic_share=None, max_words=4)
    splits = params.data.splits.model_copy(update={"rl": 4, "irl": 4, "valid": 4, "test": 10})
    settings = given.model_copy(update={"splits": splits})
    sampled = sample_comments(frame, settings, seed=0)
    comments, chosen = split_prompts(sampled, settings, seed=0)
    assert set(chosen["prompt"]) == set(prompts[:22])
    assert chosen["human_completion"].str.startswith(" says ").all()
    assert (chosen["prompt"] + chosen["human_completion"]).isin(frame["text"]).all()
    # the two comments of one prompt go one way
    assert comments.loc[comments["prompt"] == "p0", "split"].nunique() == 1
    more = settings.model_copy(update={"splits": splits.model_copy(update={"rl": 5})})
    with pytest.raises(
        UserError, match=r"22 distinct prompts in column 'prompt' \(1 comments have"
    ):
        split_prompts(sampled, more, seed=0)


def test_both_labels_to_test_on(params: Params) -> None:
    rare = data(params, comments=1000, toxic_share=0.02, splits=SMALL)
    sampled = sample_comments(read_comments(rare, seed=0), rare, seed=0)
    with pytest.raises(UserError, match=r"behind the prompts of data\.splits\.test, 0 are toxic"):
        split_prompts(sampled, rare, seed=0)
    unlabelled = rare.model_copy(update={"label_column": None})
    comments, _ = split_prompts(
        sampled.assign(toxic=pd.array([None] * 1000, "Int8")), unlabelled, seed=0
    )
    assert comments["toxic"].isna().all()
