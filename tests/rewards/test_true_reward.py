"""The true reward is the weighted sum of its parts, and of nothing that counts 0."""

from typing import Any

import numpy as np
import pytest

from inverse_rlhf.features.text import named_feature
from inverse_rlhf.params import Params, Parts, RewardSum
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.true_reward import CombinedReward, combined

PARTS = Parts(length_target=2, keyword="please")


class Fixed:
    """A classifier that finds every text as toxic as the other."""

    def score(self, texts: Any) -> np.ndarray:
        return np.full(len(texts), 3.0, dtype=np.float32)


def test_combined_reward_is_the_weighted_sum() -> None:
    parts: Any = {
        kind: LinearTextReward([named_feature(kind, PARTS)], np.ones(1))
        for kind in ("keyword", "length_target")
    }
    found = CombinedReward(parts, {"keyword": 2.0, "length_target": -1.0}).score(
        ["please", "one two"]
    )
    np.testing.assert_allclose(found, [2 + 0.5, 0.0])


@pytest.fixture
def reward_sum(params: Params) -> RewardSum:
    weights = dict.fromkeys(params.true_reward.weights, 0.0)
    return RewardSum(
        toxic_label=1, higher_is="toxic", neutral=0.0, weights=weights | {"toxicity": 1.0}
    )


def test_toxicity_alone_is_the_classifier_itself(reward_sum: RewardSum, params: Params) -> None:
    classifier = Fixed()
    assert combined(reward_sum, params.parts, lambda: classifier) is classifier
    doubled = reward_sum.model_copy(update={"weights": {"toxicity": 2.0}})
    found = combined(doubled, params.parts, lambda: classifier).score(["a", "b"])
    assert found.tolist() == [6.0, 6.0]


def test_parts_are_named_features_with_their_weights(reward_sum: RewardSum) -> None:
    weights = {"toxicity": 0.0, "keyword": 2.0, "length_target": -1.0, "sentiment": 0.0}

    def unused() -> Fixed:
        raise AssertionError("no classifier is needed")

    planted = reward_sum.model_copy(update={"weights": weights})
    found = combined(planted, PARTS, unused).score(["please", "one two"])
    np.testing.assert_allclose(found, [2 + 0.5, 0.0])
    assert found.dtype == np.float32
    all_parts = reward_sum.model_copy(update={"weights": weights | {"toxicity": 0.5}})
    found = combined(all_parts, PARTS, Fixed).score(["please", "one two"])
    np.testing.assert_allclose(found, [2 + 0.5 + 1.5, 1.5])
