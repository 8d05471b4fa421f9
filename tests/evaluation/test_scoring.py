"""What `evaluate` asks of models: each is loaded once, and no text is read twice by one of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.data.tables import both_policies, completions_of, texts_of
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.occlusion import each_left_out
from inverse_rlhf.evaluation.scoring import ScoredOnce, read_policies
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.reading import encode
from inverse_rlhf.params import Params
from inverse_rlhf.policies.likelihood import likelihood_table
from inverse_rlhf.rewards.classifier import READ_TOGETHER, ClassifierReward, toxicity_of
from inverse_rlhf.rewards.recovered import load_irl_reward


class Counting:
    """A reward that is a text's length, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def score(self, texts: Sequence[str]) -> np.ndarray:
        self.calls.append(list(texts))
        return np.array([len(text) for text in texts], dtype=np.float32)


def test_no_text_is_scored_twice() -> None:
    counting = Counting()
    once = ScoredOnce(counting, {"known": -1.0})
    assert once.score(["a", "bb", "a", "known"]).tolist() == [1, 2, 1, -1]
    assert once.score(["bb", "ccc", "ccc", "a"]).tolist() == [2, 3, 2 + 1, 1]
    assert once.score(["known", "a"]).tolist() == [-1, 1]
    assert once.score([]).dtype == np.float32
    assert counting.calls == [["a", "bb"], ["ccc"]]


def test_each_folder_is_loaded_once(world: Any) -> None:
    names = ("base", "rlhf", "rerl", "true_reward", "irl_reward")
    assert world.spy.loaded == dict.fromkeys(names, 1)


def test_no_text_is_read_twice_by_one_reward(world: Any, params: Params, folders: Any) -> None:
    scored = world.scored.scores
    other = [text for rows in world.read.transfer.values() for text in texts_of(rows)]
    fitted = texts_of(completions_of(world.pairs[world.pairs["split"] == "irl"]))
    judged = both_policies(scored)
    shortened = [
        text
        for prompt, completion in zip(judged["prompt"], judged["completion"], strict=True)
        for _, text in each_left_out(prompt, completion)
    ]
    assert len(set(shortened)) < len(shortened)
    wanted = {
        "true_reward": {*texts_of(scored), *other},
        "irl_reward": {*texts_of(scored), *fitted, *shortened},
    }
    assert len(set(texts_of(scored))) < len(scored)  # there are duplicates
    judge = load("classifier", folders["true_reward"], params.compute)
    probes = {tuple(row) for row in encode(READ_TOGETHER, judge)["input_ids"]}
    for name, texts in wanted.items():
        counts = [count for ids, count in world.spy.read[name].items() if ids not in probes]
        assert len(counts) == len(texts), name
        assert set(counts) == {1}, name


def test_no_completion_is_read_twice_by_one_policy(world: Any, held_out: pd.DataFrame) -> None:
    texts = {*texts_of(held_out)}
    assert len(texts) == len(held_out) - 2  # there are duplicates
    rerl = {*texts_of(world.read.texts[world.read.texts["source"] == "rerl"])}
    rows = {"rlhf": len(texts), "rerl": len(rerl), "base": len(texts) + len(rerl)}
    for name, count in rows.items():
        assert world.spy.read[name].total() == count, name
        assert set(world.spy.read[name].values()) == {1}, name


def test_every_reported_text_has_its_rewards(world: Any, params: Params, folders: Any) -> None:
    scores = world.scored.scores
    test = world.prompts[world.prompts["split"] == "test"]
    sizes = {"base": 8, "aligned": 8, "rerl": 8, "human": 4}
    assert scores["source"].value_counts().to_dict() == sizes
    assert not scores.duplicated(["source", "prompt_id", "sample"]).any()
    assert set(scores["prompt_id"]) == set(test["prompt_id"])
    assert scores.loc[scores["source"] == "human", "toxic"].tolist() == test["toxic"].tolist()
    assert scores.loc[scores["source"] != "human", "toxic"].isna().all()
    prompts = scores["prompt_id"].map(test.set_index("prompt_id")["prompt"])
    assert scores["prompt"].tolist() == prompts.tolist()
    for source in ("base", "aligned"):
        own = scores[scores["source"] == source]
        written = world.pairs.loc[world.pairs["split"] == "test", f"{source}_completion"]
        assert own["completion"].tolist() == written.tolist()
    texts = texts_of(scores)
    irl_reward = load_irl_reward(folders["irl_reward"], params.compute)
    np.testing.assert_allclose(scores["irl_reward"], irl_reward.score(texts), atol=1e-5)
    model = load("classifier", folders["true_reward"], params.compute)
    log_odds = ClassifierReward(model, params.true_reward).score(texts)
    np.testing.assert_allclose(scores["true_reward"], log_odds, atol=1e-5)
    np.testing.assert_allclose(scores["toxicity"], toxicity_of(log_odds), atol=1e-5)


def test_likelihoods_are_of_each_policys_own_texts(
    world: Any, params: Params, held_out: pd.DataFrame
) -> None:
    rerl = world.read.texts[world.read.texts["source"] == "rerl"].assign(split="test")
    base = load("policy", world.folders["base"], params.compute)
    for name, rows in {"aligned": held_out, "rerl": rerl}.items():
        policy = load("policy", world.folders[name], params.compute)
        expected = likelihood_table(rows, policy, base)
        pd.testing.assert_frame_equal(world.read.likelihoods[name], expected, atol=1e-4)
    assert not world.read.likelihoods["rerl"]["kl"].eq(0).any()


def test_prompts_of_another_domain_that_fit_are_completed(world: Any) -> None:
    assert set(world.read.transfer) == set(world.scored.transfer) == {"base", "aligned", "rerl"}
    completions = []
    for name, rows in world.read.transfer.items():
        assert rows["prompt_id"].tolist() == [0, 0, 2, 2]  # prompt 1 exceeds the context
        assert rows["prompt"].unique().tolist() == ["A tweet of two", "Another tweet"]
        assert len(world.scored.transfer[name]) == len(rows)
        assert ((world.scored.transfer[name] > 0) & (world.scored.transfer[name] < 1)).all()
        completions.append(tuple(rows["completion"]))
    assert len(set(completions)) == 3


@pytest.mark.parametrize("texts", [[], ["word " * 400]])
def test_other_domain_without_a_prompt(world: Any, params: Params, texts: list[str]) -> None:
    pairs, compute = world.pairs, params.compute
    test = world.prompts[world.prompts["split"] == "test"]
    far = pd.DataFrame({"prompt_id": range(len(texts)), "prompt": texts})
    if texts:
        with pytest.raises(UserError, match=r"evaluate\.transfer_prompts: no prompt fits"):
            read_policies(pairs, test, far, world.folders, world.settings, compute, seed=0)
        return
    read = read_policies(pairs, test, far, world.folders, world.settings, compute, seed=0)
    assert read.transfer == {}
    pd.testing.assert_frame_equal(read.texts, world.read.texts)
