"""Compare the recovered reward with the true one, and the three policies with each other."""

import time
from pathlib import Path

import pandas as pd

from inverse_rlhf.cli import run_stage
from inverse_rlhf.completions import complete
from inverse_rlhf.evaluation import (
    add_transfer,
    explain,
    measure_likelihoods,
    score_texts,
)
from inverse_rlhf.figures import confusion_points, draw_figures, roc_points
from inverse_rlhf.files import write_csv, write_json
from inverse_rlhf.measures.runs import correlation_table
from inverse_rlhf.params import Params
from inverse_rlhf.report import (
    Rewards,
    add_ensemble,
    policy_report,
    reward_report,
    single_rewards,
    texts_to_score,
    true_cut,
    weight_report,
)
from inverse_rlhf.rewards import load_irl_reward
from inverse_rlhf.sources import read_transfer_prompts
from inverse_rlhf.tables import (
    DISAGREEMENTS,
    IRL_RUNS,
    IRL_SCORES,
    NGRAMS,
    PROMPTS,
    RUN_CORRELATIONS,
    SCORES,
    TOKEN_CREDITS,
    read_pairs,
    read_table,
    write_table,
)

MODELS = {
    "base": Path("models/base"),
    "rlhf": Path("models/rlhf"),
    "rerl": Path("models/rerl"),
    "true_reward": Path("models/true_reward"),
}


def main(params: Params) -> None:
    started = time.monotonic()
    transfer = read_transfer_prompts(params.evaluate)
    settings = {"resamples": params.evaluate.resamples, "seed": params.seed}
    prompts = read_table("data/prompts.parquet", PROMPTS)
    pairs = read_pairs("data/pairs.parquet", prompts)
    prompts = prompts.query("split == 'test'")
    runs = read_table("data/irl_runs.parquet", IRL_RUNS)
    run_scores = read_table("data/irl_scores.parquet", IRL_SCORES)
    by_kind = {kind: Rewards(run_scores, runs, kind) for kind in runs["kind"].unique()}
    irl_reward = load_irl_reward(Path("models/irl_reward"), params.compute)

    rerl = complete(prompts, MODELS["rerl"], params, name="rerl")
    texts = texts_to_score(pairs.query("split == 'test'"), rerl, prompts)
    scores = add_ensemble(score_texts(texts, irl_reward, MODELS, params), by_kind["fit"])
    cut = true_cut(scores, params.true_reward.weights)
    likelihoods = measure_likelihoods(pairs, scores, MODELS, params)
    single = single_rewards(pairs, likelihoods)
    weights = params.true_reward.weights
    rewards = reward_report(
        scores,
        by_kind,
        single,
        cut,
        threshold=params.irl.threshold,
        human_labels=weights.toxicity > 0,
        **settings,
    )
    rewards |= weight_report(irl_reward, weights)
    policies = policy_report(scores, likelihoods, **settings)
    if transfer is not None:
        policies = add_transfer(policies, transfer, MODELS, params)
    explanation = explain(scores, pairs, irl_reward, MODELS, params)

    write_table(scores, "data/scores.parquet", SCORES)
    write_json(rewards, "metrics/reward.json")
    write_json(policies, "metrics/policies.json")
    write_json(explanation.facts, "metrics/explanation.json")
    write_table(explanation.token_credits, "data/token_credits.parquet", TOKEN_CREDITS)
    write_table(explanation.ngrams, "data/ngrams.parquet", NGRAMS)
    write_table(explanation.disagreements, "data/disagreements.parquet", DISAGREEMENTS)
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


if __name__ == "__main__":
    run_stage(main)
