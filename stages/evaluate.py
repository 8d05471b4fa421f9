"""Compare the recovered reward with the true one, and the three policies with each other."""

from inverse_rlhf.stage import run_stage

import time
from pathlib import Path

from inverse_rlhf.data.tables import PROMPTS, TRANSFER_PROMPTS, both_policies, read_pairs
from inverse_rlhf.evaluation.candidates import Rewards, add_ensemble, single_rewards
from inverse_rlhf.evaluation.explain import disagreements, explain_by_ngrams
from inverse_rlhf.evaluation.in_words import in_words
from inverse_rlhf.evaluation.margins import extreme_pairs, margin_table
from inverse_rlhf.evaluation.occlusion import READINGS, common_words, word_credits
from inverse_rlhf.evaluation.policy_metrics import policy_report
from inverse_rlhf.evaluation.reward_metrics import reward_report, true_cut, weight_report
from inverse_rlhf.evaluation.scoring import read_policies, score_texts
from inverse_rlhf.evaluation.shown import choose
from inverse_rlhf.evaluation.summary import summary
from inverse_rlhf.evaluation.tables import (
    DISAGREEMENTS,
    MARGINS,
    NGRAMS,
    RUN_CORRELATIONS,
    SCORES,
    SHOWN_CREDITS,
    TOKEN_CREDITS,
    WORD_CREDITS,
)
from inverse_rlhf.files import write_json
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES
from inverse_rlhf.measures.between_runs import correlation_table
from inverse_rlhf.models.plan import plan_evaluation
from inverse_rlhf.params import Compute, Group, Pairs, Parts, Reports, RewardSum, Seed
from inverse_rlhf.parquet import read_table, write_table
from inverse_rlhf.resume import resumed
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.reading import read_card
from inverse_rlhf.rewards.recovered import load_irl_reward
from inverse_rlhf.show import closing

POLICIES = {
    "base": Path("models/base"),
    "aligned": Path("models/rlhf"),
    "rerl": Path("models/rerl"),
}


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    compute: Compute
    parts: Parts
    true_reward: RewardSum
    pairs: Pairs
    evaluate: Reports


@resumed(
    "data/pairs.parquet",
    "data/prompts.parquet",
    "data/transfer_prompts.parquet",
    *map(str, POLICIES.values()),
)
def main(params: StageParams, kept: Path) -> list[str]:
    started, seed, compute = time.monotonic(), params.seed, params.compute
    # read
    prompts = read_table("data/prompts.parquet", PROMPTS)
    pairs = read_pairs("data/pairs.parquet", prompts)
    test_prompts = prompts[prompts["split"] == "test"]
    transfer = read_table("data/transfer_prompts.parquet", TRANSFER_PROMPTS)
    runs = read_table("data/irl_runs.parquet", IRL_RUNS)
    run_scores = read_table("data/irl_scores.parquet", IRL_SCORES)
    card = read_card(Path("models/irl_reward"), RewardCard)
    threshold = params.evaluate.threshold
    by_kind = {k: Rewards(run_scores, runs, k, threshold) for k in runs["kind"].unique()}

    # measure
    reward, classifier = Path("models/irl_reward"), Path("models/true_reward")
    plan_evaluation(params.pairs, compute, test_prompts, classifier, reward, left_out=READINGS)
    read = read_policies(
        pairs, test_prompts, transfer, POLICIES, params.pairs, compute, seed=seed, kept=kept
    )
    irl_reward = load_irl_reward(reward, compute)
    planted = params.true_reward.planted
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

    most_disputed = disagreements(scores)
    shown = choose(scores, most_disputed, margins).rows()

    # write
    tables = {
        "data/scores.parquet": (scores, SCORES),
        "data/word_credits.parquet": (credits, WORD_CREDITS),
        "data/shown_credits.parquet": (word_credits(shown, scored.irl_reward), SHOWN_CREDITS),
        "data/margins.parquet": (margins, MARGINS),
        "data/token_credits.parquet": (scored.paths.token_credits(), TOKEN_CREDITS),
        "data/ngrams.parquet": (ngrams, NGRAMS),
        "data/disagreements.parquet": (most_disputed, DISAGREEMENTS),
        "data/run_correlations.parquet": (correlations, RUN_CORRELATIONS),
    }
    for path, (table, schema) in tables.items():
        write_table(table, path, schema)
    write_json(rewards, "metrics/reward.json")
    write_json(policies, "metrics/policies.json")
    write_json(explanation, "metrics/explanation.json")
    write_json(headline, "metrics/summary.json")
    write_json({"evaluate": {"seconds": time.monotonic() - started}}, "metrics/evaluate.json")
    return closing.evaluate(headline, rewards)


if __name__ == "__main__":
    run_stage(main, shared=True)
