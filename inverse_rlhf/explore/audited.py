"""An audit's folder: the recovered reward as a weighted sum of named objectives."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.audit_tables import FOUND_OBJECTIVES
from inverse_rlhf.explore.answers import (
    Front,
    SamplesAsked,
    TextsAsked,
    credit_words,
    objective_rows,
    scored,
)
from inverse_rlhf.parquet import read_table
from inverse_rlhf.rewards.objective_reward import ObjectiveReward
from inverse_rlhf.show.page import interval, number

_FILES = ("reward.json", "objectives.parquet", "audit.json")


class AuditedReward:
    """What an audit recovered; of its runs it keeps the medians of their weights.

    Args:
        folder: that an audit wrote.

    Raises:
        UserError: it is none, or its files are of different audits.
    """

    def __init__(self, folder: Path) -> None:
        for name in _FILES:
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder} is no folder of an audit: it has no {name}; without a folder the "
                    "explorer shows the run of the project that it is started in"
                )
        self._folder, self._reward = folder, ObjectiveReward.load(folder / "reward.json")
        columns = ["category", "name", "weight", "low", "high", "found", "main"]
        table = read_table(folder / "objectives.parquet", FOUND_OBJECTIVES, columns)
        table = table[table["category"].isna()]
        if not _alike(
            self._reward.weights, dict(zip(table["name"], table["weight"].tolist(), strict=True))
        ):
            raise UserError(
                f"{folder}: reward.json and objectives.parquet are of different audits: audit again"
            )
        self._sizes = {str(row["name"]): abs(row["weight"]) for row in table.to_dict("records")}
        self._remarks = {str(row["name"]): _remark(row) for row in table.to_dict("records")}

    @property
    def front(self) -> Front:
        """What its page says."""
        return Front(
            title="Explorer of an audit's reward",
            question="What does the recovered reward make of a completion, and by which objective?",
            facts={
                "Recovered reward R̂": f"{self._folder}: nats of log π_aligned / π_base, a weighted "
                f"sum of {len(self._reward.weights)} objectives; it compares completions of the "
                "same prompt only",
                "Not known here": "a true reward and a threshold; what single runs make of a text, "
                "as an audit keeps the median of their weights (with 95 % intervals, below)",
            },
            measures={
                "R̂": "recovered reward, in nats",
                "Standardised": "in standard deviations from the mean of the completions that it "
                "was fitted on",
                "Against 1": "the probability that of this and completion 1 this one is the "
                "aligned policy's, if one is",
            },
            unit="nats",
            reads="the completion, beside its prompt",
        )

    def score(self, asked: TextsAsked) -> dict[str, Any]:
        """The reward of each completion, its words and objectives."""
        prompts = [asked.prompt] * len(asked.completions)
        rewards = self._reward.score(asked.completions, prompts)
        standard = (rewards - self._reward.mean) / self._reward.std
        against = expit(rewards.astype(np.float64) - float(rewards[0]))
        rows = [
            {
                "R̂": number(value, 4),
                "Standardised": number(apart, 2, signed=True),
                "Against 1": number(chance, 2) if place else number(None),
            }
            for place, (value, apart, chance) in enumerate(
                zip(rewards.tolist(), standard.tolist(), against.tolist(), strict=True)
            )
        ]

        def score(texts: Sequence[str]) -> np.ndarray:
            return self._reward.score(texts, [asked.prompt] * len(texts))

        credited = [
            credit_words(asked.prompt, completion, score, joined=False)
            for completion in asked.completions
        ]
        notes = [[words.note] if words.note else [] for words in credited]
        objectives = objective_rows(
            asked.completions, prompts, self._reward.weights, self._sizes, self._remarks
        )
        return scored(rows, notes, credited, objectives, self._reward.std)

    def sample(self, asked: SamplesAsked) -> dict[str, Any]:
        """There is nothing to sample."""
        raise UserError("an audit keeps no policies: there is nothing to sample")


def _alike(weights: dict[str, float], table: dict[str, float]) -> bool:
    """Whether weights for a unit and for a standard deviation of the objectives may be the same."""
    return set(weights) == set(table) and all(
        np.sign(weights[name]) == np.sign(table[name]) for name in weights
    )


def _remark(row: Mapping[Hashable, Any]) -> str:
    """What an audit says of an objective: found or not, and its weight with the interval."""
    found = ("found" if row["main"] else "found, minor") if row["found"] else "not found"
    ends = interval(row["low"], row["high"], 2)
    return f"{number(row['weight'], 2, signed=True)} ({ends}), {found}"
