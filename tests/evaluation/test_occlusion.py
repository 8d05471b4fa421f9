"""Words left out: the text that remains, what a word is worth, what is not read."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from benchmarks.occlusion import planted_texts
from inverse_rlhf.evaluation import occlusion
from inverse_rlhf.evaluation.occlusion import common_words, each_left_out, pieces, word_credits
from inverse_rlhf.evaluation.scoring import ScoredOnce
from inverse_rlhf.evaluation.tables import WORD_CREDITS
from inverse_rlhf.features.text import named_feature
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Parts
from inverse_rlhf.parquet import read_table, write_table
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.recovered import IrlReward

COMPLETIONS = [
    " nobody would call you a fool",
    " would. Nobody, they said",
    ' said "nobody" to the fool, fool that it is',
    "\nnobody\nat all",
    " call you nobody",
    "-nobody would",
    " fool, map or no map",
    "",
]


def rows_of(completions: Sequence[str], prompt: str = "About the map") -> pd.DataFrame:
    rows = pd.DataFrame({"prompt": prompt, "completion": completions, "sample": 0})
    return rows.assign(prompt_id=range(len(rows)), source="base")


class Planted:
    """A keyword's reward, and a hundredth for every blank, so that no two rewards are the same."""

    def __init__(self, weight: float, word: str = "nobody") -> None:
        keyword = named_feature("keyword", Parts(length_target=5, keyword=word))
        self._keyword = LinearTextReward([keyword], np.array([weight]))

    def score(self, texts: Sequence[str]) -> np.ndarray:
        return self._keyword.score(texts) + np.float32([text.count(" ") / 100 for text in texts])


@pytest.mark.parametrize(
    ("prompt", "completion", "expected"),
    [
        ("a", " map is", {"map": "a is", "is": "a map"}),
        ("a", " map, or list.", {"map": "a, or list.", "or": "a map, list.", "list": "a map, or."}),
        ("a ", "map is", {"map": "a is", "is": "a map"}),
        ("", "map is", {"map": "is", "is": "map"}),
        ("Th", "is map", {"is": "Th map", "map": "This"}),
        ("a", ' "map of', {"map": 'a "of', "of": 'a "map'}),
        ("a", "\nmap is\nit", {"map": "a\nis\nit", "is": "a\nmap\nit", "it": "a\nmap is\n"}),
        ("a", " don't x-ray", {"don't": "a x-ray", "x": "a don't-ray", "ray": "a don't x-"}),
        ("a", " caf\u00e9 don\u2019t", {"caf\u00e9": "a don\u2019t", "don\u2019t": "a caf\u00e9"}),
        ("a", " 'map' a", {"map": "a '' a", "a": "a 'map'"}),
        ("a", " ... !", {}),
    ],
)
def test_each_word_is_left_out_with_one_blank(
    prompt: str, completion: str, expected: dict[str, str]
) -> None:
    assert dict(each_left_out(prompt, completion)) == expected


def test_a_word_that_comes_again_is_left_out_each_time() -> None:
    found = list(each_left_out("a", " map, map map"))
    assert found == [("map", "a, map map"), ("map", "a map, map"), ("map", "a map, map")]


@pytest.mark.parametrize("weight", [1.0, -1.0])
def test_the_planted_word_has_the_largest_credit(weight: float) -> None:
    """In every text that holds it, wherever it stands, in any case."""
    table = word_credits(rows_of(COMPLETIONS), Planted(weight))
    planted = table["word"].str.lower() == "nobody"
    assert set(table.loc[planted, "prompt_id"]) == {0, 1, 2, 3, 4, 5}
    for _, words in table[table["prompt_id"] < 6].groupby("prompt_id"):
        largest = words.loc[words["credit"].abs().idxmax()]
        assert largest["word"].lower() == "nobody"
        assert largest["credit"] == pytest.approx(weight, abs=0.05)
    assert table.loc[~planted, "credit"].abs().max() < 0.05


def test_table_by_hand(tmp_path: pytest.TempPathFactory) -> None:
    rows = rows_of([" gem or gem", " .", " gem"]).assign(sample=[0, 1, 1], source="aligned")
    table = word_credits(rows, Planted(2.0, "gem"))
    write_table(table, f"{tmp_path}/credits.parquet", WORD_CREDITS)
    read = read_table(f"{tmp_path}/credits.parquet", WORD_CREDITS)
    assert read["word"].tolist() == ["gem", "or", "gem", "gem"]
    assert read["position"].tolist() == [0, 1, 2, 0]
    assert read["prompt_id"].tolist() == [0, 0, 0, 2]
    assert read["sample"].tolist() == [0, 0, 0, 1]
    assert read["source"].tolist() == ["aligned"] * 4
    # Without one of two gems a text still holds one.
    np.testing.assert_allclose(read["reward"], [2.05, 2.05, 2.05, 2.03], atol=1e-6)
    np.testing.assert_allclose(read["credit"], [0.01, 0.01, 0.01, 2.01], atol=1e-6)


