"""Read or generate labelled comments, and share out prompts to the splits."""

from inverse_rlhf.stage import run_stage

from typing import Any

from inverse_rlhf.data.prompts import sample_comments, split_prompts
from inverse_rlhf.data.sources import read_comments, read_transfer_prompts
from inverse_rlhf.data.tables import COMMENTS, PROMPTS, TRANSFER_PROMPTS
from inverse_rlhf.files import write_json
from inverse_rlhf.models.prompt_room import check_transfer, leave_out_long
from inverse_rlhf.params import Data, Group, NewTokens, PolicyContext, Rollouts, Seed, Transfer
from inverse_rlhf.parquet import write_table
from inverse_rlhf.show import closing


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    data: Data
    base_policy: PolicyContext
    rlhf: Rollouts
    pairs: NewTokens
    evaluate: Transfer


def main(params: StageParams) -> list[str]:
    transfer = read_transfer_prompts(params.evaluate)  # here, where a wrong file costs nothing yet
    source = read_comments(params.data, seed=params.seed)
    sampled = sample_comments(source, params.data, seed=params.seed)
    comments, prompts = split_prompts(sampled, params.data, seed=params.seed)
    prompts, long = leave_out_long(prompts, comments, params.base_policy, params.rlhf, params.pairs)
    transfer_facts: dict[str, int] = transfer.attrs.get("facts", {})
    if len(transfer):
        too_long = check_transfer(transfer, comments, params.base_policy, params.pairs)
        transfer_facts |= {"left_out_transfer_long": too_long}
    facts: dict[str, Any] = {"comments": len(comments)}
    if comments["toxic"].notna().all():
        facts["toxic_share"] = comments["toxic"].mean()
    facts |= {"train_comments": int((comments["split"] == "train").sum())}
    facts |= sampled.attrs["facts"] | {"left_out_long": long} | transfer_facts
    write_table(comments, "data/comments.parquet", COMMENTS)
    write_table(prompts, "data/prompts.parquet", PROMPTS)
    write_table(transfer, "data/transfer_prompts.parquet", TRANSFER_PROMPTS)
    write_json({"prepare_data": facts}, "metrics/prepare_data.json")
    return closing.prepare_data(facts, prompts)


if __name__ == "__main__":
    run_stage(main)
