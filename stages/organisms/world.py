"""What the organisms of a seed have in common: comments, prompts, base policy and classifier."""

from inverse_rlhf.organism_stage import run_organism_stage

from pathlib import Path

from inverse_rlhf.data.prompts import sample_comments, split_prompts
from inverse_rlhf.data.sources import read_comments
from inverse_rlhf.data.tables import PROMPTS
from inverse_rlhf.files import atomic
from inverse_rlhf.measures.labels import labelled
from inverse_rlhf.models.checkpoints import obtain
from inverse_rlhf.models.scratch import train_classifier, train_policy
from inverse_rlhf.organism_params import Settings
from inverse_rlhf.parquet import write_table


def main(settings: Settings, seed: int) -> list[str]:
    given, data = settings.pipeline, settings.data
    base, judge, compute = given.base_policy, given.true_reward, given.compute
    sampled = sample_comments(read_comments(data, seed=seed), data, seed=seed)
    comments, prompts = split_prompts(sampled, data, seed=seed)
    if base.source == "scratch":
        policy, _ = train_policy(comments, base.scratch, compute, seed=seed)
    else:
        policy = obtain("policy", base, compute, key="base_policy")
    if judge.source == "scratch":
        classifier, _ = train_classifier(labelled(comments), judge.scratch, compute, seed=seed)
    else:
        classifier = obtain("classifier", judge, compute, key="true_reward")
    with atomic(Path(f"organisms/worlds/{seed}")) as folder:
        folder.mkdir()
        write_table(prompts, folder / "prompts.parquet", PROMPTS)
        policy.save(folder / "base")
        classifier.save(folder / "classifier")
    return [f"{len(prompts)} prompts, a base policy, a classifier"]


if __name__ == "__main__":
    run_organism_stage(main, models=True)
