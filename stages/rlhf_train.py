"""The aligned policy: the base policy trained on the true reward."""

from inverse_rlhf.stage import run_stage

from pathlib import Path

import pandas as pd

from inverse_rlhf.data.tables import read_prompts
from inverse_rlhf.files import write_json
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.plan import plan_policy_training
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.params import Compute, Group, Natural, Parts, RewardSum, Rlhf, Seed
from inverse_rlhf.policies.training import of_whole_texts, standardise, train_on_reward
from inverse_rlhf.resume import resumed
from inverse_rlhf.rewards.classifier import ClassifierReward
from inverse_rlhf.rewards.true_reward import combined
from inverse_rlhf.show import closing


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    checkpoints: Natural
    compute: Compute
    rlhf: Rlhf
    parts: Parts
    true_reward: RewardSum


@resumed("data/prompts.parquet", "models/base", "models/true_reward")
def main(params: StageParams, kept: Path) -> list[str]:
    prompts = read_prompts("data/prompts.parquet", "rl")
    judge = Path("models/true_reward") if "toxicity" in params.true_reward.planted else None
    asked = prompts["prompt"].tolist()
    states = Checkpoints(kept, params.checkpoints)
    plan_policy_training("rlhf_train", params.rlhf, params.compute, asked, judge, states)
    whole = not params.rlhf.lora_rank
    policy = load("policy", Path("models/base"), params.compute, trained=whole)

    def classifier() -> ClassifierReward:
        model = load("classifier", Path("models/true_reward"), params.compute)
        return ClassifierReward(model, params.true_reward)

    reward = combined(params.true_reward, params.parts, classifier)
    human = prompts["prompt"].tolist(), prompts["human_completion"].tolist()
    score = standardise(of_whole_texts(reward.score), *human)
    curve = "metrics/curves/rlhf.csv"
    facts = train_on_reward(
        prompts,
        policy,
        score,
        params.rlhf,
        seed=params.seed,
        curve=curve,
        checkpoints=states,
        out="models/rlhf",
    )
    write_json({"rlhf_train": facts}, "metrics/rlhf_train.json")
    return closing.policy_training("rlhf", facts, pd.read_csv(curve))


if __name__ == "__main__":
    run_stage(main, shared=True)
