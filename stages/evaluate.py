"""Compare the recovered reward with the true one, and the three policies with each other."""

import time
from pathlib import Path

import pandas as pd

from inverse_rlhf.cli import run_stage
from inverse_rlhf.figures import confusion_points, draw_figures, roc_points
from inverse_rlhf.files import write_csv, write_json
from inverse_rlhf.irl.selection import otsu_threshold
from inverse_rlhf.likelihood import Likelihoods, likelihoods
from inverse_rlhf.models import load
from inverse_rlhf.params import Params
from inverse_rlhf.report import (
    POLICIES,
    Rewards,
    add_ensemble,
    policy_report,
    reward_report,
    texts_to_score,
)
from inverse_rlhf.rewards import load_irl_reward, load_true_reward, read_card
from inverse_rlhf.sampling import sample_completions
from inverse_rlhf.tables import (
    IRL_RUNS,
    IRL_SCORES,
    PAIRS,
    PROMPTS,
    SCORES,
    read_table,
    write_table,
)


def main(params: Params) -> None:
    started = time.monotonic()
    scores = score_texts(test_texts(params), params)
    runs = read_table("data/irl_runs.parquet", IRL_RUNS)
    run_scores = read_table("data/irl_scores.parquet", IRL_SCORES)
    fitted, shuffled = (Rewards(run_scores, runs, shuffled=control) for control in (False, True))
    scores = add_ensemble(scores, fitted)
    settings = {"resamples": params.evaluate.resamples, "seed": params.seed}
    threshold = otsu_threshold(fitted.base_valid())
    rewards = reward_report(fitted, shuffled, scores, threshold, **settings)
    policies = policy_report(scores, measure_likelihoods(scores, params), **settings)
    write_table(scores, "data/scores.parquet", SCORES)
    write_json(rewards, "metrics/reward.json")
    write_json(policies, "metrics/policies.json")
    curves = {name: pd.read_csv(f"metrics/curves/{name}.csv") for name in ("rlhf", "rerl")}
    card = read_card(Path("models/irl_reward"))
    draw_figures(scores, runs, policies, curves, card.run, "metrics/figures")
    write_csv(roc_points(scores), "metrics/curves/roc.csv")
    write_csv(confusion_points(scores, card.threshold), "metrics/curves/confusion.csv")
    write_json({"evaluate": {"seconds": time.monotonic() - started}}, "metrics/evaluate.json")


def test_texts(params: Params) -> pd.DataFrame:
    """All texts that numbers are reported on, the retrained policy's sampled here."""
    pairs = read_table("data/pairs.parquet", PAIRS).query("split == 'test'")
    prompts = read_table("data/prompts.parquet", PROMPTS).query("split == 'test'")
    policy, tokenizer = load("policy", Path("models/rerl"), params.compute)
    rerl = sample_completions(
        prompts,
        policy,
        tokenizer,
        params.pairs,
        params.compute,
        seed=params.seed,
        description="rerl completions",
    )
    return texts_to_score(pairs, rerl, prompts)


def score_texts(texts: pd.DataFrame, params: Params) -> pd.DataFrame:
    """The texts with the true and the recovered reward."""
    true_reward = load_true_reward(
        Path("models/true_reward"), params.compute, toxic_label=params.true_reward.toxic_label
    )
    irl_reward = load_irl_reward(Path("models/irl_reward"), params.compute)
    whole = (texts["prompt"] + texts["completion"]).tolist()
    return texts.assign(true_reward=true_reward.score(whole), irl_reward=irl_reward.score(whole))


def measure_likelihoods(scores: pd.DataFrame, params: Params) -> dict[str, Likelihoods]:
    """Each policy's completions under itself and under the base policy, by source."""
    base, tokenizer = load("policy", Path("models/base"), params.compute)
    measured = {}
    for name, source in POLICIES.items():
        policy, _ = load("policy", Path(f"models/{name}"), params.compute)
        own = scores[scores["source"] == source]
        measured[source] = likelihoods(
            own["prompt"].tolist(),
            own["completion"].tolist(),
            policy,
            base,
            tokenizer,
            params.compute,
        )
    return measured


if __name__ == "__main__":
    run_stage(main)
