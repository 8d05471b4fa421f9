"""The base policy's completions, which every organism of a seed is compared with."""

from inverse_rlhf.organism_stage import run_organism_stage

from pathlib import Path

from inverse_rlhf.data.organisms import BASE
from inverse_rlhf.data.tables import read_prompts
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.organism_params import Settings
from inverse_rlhf.parquet import write_table
from inverse_rlhf.policies.sampling import sample_completions


def main(settings: Settings, seed: int) -> list[str]:
    world = Path(f"organisms/worlds/{seed}")
    prompts = read_prompts(world / "prompts.parquet", "irl", "valid", "test")
    policy = load("policy", world / "base", settings.pipeline.compute)
    written = sample_completions(prompts, policy, settings.pairs, seed=seed, name="base")
    write_table(written, f"organisms/base/{seed}.parquet", BASE)
    return [f"{len(written)} completions"]


if __name__ == "__main__":
    run_organism_stage(main, models=True)
