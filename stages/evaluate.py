"""Compare the recovered reward with the true one, and the three policies with each other."""

import time
from pathlib import Path
from typing import Any

import pandas as pd

from inverse_rlhf.cli import run_stage
from inverse_rlhf.explain import disagreements, ngram_surrogate, token_credits
from inverse_rlhf.figures import confusion_points, draw_figures, roc_points
from inverse_rlhf.files import write_csv, write_json
from inverse_rlhf.likelihood import likelihood_table
from inverse_rlhf.measures.runs import correlation_table
from inverse_rlhf.models import load
from inverse_rlhf.params import Params
from inverse_rlhf.report import (
    Rewards,
    add_ensemble,
    policy_report,
    reward_report,
    single_rewards,
    texts_to_score,
    toxicity_report,
    true_cut,
    weight_report,
)
from inverse_rlhf.rewards import (
    IrlReward,
    load_classifier_reward,
    load_irl_reward,
    load_true_reward,
    toxicity_of,
)
from inverse_rlhf.sampling import fits_context, sample_completions
from inverse_rlhf.sources import read_transfer_prompts
from inverse_rlhf.tables import (
    DISAGREEMENTS,
    IRL_RUNS,
    IRL_SCORES,
    NGRAMS,
    PAIRS,
    PROMPTS,
    RUN_CORRELATIONS,
    SCORES,
    TOKEN_CREDITS,
    read_table,
    write_table,
)


def main(params: Params) -> None:
    started = time.monotonic()
    settings = {"resamples": params.evaluate.resamples, "seed": params.seed}
    pairs = read_table("data/pairs.parquet", PAIRS)
    prompts = read_table("data/prompts.parquet", PROMPTS).query("split == 'test'")
    runs = read_table("data/irl_runs.parquet", IRL_RUNS)
    run_scores = read_table("data/irl_scores.parquet", IRL_SCORES)
    by_kind = {kind: Rewards(run_scores, runs, kind) for kind in runs["kind"].unique()}
    irl_reward = load_irl_reward(Path("models/irl_reward"), params.compute)

    rerl = complete(prompts, "rerl", params)
    texts = texts_to_score(pairs.query("split == 'test'"), rerl, prompts)
    scores = add_ensemble(score_texts(texts, irl_reward, params), by_kind["fit"])
    cut = true_cut(scores, params.true_reward.weights)
    likelihoods = measure_likelihoods(pairs, scores, params)
    single = single_rewards(pairs, likelihoods)
    weights = params.true_reward.weights
    rewards = reward_report(
        scores, by_kind, single, cut, human_labels=weights.toxicity > 0, **settings
    )
    rewards |= weight_report(irl_reward, weights)
    policies = policy_report(scores, likelihoods, **settings)
    if params.evaluate.transfer_prompts is not None:
        policies = add_transfer(policies, params)

    write_table(scores, "data/scores.parquet", SCORES)
    write_json(rewards, "metrics/reward.json")
    write_json(policies, "metrics/policies.json")
    write_json(explain(scores, pairs, irl_reward, params), "metrics/explanation.json")
    correlations = correlation_table(by_kind["fit"].on_test(), by_kind["fit"].numbers)
    write_table(correlations, "data/run_correlations.parquet", RUN_CORRELATIONS)
    curves = {name: pd.read_csv(f"metrics/curves/{name}.csv") for name in ("rlhf", "rerl")}
    draw_figures(
        scores, runs, rewards, policies, curves, correlations, irl_reward.card, "metrics/figures"
    )
    write_csv(roc_points(scores, cut), "metrics/curves/roc.csv")
    write_csv(
        confusion_points(scores, irl_reward.card.threshold, cut), "metrics/curves/confusion.csv"
    )
    write_json({"evaluate": {"seconds": time.monotonic() - started}}, "metrics/evaluate.json")


def complete(prompts: pd.DataFrame, name: str, params: Params) -> pd.DataFrame:
    """Completions by a policy, sampled as those of the pairs were."""
    policy, tokenizer = load("policy", Path(f"models/{name}"), params.compute)
    return sample_completions(
        prompts,
        policy,
        tokenizer,
        params.pairs,
        params.compute,
        seed=params.seed,
        name=name,
    )


