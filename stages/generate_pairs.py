"""Sample completions of the same prompts from the base and from the aligned policy."""

from inverse_rlhf.stage import run_stage

import time
from pathlib import Path

from inverse_rlhf.data.tables import PAIRS, paired, read_prompts
from inverse_rlhf.files import write_json
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.plan import plan_pairs
from inverse_rlhf.params import Compute, Group, Pairs, Seed
from inverse_rlhf.parquet import write_table
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.resume import resumed
from inverse_rlhf.show import closing


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    compute: Compute
    pairs: Pairs


@resumed("data/prompts.parquet", "models/base", "models/rlhf")
def main(params: StageParams, kept: Path) -> list[str]:
    started = time.monotonic()
    prompts = read_prompts("data/prompts.parquet", "irl", "valid", "test")
    plan_pairs(params.pairs, params.compute, prompts["prompt"].tolist())
    sampled = []
    for name, path in (("base", Path("models/base")), ("aligned", Path("models/rlhf"))):
        policy = load("policy", path, params.compute)
        completions = sample_completions(
            prompts, policy, params.pairs, seed=params.seed, name=name, kept=kept
        )
        sampled.append(completions)
        del policy  # one is in memory at a time
    pairs = paired(prompts[["prompt_id", "prompt", "split"]], *sampled)
    seconds = time.monotonic() - started
    write_table(pairs, "data/pairs.parquet", PAIRS)
    facts = {"pairs": len(pairs), "seconds": seconds}
    write_json({"generate_pairs": facts}, "metrics/generate_pairs.json")
    return closing.generate_pairs(pairs, seconds)


if __name__ == "__main__":
    run_stage(main, shared=True)
