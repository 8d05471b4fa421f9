"""A reward that is a weighted sum of text features."""

import json
from collections.abc import Sequence

import numpy as np

from inverse_rlhf.features.objectives import Objectives
from inverse_rlhf.features.text import Named, TextFeature, restore, stacked


class LinearTextReward:
    """A weighted sum of text features.

    Args:
        features: in the order of `weight`.
        weight: float64 of shape (columns of all features,).
    """

    def __init__(self, features: list[TextFeature], weight: np.ndarray) -> None:
        self.features, self.weight = features, weight

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        values: np.ndarray = stacked(self.features, texts) @ self.weight
        return values.astype(np.float32)

    def part_weights(self) -> dict[str, float]:
        """The weights of named features and objectives, as far as they are among the features.

        What is named alone and among the objectives has two, which are added.
        """
        ends = np.cumsum([len(feature.names) for feature in self.features])
        found: dict[str, float] = {}
        for feature, end in zip(self.features, ends, strict=True):
            if isinstance(feature, Named | Objectives):
                start = end - len(feature.names)
                for name, weight in zip(feature.names, self.weight[start:end], strict=True):
                    found[name] = found.get(name, 0.0) + float(weight)
        return found

    def to_json(self) -> str:
        """What `from_json` reads."""
        states = [feature.state() for feature in self.features]
        return json.dumps({"features": states, "weight": self.weight.tolist()}) + "\n"

    @classmethod
    def from_json(cls, content: str) -> "LinearTextReward":
        """The reward that `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError: it did not.
        """
        read = json.loads(content)
        features = [restore(state) for state in read["features"]]
        weight = np.array(read["weight"], dtype=np.float64)
        if weight.shape != (sum(len(feature.names) for feature in features),):
            raise ValueError("its weights do not match its features")
        return cls(features, weight)
