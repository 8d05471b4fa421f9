"""The aligned policy: the base policy trained on the true reward."""

from pathlib import Path

from inverse_rlhf.cli import run_stage
from inverse_rlhf.files import write_json
from inverse_rlhf.models import load, save
from inverse_rlhf.params import Params
from inverse_rlhf.policy_gradient import standardise, train_on_reward
from inverse_rlhf.rewards import load_true_reward
from inverse_rlhf.tables import read_prompts


def main(params: Params) -> None:
    prompts = read_prompts("data/prompts.parquet", "rl")
    policy, tokenizer = load("policy", Path("models/base"), params.compute)
    reward = load_true_reward(
        Path("models/true_reward"), params.compute, params.true_reward, params.parts
    )
    human = (prompts["prompt"] + prompts["human_completion"]).tolist()
    facts = train_on_reward(
        prompts,
        policy,
        tokenizer,
        standardise(reward.score, human),
        params.rlhf,
        params.compute,
        seed=params.seed,
        curve="metrics/curves/rlhf.csv",
    )
    save((policy, tokenizer), "models/rlhf")
    write_json({"rlhf_train": facts}, "metrics/rlhf_train.json")


if __name__ == "__main__":
    run_stage(main)
