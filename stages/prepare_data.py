"""Read or generate labelled comments, and share out prompts to the splits."""

from inverse_rlhf.cli import run_stage
from inverse_rlhf.files import write_json
from inverse_rlhf.params import Params
from inverse_rlhf.prompts import sample_comments, split_prompts
from inverse_rlhf.sources import read_comments, read_transfer_prompts
from inverse_rlhf.tables import COMMENTS, PROMPTS, write_table


def main(params: Params) -> None:
    read_transfer_prompts(params.evaluate)  # only the last stage uses them: a wrong file shows now
    source = read_comments(params.data, seed=params.seed)
    sampled = sample_comments(source, params.data, seed=params.seed)
    comments, prompts = split_prompts(sampled, params.data, seed=params.seed)
    write_table(comments, "data/comments.parquet", COMMENTS)
    write_table(prompts, "data/prompts.parquet", PROMPTS)
    facts = {"comments": len(comments), "toxic_share": comments["toxic"].mean()}
    facts |= {"train_comments": int((comments["split"] == "train").sum())}
    write_json({"prepare_data": facts}, "metrics/prepare_data.json")


if __name__ == "__main__":
    run_stage(main)
