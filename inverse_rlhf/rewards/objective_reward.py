"""The reward that an audit recovers: a weighted sum of named objectives of a completion."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.features.objectives import Objectives
from inverse_rlhf.files import write_json


class _Card(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: dict[str, FiniteFloat]
    mean: FiniteFloat
    std: FiniteFloat


class ObjectiveReward:
    """A reward in nats of log pi_aligned / pi_base, up to an offset of each prompt.

    Args:
        weights: by objective, for one unit of it.
        mean, std: of the reward on the completions it was fitted on.

    Raises:
        ValueError: there is no objective of a name.
    """

    def __init__(self, weights: dict[str, float], mean: float, std: float) -> None:
        self.weights, self.mean, self.std = weights, mean, std
        self._objectives = Objectives(list(weights))

    def score(self, texts: Sequence[str], prompts: Sequence[str] | None = None) -> np.ndarray:
        """Rewards, float32 of shape (texts,).

        Args:
            texts: completions, without their prompts.
            prompts: of each; without them no text overlaps with its prompt, so that a prompt's
                rewards compare only if the weight of prompt_overlap is 0.

        Raises:
            TypeError: one text in place of several.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one text: give a list of texts")
        weight = np.array(list(self.weights.values()))
        values: np.ndarray = self._objectives.transform(texts, prompts) @ weight
        return values.astype(np.float32)

    def save(self, path: Path | str) -> None:
        """Write it as JSON."""
        write_json({"weights": self.weights, "mean": self.mean, "std": self.std}, path)

    @classmethod
    def load(cls, path: Path | str) -> "ObjectiveReward":
        """The reward that `save` wrote.

        Raises:
            UserError: there is none, or it names an objective that is not known here.
        """
        try:
            card = _Card.model_validate_json(Path(path).read_text(encoding="utf-8"))
            return cls(card.weights, card.mean, card.std)
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no reward of an audit: {first_line(error)}") from None
