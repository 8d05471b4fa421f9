"""Recover the reward that explains the pairs; the true reward is not available here.

The policies themselves are read by `irl.loss: log_ratio` alone.
"""

from inverse_rlhf.stage import run_stage

import time
from pathlib import Path

from inverse_rlhf.data.tables import read_pairs, read_prompts
from inverse_rlhf.files import write_csv, write_json
from inverse_rlhf.irl.body import load_body
from inverse_rlhf.irl.fit import fit_rewards
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES, OUTLIERS
from inverse_rlhf.irl.teacher import pair_log_ratios
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.plan import plan_fits
from inverse_rlhf.params import Compute, Group, Irl, Parts, Seed
from inverse_rlhf.parquet import write_table
from inverse_rlhf.resume import unfinished
from inverse_rlhf.show import closing

POLICIES = ("models/base", "models/rlhf")


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    compute: Compute
    irl: Irl
    parts: Parts


def main(params: StageParams) -> list[str]:
    started = time.monotonic()
    prompts = read_prompts("data/prompts.parquet", "irl", "valid", "test")
    pairs = read_pairs("data/pairs.parquet", prompts)
    store = Path(".irl_runs")
    plan_fits(params.irl, params.compute, pairs, prompts, store)
    log_ratios = None
    if params.irl.needs_policies:
        base, aligned = (load("policy", Path(path), params.compute) for path in POLICIES)
        with unfinished("maxmargin_irl", params.compute, ["data/pairs.parquet", *POLICIES]) as kept:
            log_ratios = pair_log_ratios(pairs[pairs["split"] == "irl"], aligned, base, kept=kept)
        del base, aligned  # the fits need their memory
    fitted = fit_rewards(
        pairs,
        prompts,
        load_body(params.irl, params.compute, Path("models/base")),
        params.irl,
        params.parts,
        params.compute,
        seed=params.seed,
        store=store,
        log_ratios=log_ratios,
    )
    write_table(fitted.runs, "data/irl_runs.parquet", IRL_RUNS)
    write_table(fitted.scores, "data/irl_scores.parquet", IRL_SCORES)
    write_table(fitted.outliers, "data/outliers.parquet", OUTLIERS)
    write_csv(fitted.curve(), "metrics/curves/irl.csv")
    fitted.reward.save("models/irl_reward")
    facts = fitted.facts | {"seconds": time.monotonic() - started}
    write_json({"maxmargin_irl": facts}, "metrics/maxmargin_irl.json")
    return closing.maxmargin_irl(facts)


if __name__ == "__main__":
    run_stage(main, shared=True)
