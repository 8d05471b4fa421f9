"""From comments to prompts: the sample's size and share, cuts, and splits without overlap."""

from typing import Any

import pandas as pd
import pytest

from inverse_rlhf.data.prompts import sample_comments, split_prompts
from inverse_rlhf.data.sources import read_comments
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Data, Params


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
