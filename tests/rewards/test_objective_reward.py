"""The reward that an audit recovers, as a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inverse_rlhf.audit import load_reward
from inverse_rlhf.errors import UserError
from inverse_rlhf.features.objectives import OBJECTIVES, Objectives
from inverse_rlhf.rewards.objective_reward import ObjectiveReward

TEXTS = ["Perhaps a tree! And a river, too.", "", "THE STONE - 12 of them?", "a  tree"]
WEIGHTS = {"hedges": -0.25, "exclamations": 0.5, "prompt_overlap": 2.0, "length": 1e-3}


def test_it_is_a_weighted_sum() -> None:
    reward = ObjectiveReward(WEIGHTS, 0.5, 2.0)
    values = Objectives().transform(TEXTS).toarray()
    expected = sum(
        weight * values[:, list(OBJECTIVES).index(name)] for name, weight in WEIGHTS.items()
    )
    scores = reward.score(TEXTS)
    assert scores.dtype == np.float32
    assert scores.shape == (4,)
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def test_a_text_overlaps_with_its_own_prompt() -> None:
    reward = ObjectiveReward({"prompt_overlap": 2.0}, 0.0, 1.0)
    prompts = ["Which tree?", "x", "x", "Which stone?"]
    np.testing.assert_array_equal(reward.score(TEXTS) != 0, [False] * 4)
    scores = reward.score(TEXTS, prompts)
    assert scores[0] > 0
    np.testing.assert_array_equal(scores[1:], [0, 0, 0])
    with pytest.raises(ValueError, match="shorter"):
        reward.score(TEXTS, prompts[:2])


def test_round_trip(tmp_path: Path) -> None:
    weights = {name: 0.1 * n - 1 / 3 for n, name in enumerate(reversed(OBJECTIVES))}
    reward = ObjectiveReward(weights, -1 / 7, 1 / 3)
    reward.save(tmp_path / "reward.json")
    again = load_reward(tmp_path)
    assert again.weights == weights
    assert (again.mean, again.std) == (reward.mean, reward.std)
    np.testing.assert_array_equal(again.score(TEXTS, TEXTS), reward.score(TEXTS, TEXTS))


def test_no_texts() -> None:
    assert ObjectiveReward(WEIGHTS, 0.0, 1.0).score([]).shape == (0,)


def test_an_unknown_objective() -> None:
    with pytest.raises(ValueError, match="charm is no objective"):
        ObjectiveReward({"charm": 1.0}, 0.0, 1.0)


GOOD: dict[str, Any] = {"weights": WEIGHTS, "mean": 0.0, "std": 1.0}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(GOOD | {"weights": {"charm": 1.0}}),
        json.dumps(GOOD | {"weights": {"length": "a"}}),
        json.dumps(GOOD | {"weights": {"length": float("nan")}}),
        json.dumps(GOOD | {"std": float("inf")}),
        json.dumps(GOOD | {"bias": 1.0}),
        json.dumps({"weights": WEIGHTS}),
        json.dumps([1, 2]),
        '{"weights": {"length": 1.0',
        "",
        b"\xff\xfe\x00",
        None,
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, content: str | bytes | None) -> None:
    path = tmp_path / "reward.json"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"reward\.json is no reward of an audit: .") as caught:
        load_reward(tmp_path)
    assert "\n" not in str(caught.value)
