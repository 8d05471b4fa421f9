"""The base policy: trained from scratch on the comments, or taken from a folder or the hub."""

from inverse_rlhf.stage import run_stage

from pathlib import Path

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic, write_json
from inverse_rlhf.irl.body import check_body
from inverse_rlhf.models.checkpoints import keep, obtain
from inverse_rlhf.models.limits import check_settings
from inverse_rlhf.models.plan import plan_model
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.models.scratch import train_policy
from inverse_rlhf.params import Compute, Group, Natural, Pretrained, Seed, load_params
from inverse_rlhf.parquet import read_table
from inverse_rlhf.resume import resumed
from inverse_rlhf.show import closing


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    checkpoints: Natural
    compute: Compute
    base_policy: Pretrained


@resumed("data/comments.parquet")
def main(params: StageParams, kept: Path) -> list[str]:
    group, compute = params.base_policy, params.compute
    comments = read_table("data/comments.parquet", COMMENTS)
    plan_model("base_policy", group, compute, "policy", comments["text"].tolist())
    # What later stages ask of this policy is checked here, before any training on it. These are
    # settings of theirs: they can end this stage, and change nothing that it writes.
    later = load_params()
    if later.irl.body != "base":  # it is there already
        check_body(later.irl, compute, Path("models/base"))
    if group.source == "scratch":
        policy, facts = train_policy(
            comments,
            group.scratch,
            compute,
            seed=params.seed,
            checkpoints=Checkpoints(kept, params.checkpoints),
        )
    else:
        policy = obtain("policy", group, compute, key="base_policy")
        facts = {"parameters": policy.module.num_parameters()}
    check_settings(policy, later)
    with atomic("models/base") as folder:
        keep(policy, group, folder, key="base_policy")
        if later.irl.body == "base":
            try:
                check_body(later.irl, compute, folder)
            except UserError as error:
                source = f"base_policy.source: {group.source}"
                raise UserError(str(error).replace(str(folder), source)) from None
    write_json({"base_policy": facts}, "metrics/base_policy.json")
    return closing.base_policy(facts)


if __name__ == "__main__":
    run_stage(main)
