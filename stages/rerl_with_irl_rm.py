"""Proof of the recovered reward: the base policy trained on it, as RLHF did on the true one."""

from pathlib import Path

from inverse_rlhf.cli import run_stage
from inverse_rlhf.files import write_json
from inverse_rlhf.models import load, save
from inverse_rlhf.params import Params
from inverse_rlhf.policy_gradient import train_on_reward
from inverse_rlhf.rewards import load_irl_reward
from inverse_rlhf.tables import read_prompts


def main(params: Params) -> None:
    prompts = read_prompts("data/prompts.parquet", "rl")
    policy, tokenizer = load("policy", Path("models/base"), params.compute)
    reward = load_irl_reward(Path("models/irl_reward"), params.compute)
    facts = train_on_reward(
        prompts,
        policy,
        tokenizer,
        reward.standardised,
        params.rlhf,
        params.compute,
        seed=params.seed,
        curve="metrics/curves/rerl.csv",
    )
    save((policy, tokenizer), "models/rerl")
    write_json({"rerl_with_irl_rm": facts}, "metrics/rerl_with_irl_rm.json")


if __name__ == "__main__":
    run_stage(main)
