"""Credits, n-grams and disagreements where it is known what they are."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.data.tables import completions_of
from inverse_rlhf.evaluation import explain
from inverse_rlhf.evaluation.explain import (
    RewardPaths,
    disagreements,
    explain_by_ngrams,
    ngram_surrogate,
)
from inverse_rlhf.evaluation.tables import TOKEN_CREDITS
from inverse_rlhf.features.text import named_feature
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Parts
from inverse_rlhf.parquet import read_table, write_table
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.recovered import IrlReward
from tests.foreign import TOKENIZERS
from tests.written import written

PARTS = Parts(length_target=1, keyword="map")
TEXTS = ["You are a fool, please go.", "What a lovely, good map!", "the map and the list", "a map"]


def test_token_credits_add_up(reward_network: Model, card: RewardCard) -> None:
    rows = pd.DataFrame([text.split(" ", 1) for text in TEXTS], columns=["prompt", "completion"])
    rows = rows.assign(completion=" " + rows["completion"], prompt_id=range(4), sample=0)
    rows = written(rows.assign(source="base"), reward_network.tokenizer)
    keyword = named_feature("keyword", PARTS)
    body, text = reward_network, LinearTextReward([keyword], np.array([2.0]))
    tables = []
    for parts in ((body, None), (body, text)):
        reward = IrlReward(*parts, card.model_copy(update={"pooling": "mean"}))
        table = RewardPaths(rows, reward, body).token_credits()
        whole = reward.score(TEXTS)
        tables.append(table)
        by_text = table.groupby("prompt_id")
        np.testing.assert_allclose(by_text["credit"].sum(), whole, atol=1e-5)
        np.testing.assert_allclose(by_text["reward"].last(), whole, atol=1e-5)
        assert table[table["prompt_id"] == 1]["token"].str.cat() == TEXTS[1]
    without, with_map = tables
    gained = with_map["credit"] - without["credit"]
    at_map = with_map[gained.abs() > 1e-4]
    np.testing.assert_allclose(gained[at_map.index], [2.0] * 3, atol=1e-4)  # one text has no map
    assert at_map["token"].str.contains("p").all()


@pytest.mark.parametrize("kind", ["default", "sentencepiece"])
def test_credits_are_of_the_tokens_that_were_sampled(
    kind: str, reward_network: Model, card: RewardCard
) -> None:
    """The text read again has others."""
    body = reward_network
    if kind == "sentencepiece":
        body = replace(body, tokenizer=TOKENIZERS[kind]())
        body.tokenizer.pad_token = body.tokenizer.eos_token
    prompt, text, tokenizer = "the weather", " is more", body.tokenizer
    vocabulary = tokenizer.get_vocab()
    blank = "\u2581" if kind == "sentencepiece" else "\u0120"
    ids = [vocabulary[letter] for letter in text.replace(" ", blank)]
    rows = pd.DataFrame({"prompt": prompt, "completion": text, "prompt_id": [0, 1], "sample": 0})
    own = written(rows[:1], tokenizer)["ids"][0]
    assert own[:-1] != ids
    rows = rows.assign(source="base", ids=[own, [*ids, tokenizer.eos_token_id]], ended=True)
    words = LinearTextReward([named_feature("keyword", PARTS)], np.array([2.0]))
    reward = IrlReward(body, words, card.model_copy(update={"pooling": "mean"}))
    paths = RewardPaths(rows, reward, body)
    table = paths.token_credits()
    both = [part for _, part in table.groupby("prompt_id")]
    assert len(both[1]) == len(both[0]) - len(own) + 1 + len(ids)
    for part in both:
        assert part["token"].str.cat().removeprefix("<s>").strip() == prompt + text
    assert both[1]["credit"].sum() != pytest.approx(both[0]["credit"].sum(), abs=1e-6)
    whole = reward.score([prompt + text])[0]
    assert paths.whole() == {prompt + text: pytest.approx(whole, abs=1e-5)}
    only = RewardPaths(rows[1:], reward, body)
    assert only.whole() == {}


@pytest.mark.parametrize(
    ("pooling", "parts"), [("last", "body"), ("last", "both"), ("mean", "text")]
)
def test_no_token_credits_without_a_mean(
    pooling: str, parts: str, reward_network: Model, card: RewardCard, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"prompt": "a", "completion": " map", "prompt_id": [0], "sample": 0})
    text = LinearTextReward([named_feature("keyword", PARTS)], np.array([2.0]))
    body = None if parts == "text" else reward_network
    reading = card.model_copy(update={"pooling": pooling})
    reward = IrlReward(body, None if parts == "body" else text, reading)
    rows = written(rows.assign(source="base"), reward_network.tokenizer, ended=False)
    paths = RewardPaths(rows, reward, reward_network)
    write_table(paths.token_credits(), tmp_path / "credits.parquet", TOKEN_CREDITS)
    assert len(read_table(tmp_path / "credits.parquet", TOKEN_CREDITS)) == 0


def test_surrogate_finds_the_words_that_count() -> None:
    generator = np.random.default_rng(0)
    words = np.array(["map", "list", "fool", "gem", "draft", "page", "see", "the"])
    texts = [" ".join(generator.choice(words, 6)) for _ in range(600)]
    rewards = np.array([3.0 * ("gem" in text) - 2.0 * ("fool" in text) for text in texts])
    found = ngram_surrogate(texts[:400], rewards[:400], texts[400:], rewards[400:], seed=0)
    assert found.r2 > 0.95
    assert found.ngrams["ngram"].iloc[0] == "fool"
    assert found.ngrams["ngram"].iloc[-1] == "gem"
    unlike = ["map", "list"]
    nothing = ngram_surrogate(unlike, rewards[:2], unlike, rewards[:2], seed=0)
    assert nothing.ngrams.empty
    assert nothing.r2 == 0


def test_surrogate_is_fitted_on_irl_texts_alone(
    pairs: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def stop(texts: list[str], values: Any, held_out: list[str], *_: Any, **__: Any) -> None:
        seen.extend([texts, held_out])
        raise KeyboardInterrupt

    class Length:
        def score(self, texts: list[str]) -> np.ndarray:
            return np.array([len(text) for text in texts], dtype=np.float32)

    monkeypatch.setattr(explain, "ngram_surrogate", stop)
    test = completions_of(pairs[pairs["split"] == "test"]).assign(irl_reward=0.0)
    with pytest.raises(KeyboardInterrupt):
        explain_by_ngrams(test, pairs, Length(), seed=0)  # type: ignore[arg-type]
    fitted = completions_of(pairs[pairs["split"] == "irl"])
    assert sorted(seen[0]) == sorted(fitted["prompt"] + fitted["completion"])
    assert sorted(seen[1]) == sorted(test["prompt"] + test["completion"])


def test_largest_disagreements_come_first() -> None:
    scores = pd.DataFrame(
        {
            "prompt_id": range(4),
            "sample": 0,
            "source": "base",
            "prompt": "a",
            "completion": " b",
            "true_reward": [0.0, 1.0, 2.0, 3.0],
            "irl_reward": [3.0, 1.0, 2.0, 2.5],
            "irl_std": [0.1, 0.4, 0.2, 0.3],
        }
    )
    table = disagreements(scores, count=2)
    assert table["prompt_id"].tolist()[0] == 0
    assert table.loc[table["kind"] == "runs", "prompt_id"].tolist() == [1, 3]
