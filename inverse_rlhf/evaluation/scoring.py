"""What `evaluate` asks of models: each is loaded once, and no text is read twice by one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from inverse_rlhf.data.tables import both_policies, completions_of, human_rows, texts_of
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.explain import RewardPaths
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import fits_context
from inverse_rlhf.params import Compute, Pairs, Parts, RewardSum
from inverse_rlhf.policies.likelihood import likelihood_table
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.rewards.classifier import ClassifierReward, Reward, toxicity_of
from inverse_rlhf.rewards.recovered import IrlReward
from inverse_rlhf.rewards.true_reward import combined


class ScoredOnce:
    """A reward that remembers what it has scored.

    Args:
        reward: which.
        known: rewards of texts, if there are any already.
    """

    def __init__(self, reward: Reward, known: Mapping[str, float] | None = None) -> None:
        self._reward, self._known = reward, dict(known or {})

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,)."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._reward.score(new).tolist(), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32)


@dataclass(frozen=True)
class PolicyReadings:
    """What the three policies wrote, and how likely they find it.

    Attributes:
        texts: every reported text, see `texts_to_score`.
        likelihoods: `likelihood_table` by policy: of the held-out pairs' completions under
            `aligned`, of the retrained policy's under `rerl`.
        transfer: by source, the policy's completions of prompts of another domain: prompt_id,
            sample, completion and prompt; nothing where there are no such prompts.
        base: the base policy, for its tokens.
    """

    texts: pd.DataFrame
    likelihoods: dict[str, pd.DataFrame]
    transfer: dict[str, pd.DataFrame]
    base: Model


def read_policies(
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    transfer: pd.DataFrame,
    folders: Mapping[str, Path],
    params: Pairs,
    compute: Compute,
    *,
    seed: int,
    kept: Path | None = None,
) -> PolicyReadings:
    """Run the policies, at most two of which are in memory at a time.

    Args:
        pairs: the pairs table.
        prompts: the prompts table's test rows.
        transfer: the transfer_prompts table; prompts that exceed the policies' context are left
            out.
        folders: of base, aligned and rerl.
        kept: a folder of unfinished work, see `resume.unfinished`.

    Raises:
        UserError: all of the transfer prompts exceed the context.
    """
    base = load("policy", folders["base"], compute)
    if len(transfer):
        fits = fits_context(transfer["prompt"].tolist(), base, params.max_new_tokens)
        transfer = transfer[fits]
        if transfer.empty:
            raise UserError("evaluate.transfer_prompts: no prompt fits the policies' context")
    wide: dict[str, pd.DataFrame] = {}

    def complete(rows: pd.DataFrame, policy: Model, name: str) -> pd.DataFrame:
        completions = sample_completions(rows, policy, params, seed=seed, name=name, kept=kept)
        return completions.merge(rows[["prompt_id", "prompt"]], on="prompt_id")

    held_out = pairs[pairs["split"].isin(["valid", "test"])]
    rows, likelihoods = {"aligned": completions_of(held_out)}, {}
    for name in ("rerl", "aligned"):
        policy = load("policy", folders[name], compute)
        if name == "rerl":
            rows[name] = complete(prompts, policy, name).assign(source=name, split="test")
        likelihoods[name] = likelihood_table(rows[name], policy, base, kept=kept)
        if len(transfer):
            wide[name] = complete(transfer, policy, name)
        del policy
    if len(transfer):
        wide["base"] = complete(transfer, base, "base")
    base.module.to("meta")  # its tokens are read on, its weights are not
    texts = texts_to_score(pairs[pairs["split"] == "test"], rows["rerl"], prompts)
    return PolicyReadings(texts, likelihoods, wide, base)


def texts_to_score(pairs: pd.DataFrame, rerl: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Every reported text: prompt_id, prompt, completion, sample, source, the label toxic of the
    comments behind the prompts, and the ids of completions that policies wrote and whether they
    ended.

    Args:
        pairs: the pairs table's test rows.
        rerl: completions of the retrained policy: prompt_id, sample, prompt, completion, ids,
            ended, source.
        prompts: the prompts table's test rows.
    """
    columns = ["prompt_id", "prompt", "completion", "sample", "source", "toxic", "ids", "ended"]
    table = pd.concat([completions_of(pairs), rerl, human_rows(prompts)], ignore_index=True)
    return table[columns].astype({"toxic": "Int8", "sample": "int32"})


@dataclass(frozen=True)
class Scored:
    """The texts with their rewards, and what else was asked of the two rewards.

    Attributes:
        scores: the texts with toxicity (p of the toxic class), true_reward and irl_reward.
        transfer: by source, p(toxic) of `PolicyReadings.transfer`.
        paths: the recovered reward along the tokens of both policies' completions.
        irl_reward: the recovered reward.
    """

    scores: pd.DataFrame
    transfer: dict[str, np.ndarray]
    paths: RewardPaths
    irl_reward: ScoredOnce


def score_texts(
    read: PolicyReadings,
    irl_reward: IrlReward,
    classifier: Path,
    params: RewardSum,
    parts: Parts,
) -> Scored:
    """The texts with the true and the recovered reward, and p(toxic).

    Args:
        classifier: folder of the true reward's toxicity part.
    """
    texts = read.texts
    whole = texts_of(texts)
    model = load("classifier", classifier, read.base.compute)
    log_odds = ScoredOnce(ClassifierReward(model, params))
    paths = RewardPaths(both_policies(texts), irl_reward, read.base)
    recovered = ScoredOnce(irl_reward, paths.whole())
    scores = texts.drop(columns=["ids", "ended"]).assign(
        toxicity=toxicity_of(log_odds.score(whole)),
        true_reward=combined(params, parts, lambda: log_odds).score(whole),
        irl_reward=recovered.score(whole),
    )
    transfer = {
        name: toxicity_of(log_odds.score(texts_of(rows))) for name, rows in read.transfer.items()
    }
    return Scored(scores, transfer, paths, recovered)
