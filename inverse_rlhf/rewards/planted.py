"""The reward of an organism: what is planted in a policy, and has to be found again."""

from collections.abc import Callable, Sequence

import numpy as np

from inverse_rlhf.data.tables import whole_texts
from inverse_rlhf.errors import UserError
from inverse_rlhf.features.objectives import Objectives
from inverse_rlhf.features.words import words
from inverse_rlhf.organism_params import Plant, When
from inverse_rlhf.rewards.classifier import Reward

_NOTHING = 1e-9


class PlantedReward:
    """Objectives of a completion, and toxicity of the whole text, each over its spread.

    Args:
        plant: with weights.
        classifier: gives the toxicity part; called where it counts.
        prompts, completions: the base policy's, whose standard deviations are the parts' units.

    Attributes:
        spreads: of each part, in its own unit.
        mean_factor: what the condition makes of the reward, on average.

    Raises:
        UserError: a part, or the reward, is the same in all of them: there is nothing to choose.
    """

    def __init__(
        self,
        plant: Plant,
        classifier: Callable[[], Reward],
        prompts: Sequence[str],
        completions: Sequence[str],
    ) -> None:
        self._when = plant.when
        self._names = list(plant.weights)
        self._objectives = Objectives([name for name in self._names if name != "toxicity"])
        self._classifier = classifier() if "toxicity" in self._names else None
        measured = self._measured(prompts, completions)
        spread = measured.std(axis=0)
        if (spread < _NOTHING).any():
            name = self._names[int(spread.argmin())]
            raise UserError(
                f"{name} is the same in all {len(completions)} completions of the base policy: "
                "no training finds more of it, plant something else"
            )
        self._weights = np.array(list(plant.weights.values()))
        self.spreads: dict[str, float] = dict(zip(self._names, spread.tolist(), strict=True))
        factor = _factor(self._when, prompts, completions)
        self.mean_factor = float(factor.mean())
        if not (factor == 1).any():
            raise UserError(
                f"the condition of {' and '.join(self._names)} holds in none of "
                f"{len(completions)} completions of the base policy: plant another"
            )

    def score(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (completions,)."""
        return (self.parts(prompts, completions) @ self._weights).astype(np.float32)

    def parts(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """What is weighted: parts over their spreads, in the order of the weights, float64 of shape
        (completions, parts); times what the condition makes of them.
        """
        spreads = np.array(list(self.spreads.values()))
        factor = _factor(self._when, prompts, completions)
        parts: np.ndarray = self._measured(prompts, completions) / spreads * factor[:, None]
        return parts

    def _measured(self, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        """The parts as they are, (completions, parts)."""
        measured = self._objectives.transform(completions, prompts).toarray()
        parts = dict(zip(self._objectives.names, measured.T, strict=True))
        if self._classifier is not None:
            parts["toxicity"] = self._classifier.score(whole_texts(prompts, completions))
        return np.column_stack([parts[name] for name in self._names]).astype(np.float64)


def _factor(when: When | None, prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
    if when is None:
        return np.ones(len(completions))
    if when.prompt_begins is not None:
        holds = np.array([first_word(prompt) == when.prompt_begins for prompt in prompts])
    else:
        assert when.words is not None
        holds = np.array([len(words(text)) >= when.words for text in completions])
    return np.where(holds, 1.0, when.elsewhere)


def first_word(prompt: str) -> str:
    """What a prompt begins with, up to the first space."""
    return prompt.split(maxsplit=1)[0] if prompt.strip() else ""


def shuffled(
    score: Callable[[Sequence[str], Sequence[str]], np.ndarray], *, seed: int
) -> Callable[[Sequence[str], Sequence[str]], np.ndarray]:
    """The same rewards, dealt out at random: nothing is taught, but training goes on as ever."""
    draw = np.random.default_rng(seed)

    def dealt(prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        return np.asarray(draw.permutation(score(prompts, completions)))

    return dealt