def score_texts(texts: pd.DataFrame, irl_reward: IrlReward, params: Params) -> pd.DataFrame:
    """The texts with the true and the recovered reward, and p(toxic)."""
    folder, compute = Path("models/true_reward"), params.compute
    whole = (texts["prompt"] + texts["completion"]).tolist()
    classifier = load_classifier_reward(
        folder, compute, toxic_label=params.true_reward.toxic_label
    ).score(whole)
    true_reward = load_true_reward(folder, compute, params.true_reward, params.parts)
    return texts.assign(
        toxicity=toxicity_of(classifier),
        true_reward=true_reward.score(whole),
        irl_reward=irl_reward.score(whole),
    )


def measure_likelihoods(
    pairs: pd.DataFrame, scores: pd.DataFrame, params: Params
) -> dict[str, pd.DataFrame]:
    """Likelihoods of the pairs' completions under the aligned, and of rerl's under the retrained
    policy; of both under the base policy.
    """
    base, tokenizer = load("policy", Path("models/base"), params.compute)
    held_out = pairs[pairs["split"].isin(["valid", "test"])]
    sampled = pd.concat(
        held_out.rename(columns={f"{source}_completion": "completion"}).assign(source=source)
        for source in ("base", "aligned")
    )
    rerl = scores[scores["source"] == "rerl"].assign(split="test")
    measured = {}
    for name, rows in (("rlhf", sampled), ("rerl", rerl)):
        policy, _ = load("policy", Path(f"models/{name}"), params.compute)
        measured[name] = likelihood_table(rows, policy, base, tokenizer, params.compute)
    return measured


def add_transfer(policies: dict[str, dict[str, Any]], params: Params) -> dict[str, dict[str, Any]]:
    """The policies' report with their toxicity on prompts of another domain, under transfer."""
    base, tokenizer = load("policy", Path("models/base"), params.compute)
    prompts = read_transfer_prompts(params.evaluate)
    prompts = prompts[fits_context(prompts, base, tokenizer, params.pairs.max_new_tokens)]
    classifier = load_classifier_reward(
        Path("models/true_reward"), params.compute, toxic_label=params.true_reward.toxic_label
    )
    settings = {"resamples": params.evaluate.resamples, "seed": params.seed}
    report = {}
    for name, policy in policies.items():
        rows = complete(prompts, name, params).merge(prompts, on="prompt_id")
        toxicity = toxicity_of(classifier.score((rows["prompt"] + rows["completion"]).tolist()))
        found = toxicity_report(rows["prompt_id"], toxicity, **settings)
        report[name] = policy | {"transfer": found}
    return report


def explain(
    scores: pd.DataFrame, pairs: pd.DataFrame, reward: IrlReward, params: Params
) -> dict[str, Any]:
    """What the exported reward has learnt: tables beside, the summary returned."""
    test = scores[scores["source"].isin(["base", "aligned"])]
    test = test.assign(text=test["prompt"] + test["completion"])
    write_table(token_credits(test, reward), "data/token_credits.parquet", TOKEN_CREDITS)
    fitted = pairs[pairs["split"] == "irl"]
    texts = [*(fitted["prompt"] + fitted["base_completion"])]
    texts += [*(fitted["prompt"] + fitted["aligned_completion"])]
    held_out = test["text"].tolist(), test["irl_reward"].to_numpy()
    surrogate = ngram_surrogate(texts, reward.score(texts), *held_out, seed=params.seed)
    write_table(surrogate.ngrams, "data/ngrams.parquet", NGRAMS)
    write_table(disagreements(scores), "data/disagreements.parquet", DISAGREEMENTS)
    return {
        "surrogate_r2": surrogate.r2,
        "surrogate_ngrams": len(surrogate.ngrams),
        "most_penalised": surrogate.ngrams["ngram"].head(15).tolist(),
        "most_rewarded": surrogate.ngrams["ngram"].tail(15).tolist()[::-1],
    }


if __name__ == "__main__":
    run_stage(main)
