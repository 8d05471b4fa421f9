"""Recover the reward that explains the pairs; the true reward is not available here."""

import time
from pathlib import Path

from inverse_rlhf.cli import run_stage
from inverse_rlhf.files import remove, write_csv, write_json
from inverse_rlhf.irl.fit import fit_rewards
from inverse_rlhf.models import load
from inverse_rlhf.params import Params
from inverse_rlhf.tables import (
    IRL_RUNS,
    IRL_SCORES,
    OUTLIERS,
    read_pairs,
    read_prompts,
    write_table,
)


def main(params: Params) -> None:
    started = time.monotonic()
    store = Path(".irl_runs")
    prompts = read_prompts("data/prompts.parquet", "irl", "valid", "test")
    pairs = read_pairs("data/pairs.parquet", prompts)
    body = load("classifier", Path("models/base"), params.compute, num_labels=1)
    fitted = fit_rewards(
        pairs,
        prompts,
        body,
        params.irl,
        params.parts,
        params.compute,
        seed=params.seed,
        store=store,
    )
    write_table(fitted.runs, "data/irl_runs.parquet", IRL_RUNS)
    write_table(fitted.scores, "data/irl_scores.parquet", IRL_SCORES)
    write_table(fitted.outliers, "data/outliers.parquet", OUTLIERS)
    write_csv(fitted.curve(), "metrics/curves/irl.csv")
    fitted.reward.save("models/irl_reward")
    facts = fitted.facts | {"seconds": time.monotonic() - started}
    write_json({"maxmargin_irl": facts}, "metrics/maxmargin_irl.json")
    remove(store)


if __name__ == "__main__":
    run_stage(main)
