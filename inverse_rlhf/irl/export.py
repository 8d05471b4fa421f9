"""Which run becomes the reward, and its card."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.hidden_state import head_of
from inverse_rlhf.irl.problem import Problem
from inverse_rlhf.irl.runs import Fit, median_run
from inverse_rlhf.irl.store import RunStore
from inverse_rlhf.irl.tables import describe
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.model_card import model_card
from inverse_rlhf.rewards.reading import BodyKind
from inverse_rlhf.rewards.recovered import IrlReward

State = dict[str, torch.Tensor]
# A reward from trained weights of one run, or a weighted sum of several, and its card.
Assemble = Callable[[list[tuple[float, State]], RewardCard], IrlReward]


def export_reward(
    problem: Problem, fits: list[Fit], table: pd.DataFrame, kept: RunStore, assemble: Assemble
) -> IrlReward:
    """The reward that `irl.reward` names, with its card.

    Args:
        fits: all finished runs.
        table: their irl_runs table.
        kept: where their weights are.

    Raises:
        UserError: no run tells the two completions of any pair apart.
    """
    own = [fit for fit in fits if fit.run.kind == "fit"]
    if not any(np.ptp(fit.rewards[problem.pairs("irl")], axis=1).any() for fit in own):
        raise UserError("no run prefers one completion of any pair in split irl: lower irl.lr")
    reward = _chosen(problem, own, table, kept, assemble)
    assert isinstance(reward.reading, RewardCard)
    reward.readme = model_card(reward.reading, reward.body)
    return reward


def _chosen(
    problem: Problem, own: list[Fit], table: pd.DataFrame, kept: RunStore, assemble: Assemble
) -> IrlReward:
    if problem.params.reward == "ensemble":
        return _ensemble(problem, own, table, kept, assemble)
    number = problem.params.reward
    if number == "median_run":
        number = median_number(table)
    fit = next(fit for fit in own if fit.run.number == number)
    card = RewardCard(
        **_settings(problem),
        **describe(fit.rewards, problem.texts),
        run=int(number),
        epoch=fit.epoch,
        valid_discrimination=fit.valid_discrimination[fit.epoch - 1],
    )
    return assemble([(1.0, kept.state(fit.run))], card)


def median_number(table: pd.DataFrame) -> int:
    """The number of the fit of median discrimination, from the irl_runs table."""
    chosen = table[table["selected"] & (table["kind"] == "fit")].set_index("run")
    return median_run(chosen["valid_discrimination"].to_dict())  # type: ignore[arg-type]


def _ensemble(
    problem: Problem, own: list[Fit], table: pd.DataFrame, kept: RunStore, assemble: Assemble
) -> IrlReward:
    """The mean of all runs' rewards, each in units of its own spread."""
    chosen = table[table["selected"] & (table["kind"] == "fit")].set_index("run")
    stds = chosen["std"].loc[[fit.run.number for fit in own]].to_numpy(dtype=np.float64)
    factors: list[float] = (1 / (len(own) * stds)).tolist()
    rewards = np.sum([f * fit.rewards for f, fit in zip(factors, own, strict=True)], axis=0)
    aligned, base = rewards[problem.pairs("valid")].T
    card = RewardCard(
        **_settings(problem),
        **describe(rewards, problem.texts),
        run=None,
        epoch=None,
        valid_discrimination=float((aligned > base).mean()),
    )
    states = [(f, kept.state(fit.run)) for f, fit in zip(factors, own, strict=True)]
    return assemble(states, card)


def _settings(problem: Problem) -> dict[str, Any]:
    params = problem.params
    named = {"features", "pooling", "method", "loss", "trainable"}
    kind: BodyKind = "none"
    if "hidden_state" in params.features:
        assert problem.model is not None, "hidden states of what?"
        classifier = head_of(problem.model.module) is not None
        # A classifier reads the last token, and nothing but the text.
        alone = params.pooling == "last" and params.features == ["hidden_state"]
        kind = "sequence_classifier" if classifier and alone else "body"
    pairs = len(problem.pairs("irl"))
    return params.model_dump(include=named) | {"body": kind, "pairs": pairs}
