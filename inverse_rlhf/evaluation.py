"""What `evaluate` measures with models: rewards, likelihoods, transfer and explanations."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from inverse_rlhf.completions import complete
from inverse_rlhf.errors import UserError
from inverse_rlhf.explain import disagreements, ngram_surrogate, token_credits
from inverse_rlhf.likelihood import likelihood_table
from inverse_rlhf.models import load
from inverse_rlhf.params import Params
from inverse_rlhf.report import toxicity_report
from inverse_rlhf.rewards import (
    ClassifierReward,
    IrlReward,
    load_classifier_reward,
    load_true_reward,
    toxicity_of,
)
from inverse_rlhf.sampling import fits_context
from inverse_rlhf.tables import completions_of

Models = Mapping[str, Path]  # folders of base, rlhf, rerl and true_reward


def score_texts(
    texts: pd.DataFrame, irl_reward: IrlReward, models: Models, params: Params
) -> pd.DataFrame:
    """The texts with the true and the recovered reward, and p(toxic)."""
    folder, compute = models["true_reward"], params.compute
    whole = (texts["prompt"] + texts["completion"]).tolist()
    toxic_label = params.true_reward.toxic_label
    true_reward = load_true_reward(folder, compute, params.true_reward, params.parts)
    values = log_odds = true_reward.score(whole)
    if not isinstance(true_reward, ClassifierReward):
        log_odds = load_classifier_reward(folder, compute, toxic_label=toxic_label).score(whole)
    return texts.assign(
        toxicity=toxicity_of(log_odds),
        true_reward=values,
        irl_reward=irl_reward.score(whole),
    )


def measure_likelihoods(
    pairs: pd.DataFrame, scores: pd.DataFrame, models: Models, params: Params
) -> dict[str, pd.DataFrame]:
    """Likelihoods of the pairs' completions under the aligned, and of rerl's under the retrained
    policy; of both under the base policy.
    """
    base, tokenizer = load("policy", models["base"], params.compute)
    held_out = pairs[pairs["split"].isin(["valid", "test"])]
    rerl = scores[scores["source"] == "rerl"].assign(split="test")
    measured = {}
    for name, rows in (("rlhf", completions_of(held_out)), ("rerl", rerl)):
        policy, _ = load("policy", models[name], params.compute)
        measured[name] = likelihood_table(
            rows,
            policy,
            base,
            tokenizer,
            params.compute,
            max_new_tokens=params.pairs.max_new_tokens,
        )
    return measured


def add_transfer(
    policies: dict[str, dict[str, Any]], prompts: pd.DataFrame, models: Models, params: Params
) -> dict[str, dict[str, Any]]:
    """The policies' report with their toxicity on prompts of another domain, under transfer.

    Args:
        policies: `policy_report`'s.
        prompts: columns prompt_id and prompt; those that exceed the policies' context are left out.

    Raises:
        UserError: all of them do.
    """
    base, tokenizer = load("policy", models["base"], params.compute)
    prompts = prompts[fits_context(prompts, base, tokenizer, params.pairs.max_new_tokens)]
    if prompts.empty:
        raise UserError("evaluate.transfer_prompts: no prompt fits the policies' context")
    classifier = load_classifier_reward(
        models["true_reward"], params.compute, toxic_label=params.true_reward.toxic_label
    )
    settings = {"resamples": params.evaluate.resamples, "seed": params.seed}
    report = {}
    for name, policy in policies.items():
        rows = complete(prompts, models[name], params, name=name).merge(prompts, on="prompt_id")
        toxicity = toxicity_of(classifier.score((rows["prompt"] + rows["completion"]).tolist()))
        found = toxicity_report(rows["prompt_id"], toxicity, **settings)
        report[name] = policy | {"transfer": found}
    return report


@dataclass(frozen=True)
class Explanation:
    """What the exported reward has learnt: three tables and a summary of them."""

    token_credits: pd.DataFrame
    ngrams: pd.DataFrame
    disagreements: pd.DataFrame
    facts: dict[str, Any]


def explain(
    scores: pd.DataFrame,
    pairs: pd.DataFrame,
    reward: IrlReward,
    models: Models,
    params: Params,
) -> Explanation:
    """Explain a reward by its credits for tokens, by n-grams, and by where it disagrees.

    Args:
        scores: the scores table.
        pairs: the pairs table; the n-grams are fitted on its irl split.
        models: of the base policy, whose tokens the credits are for.
    """
    test = scores[scores["source"].isin(["base", "aligned"])]
    test = test.assign(text=test["prompt"] + test["completion"])
    fitted = completions_of(pairs[pairs["split"] == "irl"])
    texts = (fitted["prompt"] + fitted["completion"]).tolist()
    held_out = test["text"].tolist(), test["irl_reward"].to_numpy()
    surrogate = ngram_surrogate(texts, reward.score(texts), *held_out, seed=params.seed)
    ngrams = surrogate.ngrams
    penalised, rewarded = (ngrams.query(f"weight {sign} 0")["ngram"] for sign in ("<", ">"))
    facts = {
        "surrogate_r2": surrogate.r2,
        "surrogate_ngrams": len(ngrams),
        "most_penalised": penalised.head(15).tolist(),
        "most_rewarded": rewarded.tail(15).tolist()[::-1],
    }
    credit = token_credits(test, reward, load("policy", models["base"], params.compute))
    return Explanation(credit, ngrams, disagreements(scores), facts)
