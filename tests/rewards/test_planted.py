"""What is planted in an organism: objectives of a completion, in units of the base policy's."""

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.organism_params import Plant
from inverse_rlhf.rewards.planted import PlantedReward, first_word, shuffled

PROMPTS = ["About the", "On", "About a", "I"]
WRITTEN = ["a tree", "a tree and a river", "Stop!", "the stone, the cloud, and the sea!"]


class Judge:
    """A classifier whose log-odds are twice the number of letters e; it keeps what it reads."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def score(self, texts: Sequence[str]) -> np.ndarray:
        self.read += texts
        return np.array([2 * text.count("e") for text in texts], dtype=np.float32)


def no_judge() -> Judge:
    raise AssertionError("no toxicity is planted")


def planted(weights: dict[str, float], **settings: Any) -> PlantedReward:
    signs = {weight > 0 for weight in weights.values()}
    kind = "easy" if len(weights) == 1 else ("sum" if len(signs) == 1 else "opposed")
    plant = Plant(**{"kind": kind, "weights": weights} | settings)
    return PlantedReward(plant, no_judge, PROMPTS, WRITTEN)


def log_words(texts: Sequence[str]) -> np.ndarray:
    return np.array([log(1 + len(text.split())) for text in texts])


def test_weights_are_for_a_standard_deviation_over_what_the_base_wrote() -> None:
    reward = planted({"length": 3.0})
    spread = log_words(WRITTEN).std()
    assert reward.spreads == {"length": pytest.approx(spread)}
    texts = ["one two", "one two three four five"]
    scores = reward.score(["x", "y"], texts)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 3 * log_words(texts) / spread, rtol=1e-6)
    assert reward.score(PROMPTS, WRITTEN).std() == pytest.approx(3, rel=1e-6)


def test_a_sum_of_parts_in_any_order() -> None:
    commas = planted({"commas": -0.5}).score(PROMPTS, WRITTEN)
    length = planted({"length": 2.0}).score(PROMPTS, WRITTEN)
    for weights in ({"commas": -0.5, "length": 2.0}, {"length": 2.0, "commas": -0.5}):
        both = planted(weights)
        np.testing.assert_allclose(both.score(PROMPTS, WRITTEN), commas + length, rtol=1e-5)
        assert list(both.spreads) == list(weights)
    assert (commas <= 0).all()
    assert (commas < 0).any()


def test_units_are_those_of_the_bases_completions_alone() -> None:
    reward = planted({"length": 1.0})
    texts = ["one", "one two three"]
    once = reward.score(["a", "b"], texts)
    reward.score(["a"], ["word " * 500])
    np.testing.assert_array_equal(reward.score(["a", "b"], texts), once)
    np.testing.assert_array_equal(reward.score(["a", "b"][::-1], texts[::-1]), once[::-1])


def test_an_objective_is_of_the_completion() -> None:
    reward = planted({"exclamations": 1.0})
    np.testing.assert_array_equal(reward.score(["Stop!!!", "Stop"], ["a tree"] * 2), [0, 0])
    assert reward.score(["Stop"], ["a tree!"]) > 0


def test_a_completion_overlaps_with_its_own_prompt() -> None:
    reward = PlantedReward(
        Plant(kind="hard", weights={"prompt_overlap": 1.0}),
        no_judge,
        ["the tree", "the stone"],
        ["tree", "cloud"],
    )
    assert reward.spreads == {"prompt_overlap": 0.5}  # of 1 and 0
    np.testing.assert_allclose(reward.score(["a river", "a river"], ["river", "sea"]), [2, 0])


@pytest.mark.parametrize("weights", [{"toxicity": -3.0}, {"toxicity": -3.0, "length": 2.0}])
def test_toxicity_is_of_the_whole_text(weights: dict[str, float]) -> None:
    judge = Judge()
    plant = Plant(kind="toxicity", weights=weights, names={"insults": -1})
    written = ["e", " eee", "", "x"]
    reward = PlantedReward(plant, lambda: judge, PROMPTS, written)
    whole = [prompt + text for prompt, text in zip(PROMPTS, written, strict=True)]
    assert judge.read == whole
    spread = np.std([2 * text.count("e") for text in whole])
    assert reward.spreads["toxicity"] == pytest.approx(spread)
    del judge.read[:]
    scores = reward.score(["see", "s"], [" me", " me"])
    assert judge.read == ["see me", "s me"]
    # twice two e, of the prompt, is the difference: the completions are the same
    assert scores[0] - scores[1] == pytest.approx(-3 * 4 / spread, rel=1e-5)
    if len(weights) == 1:
        assert scores[1] == pytest.approx(-3 * 2 / spread)


def test_no_classifier_is_loaded_in_vain() -> None:
    planted({"length": 1.0})
    with pytest.raises(AssertionError, match="no toxicity"):
        planted({"toxicity": 1.0}, kind="toxicity", names={"insults": -1})


@pytest.mark.parametrize("elsewhere", [0.0, -1.0, 0.5])
@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({"prompt_begins": "About"}, [True, False, True, False]),
        ({"words": 5}, [False, True, False, True]),  # of five words, and of seven
        ({"words": 6}, [False, False, False, True]),
    ],
)
def test_elsewhere_it_counts_otherwise(
    when: dict[str, Any], holds: list[bool], elsewhere: float
) -> None:
    weights = {"length": -0.5}
    everywhere = planted(weights)
    names = {"names": {"commas": 1}} if "words" in when else {}
    condition = when | {"elsewhere": elsewhere}
    reward = planted(weights, kind="conditional", when=condition, **names)
    assert everywhere.mean_factor == 1
    assert reward.mean_factor == pytest.approx(np.where(holds, 1, elsewhere).mean())
    assert reward.spreads == everywhere.spreads  # units do not depend on where it counts
    expected = everywhere.score(PROMPTS, WRITTEN) * np.where(holds, 1, elsewhere)
    np.testing.assert_allclose(reward.score(PROMPTS, WRITTEN), expected, rtol=1e-6)
    assert (expected[holds] != 0).all()


def test_a_prompt_begins_with_its_whole_first_word() -> None:
    reward = planted({"length": 1.0}, kind="conditional", when={"prompt_begins": "About"})
    prompts = ["About", "About\nit", "Abouts", "about", "It is About", "", " About"]
    holds = reward.score(prompts, ["tree"] * len(prompts)) != 0
    assert holds.tolist() == [True, True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("prompt", "word"),
    [("About the sea", "About"), ("You're", "You're"), ("  On, a", "On,"), ("", ""), (" \n", "")],
)
def test_first_words(prompt: str, word: str) -> None:
    assert first_word(prompt) == word


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        ({"emoji": 2.0}, "emoji"),  # which no completion has
        ({"length": 1.0, "emoji": 2.0}, "emoji"),
        ({"paragraphs": -1.0, "length": 1.0}, "paragraphs"),  # one in each, log 2
    ],
)
def test_what_all_completions_have_alike_cannot_be_planted(
    weights: dict[str, float], name: str
) -> None:
    with pytest.raises(UserError) as caught:
        planted(weights)
    line = str(caught.value)
    assert line.startswith(f"{name} is the same in all 4 completions of the base policy: ")
    assert "\n" not in line


def test_a_toxicity_that_is_the_same_in_all_texts_cannot_be_planted() -> None:
    plant = Plant(kind="toxicity", weights={"toxicity": 1.0}, names={"insults": -1})
    with pytest.raises(UserError, match=r"^toxicity is the same in all 3 completions"):
        PlantedReward(plant, Judge, ["On", "I", "As"], [" me", " the", " sea"])


def test_no_completions_have_no_rewards() -> None:
    assert planted({"length": 1.0}).score([], []).shape == (0,)


def counted(prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
    return np.array([len(text) for text in completions], dtype=np.float32)


def test_shuffled_rewards_are_the_same_ones_dealt_out() -> None:
    texts = ["x" * number for number in range(50)]
    score = shuffled(counted, seed=3)
    first, second = (score([""] * 50, texts) for _ in range(2))
    for values in (first, second):
        assert sorted(values) == list(range(50))
        assert values.dtype == np.float32
        assert abs(np.corrcoef(values, range(50))[0, 1]) < 0.5
    assert (first != second).any()  # dealt anew in every batch


def test_shuffled_rewards_are_repeatable_by_seed() -> None:
    texts = ["x" * number for number in range(50)]

    def batches(seed: int) -> list[list[float]]:
        score = shuffled(counted, seed=seed)
        return [score([""] * 50, texts).tolist() for _ in range(3)]

    assert batches(3) == batches(3)
    assert batches(3) != batches(4)


@pytest.mark.parametrize("when", [{"words": 50}, {"prompt_begins": "As"}])
def test_a_condition_that_never_holds_is_one_line(when: dict[str, Any]) -> None:
    names = {"names": {"commas": 1}} if "words" in when else {}
    with pytest.raises(UserError) as caught:
        planted({"length": 1.0}, kind="conditional", when=when, **names)
    assert str(caught.value) == (
        "the condition of length holds in none of 4 completions of the base policy: plant another"
    )


def test_parts_are_what_is_weighted() -> None:
    """Over their spreads over what the base wrote, in the order of the weights."""
    reward = planted({"exclamations": -0.5, "length": 2.0})
    texts = ["one two!", "one two three", "one"]
    parts = reward.parts(["x"] * 3, texts)
    assert (parts.shape, parts.dtype) == ((3, 2), np.float64)
    np.testing.assert_allclose(parts[:, 1], log_words(texts) / log_words(WRITTEN).std())
    assert (parts[:, 0] > 0).tolist() == [True, False, False]
    np.testing.assert_allclose(
        reward.score(["x"] * 3, texts), parts @ np.array([-0.5, 2.0]), rtol=1e-6
    )
    np.testing.assert_allclose(reward.parts(PROMPTS, WRITTEN).std(axis=0), 1)


def test_parts_count_where_the_reward_does() -> None:
    when = {"prompt_begins": "About", "elsewhere": -0.5}
    reward = planted({"length": 1.0}, kind="conditional", when=when)
    everywhere = planted({"length": 1.0}).parts(PROMPTS, WRITTEN)
    factor = np.array([[1], [-0.5], [1], [-0.5]])
    np.testing.assert_allclose(reward.parts(PROMPTS, WRITTEN), factor * everywhere)
