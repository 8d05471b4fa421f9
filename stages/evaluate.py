"""Compare the recovered reward with the true one, and the three policies with each other."""

from inverse_rlhf.stage import run_stage

import time
from pathlib import Path

import pandas as pd

from inverse_rlhf.data.tables import PROMPTS, TRANSFER_PROMPTS, both_policies, read_pairs
from inverse_rlhf.evaluation.candidates import Rewards, add_ensemble, single_rewards
from inverse_rlhf.evaluation.explain import disagreements, explain_by_ngrams
from inverse_rlhf.evaluation.in_words import in_words
from inverse_rlhf.evaluation.margins import extreme_pairs, margin_table
from inverse_rlhf.evaluation.occlusion import common_words, word_credits
from inverse_rlhf.evaluation.policy_metrics import policy_report
from inverse_rlhf.evaluation.reward_metrics import reward_report, true_cut, weight_report
from inverse_rlhf.evaluation.scoring import read_policies, score_texts
from inverse_rlhf.evaluation.summary import summary
from inverse_rlhf.evaluation.tables import (
    DISAGREEMENTS,
    MARGINS,
    NGRAMS,
    RUN_CORRELATIONS,
    SCORES,
    TOKEN_CREDITS,
    WORD_CREDITS,
)
from inverse_rlhf.files import read_json, write_csv, write_json
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES
from inverse_rlhf.measures.between_runs import correlation_table
from inverse_rlhf.params import Params
from inverse_rlhf.parquet import read_table, write_table
from inverse_rlhf.resume import resumed
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.recovered import load_irl_reward, read_card
from inverse_rlhf.show import closing
from inverse_rlhf.show.closed_loop import curves_of, figures_of
from inverse_rlhf.show.drawing import write_figures
from inverse_rlhf.show.figures import TITLES
from inverse_rlhf.show.report import Results, write_report

POLICIES = {
    "base": Path("models/base"),
    "aligned": Path("models/rlhf"),
    "rerl": Path("models/rerl"),
}
READ = (
    "data/prompts.parquet",
    "data/pairs.parquet",
    "data/transfer_prompts.parquet",
    "data/irl_runs.parquet",
    "data/irl_scores.parquet",
)
"""Whose digests the report gives."""


@resumed(*READ, *map(str, POLICIES.values()))
def main(params: Params, kept: Path) -> list[str]:
    started, seed, compute = time.monotonic(), params.seed, params.compute
    # read
    prompts = read_table("data/prompts.parquet", PROMPTS)
    pairs = read_pairs("data/pairs.parquet", prompts)
    test_prompts = prompts[prompts["split"] == "test"]
    transfer = read_table("data/transfer_prompts.parquet", TRANSFER_PROMPTS)
    runs = read_table("data/irl_runs.parquet", IRL_RUNS)
    run_scores = read_table("data/irl_scores.parquet", IRL_SCORES)
    curves = {name: pd.read_csv(f"metrics/curves/{name}.csv") for name in ("rlhf", "rerl")}
    card = read_card(Path("models/irl_reward"), RewardCard)
    threshold = params.evaluate.threshold
    by_kind = {k: Rewards(run_scores, runs, k, threshold) for k in runs["kind"].unique()}

    # measure
    read = read_policies(
        pairs, test_prompts, transfer, POLICIES, params.pairs, compute, seed=seed, kept=kept
    )
    irl_reward = load_irl_reward(Path("models/irl_reward"), compute)
    classifier, planted = Path("models/true_reward"), params.true_reward.planted
    scored = score_texts(read, irl_reward, classifier, params.true_reward, params.parts)
    scores = add_ensemble(scored.scores, by_kind["fit"])
    cut = true_cut(scores, planted)

    # report
    settings = {"resamples": params.evaluate.resamples, "seed": seed}
    rewards = reward_report(
        scores,
        by_kind,
        single_rewards(pairs, read.likelihoods["aligned"]),
        cut,
        threshold=threshold,
        human_labels="toxicity" in planted,
        **settings,
    ) | weight_report(irl_reward, planted)
    policies = policy_report(scored, read, **settings)
    headline = summary(rewards, policies)
    correlations = correlation_table(by_kind["fit"].on_test(), by_kind["fit"].numbers)
    ngrams, explanation = explain_by_ngrams(scores, pairs, scored.irl_reward, seed=seed)
    credits = word_credits(both_policies(scores), scored.irl_reward)
    margins = margin_table(scores, pairs, by_kind["fit"], card.std)
    explanation |= {"words": common_words(credits), "objectives": in_words(scores, **settings)}
    explanation |= extreme_pairs(margins)

    found = Results(
        asked=params.model_dump(),  # the report gives all of them
        planted=planted,
        rewards=rewards,
        policies=policies,
        explanation=explanation,
        scores=scores,
        margins=margins,
        ngrams=ngrams,
        disagreements=disagreements(scores),
        credits=credits,
        card=card,
    )
    figures = figures_of(found, by_kind, runs, correlations, curves)

    # write
    tables = {
        "data/scores.parquet": (scores, SCORES),
        "data/word_credits.parquet": (credits, WORD_CREDITS),
        "data/margins.parquet": (margins, MARGINS),
        "data/token_credits.parquet": (scored.paths.token_credits(), TOKEN_CREDITS),
        "data/ngrams.parquet": (ngrams, NGRAMS),
        "data/disagreements.parquet": (found.disagreements, DISAGREEMENTS),
        "data/run_correlations.parquet": (correlations, RUN_CORRELATIONS),
    }
    for path, (table, schema) in tables.items():
        write_table(table, path, schema)
    for name, points in curves_of(found).items():
        write_csv(points, f"metrics/curves/{name}.csv")
    write_json(rewards, "metrics/reward.json")
    write_json(policies, "metrics/policies.json")
    write_json(explanation, "metrics/explanation.json")
    write_json(headline, "metrics/summary.json")
    drawings = write_figures(figures, TITLES, Path("metrics/figures"), Path("metrics/drawings"))
    write_report(
        "metrics/report.html",
        found,
        scored.irl_reward,
        drawings=drawings,
        versions=read_json("data/inputs/versions.json"),
        data=READ,
    )
    write_json({"evaluate": {"seconds": time.monotonic() - started}}, "metrics/evaluate.json")
    return closing.evaluate(headline, rewards)


if __name__ == "__main__":
    run_stage(main, shared=True)