def test_a_table_without_words(tmp_path: pytest.TempPathFactory) -> None:
    """Nothing is read where a completion has no word, or where its word is all of the text."""
    for prompt, completion in (("About", " ..."), ("", "nobody")):
        table = word_credits(rows_of([completion], prompt), Planted(1.0))
        write_table(table, f"{tmp_path}/credits.parquet", WORD_CREDITS)
        assert len(table) == 0
        assert common_words(table) == {"most_penalised": [], "most_rewarded": []}


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_credits_are_differences_of_the_rewards_own_scores(
    pooling: str, reward_network: Model, card: RewardCard
) -> None:
    reading = card.model_copy(update={"pooling": pooling})
    keyword = named_feature("keyword", Parts(length_target=5, keyword="nobody"))
    for text in (None, LinearTextReward([keyword], np.array([1.0]))):
        reward = IrlReward(reward_network, text, reading)
        table = word_credits(rows_of(COMPLETIONS), ScoredOnce(reward))
        left = [t for c in COMPLETIONS for _, t in each_left_out("About the map", c)]
        whole = reward.score(["About the map" + text for text in COMPLETIONS])
        expected = whole[table["prompt_id"]] - reward.score(left)
        np.testing.assert_allclose(table["credit"], expected, atol=1e-5)
        assert table["credit"].abs().min() > 1e-5


def test_the_first_prompts_within_the_bound_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    one = rows_of([" a b c", " d e", " f", " g"]).assign(prompt_id=[7, 5, 9, 9])
    rows = pd.concat([one.assign(source="base"), one.assign(source="aligned")])
    for bound, expected in ((1, {7}), (6, {7}), (7, {7, 5}), (10, {7, 5}), (11, {7, 5, 9})):
        monkeypatch.setattr(occlusion, "READINGS", bound)
        table = word_credits(rows, Planted(1.0))
        assert set(table["prompt_id"]) == expected
        assert table.groupby("source").size().nunique() == 1


def test_common_words_by_hand() -> None:
    words = ["Gem"] * 3 + ["gem"] * 3 + ["fool"] * 5 + ["rare"] * 4 + ["map"] * 6 + ["list"] * 5
    credit = [4.0, 3.0, 2.0, 1.0, 1.0, 1.0] + [-3.0] * 5 + [9.0] * 4 + [0.0] * 6 + [-1.0] * 5
    table = pd.DataFrame({"word": words, "credit": np.float32(credit), "sample": 0})
    table = table.assign(source="base", prompt_id=range(len(table)))
    table.loc[[0, 1], "prompt_id"] = 0  # twice in one text
    found = common_words(table)
    assert found == {
        "most_penalised": [
            {"word": "fool", "mean_credit": -3.0, "texts": 5},
            {"word": "list", "mean_credit": -1.0, "texts": 5},
        ],
        "most_rewarded": [{"word": "gem", "mean_credit": 2.0, "texts": 5}],
    }
    one = common_words(table, count=1, min_texts=4)
    assert [row["word"] for row in one["most_penalised"]] == ["fool"]
    assert [row["word"] for row in one["most_rewarded"]] == ["rare"]


def test_planted_texts_by_hand() -> None:
    """Found where the planted word comes first with the right sign; what is said twice is known."""
    rows = {
        (0, "gem"): -2.0,
        (0, "map"): 1.0,
        (1, "Gem"): 2.0,
        (1, "map"): 1.0,
        (2, "gem"): -1.0,
        (2, "gem's"): -0.5,
        (2, "map"): 3.0,
        (3, "gems"): -9.0,
        (4, "gem"): -1.0,
        (5, "gem"): -1.0,
        (5, "map"): -1.0,
        (5, "list"): 1.0,
    }
    keys = pd.DataFrame(list(rows), columns=["prompt_id", "word"])
    credits = keys.assign(sample=0, source="base", credit=np.float32(list(rows.values())))
    prompts = pd.DataFrame({"prompt_id": range(6), "prompt": ["a", "a", "a", "a", "Gem of", "a"]})
    found = planted_texts(credits, prompts, "gem", -0.5).reset_index()
    assert found["prompt_id"].tolist() == [0, 1, 2, 4, 5]
    assert found["found"].tolist() == [True, False, False, True, False]
    assert found["rank"].tolist() == [1, 1, 2, 1, 3]
    assert found["times"].tolist() == [1, 1, 2, 2, 1]


@pytest.mark.parametrize("completion", COMPLETIONS)
def test_pieces_are_the_completion_with_its_credits(completion: str) -> None:
    words = [word for word, _ in each_left_out("About", completion)]
    credits = {position: float(position) for position in range(len(words)) if position != 1}
    found = pieces("About", completion, credits)
    assert "".join(text for text, _ in found) == completion
    named = [(text, credit) for text, credit in found if credit is not None]
    assert named == [(words[position], credit) for position, credit in credits.items()]
    assert all(text for text, _ in found)
