"""The true reward R*: a classifier's log-odds, or a weighted sum of it and of named features."""

from collections.abc import Callable, Sequence

import numpy as np

from inverse_rlhf.features.text import named_feature
from inverse_rlhf.params import Parts, RewardSum
from inverse_rlhf.rewards.classifier import Reward
from inverse_rlhf.rewards.linear_text import LinearTextReward


class CombinedReward:
    """The true reward as a weighted sum of named parts.

    Args:
        parts: rewards by name.
        weights: of each part.
    """

    def __init__(self, parts: dict[str, Reward], weights: dict[str, float]) -> None:
        self.parts, self.weights = parts, weights

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        total = sum(self.weights[name] * part.score(texts) for name, part in self.parts.items())
        return np.asarray(total, dtype=np.float32)


def combined(params: RewardSum, parts: Parts, classifier: Callable[[], Reward]) -> Reward:
    """The true reward: the classifier where nothing else counts, else a weighted sum.

    Args:
        classifier: gives the toxicity part; called where it counts.
    """
    weights = params.planted
    if weights == {"toxicity": 1.0}:
        return classifier()
    found: dict[str, Reward] = {
        name: classifier()
        if name == "toxicity"
        else LinearTextReward([named_feature(name, parts)], np.ones(1))
        for name in weights
    }
    return CombinedReward(found, weights)
