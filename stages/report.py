"""Draw what `evaluate` found: the figures, and the report of the closed loop as one page.

It reads tables and no model, so that another look costs seconds.
"""

from inverse_rlhf.stage import run_stage

from pathlib import Path
from typing import Any

import pandas as pd

from inverse_rlhf.evaluation.candidates import Rewards
from inverse_rlhf.evaluation.tables import (
    DISAGREEMENTS,
    MARGINS,
    NGRAMS,
    RUN_CORRELATIONS,
    SCORES,
    SHOWN_CREDITS,
    WORD_CREDITS,
)
from inverse_rlhf.files import read_json, read_report, write_csv
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES
from inverse_rlhf.params import (
    Compute,
    Data,
    Evaluate,
    Group,
    Natural,
    Pairs,
    Parts,
    Pretrained,
    Rlhf,
    Seed,
    TrueReward,
)
from inverse_rlhf.parquet import read_table
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.reading import read_card
from inverse_rlhf.show import closing
from inverse_rlhf.show.closed_loop import curves_of, figures_of
from inverse_rlhf.show.drawing import write_figures
from inverse_rlhf.show.figures import captions
from inverse_rlhf.show.report import Results, write_report

DIGESTS = (
    "data/prompts.parquet",
    "data/pairs.parquet",
    "data/transfer_prompts.parquet",
    "data/irl_runs.parquet",
    "data/irl_scores.parquet",
)
"""What `evaluate` read, whose digests the report gives."""


class StageParams(Group):
    """The params of this stage: all, since the report gives them."""

    seed: Seed
    checkpoints: Natural
    compute: Compute
    data: Data
    parts: Parts
    base_policy: Pretrained
    true_reward: TrueReward
    rlhf: Rlhf
    pairs: Pairs
    irl: dict[str, Any]  # as it stands: it takes torch to check its losses, as earlier stages have
    evaluate: Evaluate


def main(params: StageParams) -> list[str]:
    # read
    found = Results(
        asked=params.model_dump(),
        planted=params.true_reward.planted,
        rewards=read_report("metrics/reward.json"),
        policies=read_report("metrics/policies.json"),
        explanation=read_report("metrics/explanation.json"),
        scores=read_table("data/scores.parquet", SCORES),
        margins=read_table("data/margins.parquet", MARGINS),
        ngrams=read_table("data/ngrams.parquet", NGRAMS),
        disagreements=read_table("data/disagreements.parquet", DISAGREEMENTS),
        credits=read_table("data/word_credits.parquet", WORD_CREDITS),
        shown_credits=read_table("data/shown_credits.parquet", SHOWN_CREDITS),
        card=read_card(Path("models/irl_reward"), RewardCard),
    )
    runs = read_table("data/irl_runs.parquet", IRL_RUNS)
    run_scores = read_table("data/irl_scores.parquet", IRL_SCORES)
    threshold = params.evaluate.threshold
    by_kind = {k: Rewards(run_scores, runs, k, threshold) for k in runs["kind"].unique()}
    correlations = read_table("data/run_correlations.parquet", RUN_CORRELATIONS)
    curves = {name: pd.read_csv(f"metrics/curves/{name}.csv") for name in ("rlhf", "rerl")}

    # draw
    figures = figures_of(found, by_kind, runs, correlations, curves)
    titles = captions(low := found.labels[0])
    drawings = write_figures(figures, titles, Path("metrics/figures"), Path("metrics/drawings"))
    for name, points in curves_of(found, curves).items():
        write_csv(points, f"metrics/curves/{name}.csv")
    versions = read_json("data/inputs/versions.json")
    write_report("metrics/report.html", found, drawings, versions=versions, data=DIGESTS)
    return closing.report(found.rewards, low)


if __name__ == "__main__":
    run_stage(main, models=False)
