"""What every run makes of a text, from what the runs made of texts that none was fitted on.

A run's weights are kept by the machine that fitted it alone; its rewards of thousands of texts are
an output of the pipeline. Where a reward is a weighted sum of features that all runs share, these
rewards determine its weights, by least squares without an error but rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.features.text import stacked
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.recovered import IrlReward

_CHECKED = 50  # texts that the weights are tried on
_ROUNDING = 1e-3  # standard deviations of the reward
_KEYS = ["prompt_id", "sample", "source"]


class RunRewards:
    """The rewards of all runs, each standardised by its own mean and spread.

    Args:
        reward: the recovered reward, which is of one of the runs or their mean.
        card: its card.
        runs: the irl_runs table.
        scores: the irl_scores table.
        texts: prompt_id, sample, source and text of the texts in `scores`.
        threshold: name of the one that the runs are cut by.

    Attributes:
        numbers: of the runs.
        why_not: why other texts' rewards are not known; None: they are.

    Raises:
        UserError: the reward is not the one that the tables were written with.
    """

    def __init__(
        self,
        reward: IrlReward,
        card: RewardCard,
        runs: pd.DataFrame,
        scores: pd.DataFrame,
        texts: pd.DataFrame,
        threshold: str,
    ) -> None:
        chosen = runs[runs["selected"] & (runs["kind"] == "fit")].set_index("run").sort_index()
        self.numbers: list[int] = chosen.index.tolist()
        self._reward, self._card = reward, card
        self._mean, self._std, self._cut = (
            chosen[name].to_numpy(dtype=np.float64)
            for name in ("mean", "std", f"threshold_{threshold}")
        )
        self.why_not = None
        if card.trainable != "head":
            self.why_not = "each run trained a transformer of its own, of which one is kept"
            return
        own = scores[scores["kind"] == "fit"].astype({"source": str})
        table = own.pivot(index=_KEYS, columns="run", values="irl_reward")
        self._weigh(texts.set_index(_KEYS).join(table, how="inner"))

    def _weigh(self, table: pd.DataFrame) -> None:
        """Find the runs' weights from their rewards of texts."""
        table = table.sample(frac=1, random_state=0)
        width = self._features(table["text"].tolist()[:1]).shape[1]
        count = 2 * width + 100
        if count + _CHECKED > len(table):
            self.why_not = f"{len(table)} texts do not tell the weights of {width} features"
            return
        # Standardised: least squares takes columns of a small unit for rounding.
        used = table[: count + _CHECKED]
        values = self._features(used["text"].tolist())
        scale = np.maximum(np.abs(values[:count]).max(axis=0), np.finfo(np.float32).tiny)
        rewards = used[self.numbers].to_numpy(dtype=np.float64)
        found, *_ = np.linalg.lstsq(values[:count] / scale, rewards[:count])
        self._weight = found / scale[:, None]
        tried = values[count:] @ self._weight
        if np.abs((tried - rewards[count:]) / self._std).max() > _ROUNDING:
            self.why_not = "their rewards of other texts do not tell their weights"
            return
        if not self._agrees(tried, self._reward.score(used["text"].tolist()[count:])).all():
            raise UserError(
                "models/irl_reward is not of the runs in data/irl_scores.parquet: run `make repro`"
            )

    def of(self, text: str, value: float) -> "Spread | None":
        """What the runs make of a text; None where that is not known: it has features that the
        texts behind the weights had not.

        Args:
            value: the recovered reward of the text.
        """
        if self.why_not is not None:
            return None
        rewards = self._features([text]) @ self._weight
        if not self._agrees(rewards, np.array([value]))[0]:
            return None
        standard = (rewards[0] - self._mean) / self._std
        return Spread(
            runs=len(standard),
            mean=float(standard.mean()),
            std=float(standard.std()),
            low=float(standard.min()),
            high=float(standard.max()),
            below=int((rewards[0] < self._cut).sum()),
        )

    def _agrees(self, rewards: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Of which texts the runs' rewards are in keeping with the recovered one: (texts,)."""
        if self._card.run is None:  # each in units of its own spread
            kept = (rewards / self._std).mean(axis=1)
        else:
            kept = rewards[:, self.numbers.index(self._card.run)]
        agree: np.ndarray = np.abs(kept - own) <= _ROUNDING * self._card.std
        return agree

    def _features(self, texts: Sequence[str]) -> np.ndarray:
        """What the reward weighs, float64 of shape (texts, features)."""
        reward, blocks = self._reward, []
        if reward.body is not None:
            pooling = reward.reading.pooling
            blocks.append(hidden_states(texts, reward.body, pooling=pooling, truncate=True))
        if reward.text is not None:
            blocks.append(stacked(reward.text.features, texts).toarray())
        return np.concatenate(blocks, axis=1, dtype=np.float64)


@dataclass(frozen=True)
class Spread:
    """What the runs make of a text, in standard deviations of each run's reward.

    Attributes:
        runs: how many there are.
        mean, std, low, high: over the runs.
        below: how many runs have it below their own threshold.
    """

    runs: int
    mean: float
    std: float
    low: float
    high: float
    below: int
