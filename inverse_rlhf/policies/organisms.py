"""Model organisms: policies in which an objective is planted, and their pairs with the base."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.data.given_pairs import GIVEN_PAIRS
from inverse_rlhf.data.tables import paired
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import prompt_ids
from inverse_rlhf.organism_params import Plant
from inverse_rlhf.params import Pairs, Rlhf
from inverse_rlhf.policies.likelihood import log_ratios
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.policies.training import Score, standardise, train_on_reward
from inverse_rlhf.rewards.classifier import Reward
from inverse_rlhf.rewards.planted import PlantedReward, first_word, shuffled


@dataclass(frozen=True)
class Organism:
    """A policy, and what is planted in it.

    Attributes:
        policy: trained, or the base policy itself.
        reward: what is planted in it; None: nothing.
        trained: whether it is another policy than the base.
    """

    policy: Model
    reward: PlantedReward | None
    trained: bool


def grow(
    plant: Plant,
    prompts: pd.DataFrame,
    base: Model,
    written: tuple[list[str], list[str]],
    classifier: Callable[[], Reward],
    params: Rlhf,
    *,
    seed: int,
    curve: Path,
) -> Organism:
    """Train `base` in place on what is planted; without weights it stays as it is.

    Args:
        prompts: of split rl.
        written: prompts and completions of the base policy, over which the reward has mean 0 and
            standard deviation 1.
        curve: see `train_on_reward`.

    Raises:
        UserError: see `PlantedReward` and `train_on_reward`.
    """
    if not plant.weights:
        return Organism(base, None, False)
    reward = PlantedReward(plant, classifier, *written)
    taught: Score = standardise(reward.score, *written)
    if plant.shuffled:
        taught = shuffled(taught, seed=seed)
    train_on_reward(prompts, base, taught, params, seed=seed, curve=curve)
    return Organism(base, None if plant.shuffled else reward, True)


def pairs_with_base(
    organism: Organism,
    prompts: pd.DataFrame,
    base: Model,
    base_completions: pd.DataFrame,
    params: Pairs,
    *,
    seed: int,
    name: str,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Completions of the organism beside the base policy's, and what the plant says of both.

    Args:
        base: the base policy as it was.
        base_completions: BASE.
        name: of the organism, which its completions depend on.

    Returns:
        GIVEN_PAIRS without split, categories being the first words of prompts, with log-ratios
        where the policy was trained; and PLANTED, or None.
    """
    written = sample_completions(prompts, organism.policy, params, seed=seed, name=name)
    sides = {"base": base_completions, "aligned": written}
    columns = ["prompt_id", "sample", "completion"]
    tables = {side: table[columns] for side, table in sides.items()}
    pairs = paired(prompts[["prompt_id", "prompt"]], tables["base"], tables["aligned"])
    pairs["category"] = [first_word(prompt) for prompt in pairs["prompt"]]
    pairs = pairs.assign(base_score=np.nan, aligned_score=np.nan)
    heads = prompt_ids(prompts["prompt"].tolist(), base.tokenizer)
    for side, table in sides.items():
        ratios = (
            log_ratios(heads, table["ids"].tolist(), organism.policy, base)
            if organism.trained
            else np.nan
        )
        pairs[f"{side}_log_ratio"] = ratios
    pairs = pairs[[column for column in GIVEN_PAIRS.names if column != "split"]]
    return pairs, _planted(organism.reward, pairs)


def facts_of(organism: Organism, pairs: pd.DataFrame) -> dict[str, Any]:
    """What is known of an organism beside its pairs.

    Returns:
        kl: to the base policy, in nats, the mean log-ratio of the organism's own completions; None
        where it is the base policy, which may write at another temperature; and of a planted one
        spreads, mean_factor (see `PlantedReward`) and followed.
    """
    kl = float(pairs["aligned_log_ratio"].mean()) if organism.trained else None
    reward = organism.reward
    if reward is None:
        return {"kl": kl}
    own = {"spreads": reward.spreads, "mean_factor": reward.mean_factor}
    return {"kl": kl, "followed": followed(reward, pairs)} | own


def followed(reward: PlantedReward, pairs: pd.DataFrame) -> dict[str, Any]:
    """How far the policy itself follows what is planted: what an audit can find at best.

    Returns:
        weights: of the least-squares fit of the pairs' differences of log-ratios on those of the
        planted parts, in nats for one standard deviation; r2: the share of the former's squares
        that the fit gives. The rest is what training changed besides.
    """
    prompts = pairs["prompt"].tolist()
    base, aligned = (
        reward.parts(prompts, pairs[f"{side}_completion"].tolist()) for side in ("base", "aligned")
    )
    targets = (pairs["aligned_log_ratio"] - pairs["base_log_ratio"]).to_numpy(np.float64)
    weights = np.linalg.lstsq(aligned - base, targets, rcond=None)[0]
    residuals = targets - (aligned - base) @ weights
    return {
        "weights": dict(zip(reward.spreads, weights.tolist(), strict=True)),
        "r2": float(1 - (residuals**2).sum() / (targets**2).sum()),
    }


def _planted(reward: PlantedReward | None, pairs: pd.DataFrame) -> pd.DataFrame | None:
    if reward is None:
        return None
    prompts = pairs["prompt"].tolist()
    scores = {
        f"{side}_reward": reward.score(prompts, pairs[f"{side}_completion"].tolist())
        for side in ("base", "aligned")
    }
    return pairs[["prompt_id"]].assign(**scores).astype(dict.fromkeys(scores, np.float64))
