"""Proof of the recovered reward: the base policy trained on it, as RLHF did on the true one."""

from inverse_rlhf.stage import run_stage

from pathlib import Path

import pandas as pd

from inverse_rlhf.data.tables import read_prompts
from inverse_rlhf.files import write_json
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.plan import plan_policy_training
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.params import Compute, Group, Natural, Rlhf, Seed
from inverse_rlhf.policies.training import of_whole_texts, train_on_reward
from inverse_rlhf.resume import resumed
from inverse_rlhf.rewards.recovered import load_irl_reward
from inverse_rlhf.show import closing


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    checkpoints: Natural
    compute: Compute
    rlhf: Rlhf


@resumed("data/prompts.parquet", "models/base", "models/irl_reward")
def main(params: StageParams, kept: Path) -> list[str]:
    prompts = read_prompts("data/prompts.parquet", "rl")
    folder = Path("models/irl_reward")
    asked = prompts["prompt"].tolist()
    states = Checkpoints(kept, params.checkpoints)
    plan_policy_training("rerl_with_irl_rm", params.rlhf, params.compute, asked, folder, states)
    whole = not params.rlhf.lora_rank
    policy = load("policy", Path("models/base"), params.compute, trained=whole)
    reward = load_irl_reward(folder, params.compute)
    score = of_whole_texts(reward.standardised)
    curve = "metrics/curves/rerl.csv"
    facts = train_on_reward(
        prompts,
        policy,
        score,
        params.rlhf,
        seed=params.seed,
        curve=curve,
        checkpoints=states,
        out="models/rerl",
    )
    write_json({"rerl_with_irl_rm": facts}, "metrics/rerl_with_irl_rm.json")
    return closing.policy_training("rerl", facts, pd.read_csv(curve))


if __name__ == "__main__":
    run_stage(main, shared=True)
