"""The base policy: trained from scratch on the comments, or taken from a folder or the hub."""

from inverse_rlhf.cli import run_stage
from inverse_rlhf.files import write_json
from inverse_rlhf.models import obtain, save
from inverse_rlhf.params import Params
from inverse_rlhf.tables import COMMENTS, read_table
from inverse_rlhf.training import train_policy


def main(params: Params) -> None:
    group = params.base_policy
    comments = read_table("data/comments.parquet", COMMENTS)
    if group.source == "scratch":
        model, tokenizer, facts = train_policy(
            comments, group.scratch, params.compute, seed=params.seed
        )
    else:
        model, tokenizer = obtain("policy", group, params.compute, key="base_policy")
        facts = {"parameters": model.num_parameters()}
    save((model, tokenizer), "models/base")
    write_json({"base_policy": facts}, "metrics/base_policy.json")


if __name__ == "__main__":
    run_stage(main)
