"""An organism: the base policy trained on what is planted, and its pairs with the base policy."""

from inverse_rlhf.organism_stage import run_organism_stage

from pathlib import Path

from inverse_rlhf.data.given_pairs import write_given_pairs
from inverse_rlhf.data.organisms import BASE, PLANTED
from inverse_rlhf.data.tables import read_prompts
from inverse_rlhf.files import atomic, write_json
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.organism_params import Settings
from inverse_rlhf.parquet import read_table, write_table
from inverse_rlhf.policies.organisms import facts_of, grow, pairs_with_base
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.rewards.classifier import ClassifierReward


def main(settings: Settings, plant: str, seed: int) -> list[str]:
    world, compute = Path(f"organisms/worlds/{seed}"), settings.pipeline.compute
    chosen = settings.plant(plant)

    def classifier() -> ClassifierReward:
        model = load("classifier", world / "classifier", compute)
        return ClassifierReward(model, settings.pipeline.true_reward)

    base = load("policy", world / "base", compute)
    policy = load("policy", world / "base", compute, trained=True)
    taught = read_prompts(world / "prompts.parquet", "rl")
    asked = read_prompts(world / "prompts.parquet", "irl", "valid", "test")
    completions = read_table(f"organisms/base/{seed}.parquet", BASE)
    if not chosen.weights:  # else nulls would share one side, and its chance
        completions = sample_completions(
            asked, base, settings.pairs, seed=seed, name=f"{plant} base"
        )
    written = asked["prompt"].tolist(), completions["completion"].tolist()
    with atomic(Path(f"organisms/pairs/{plant}-{seed}")) as folder:
        folder.mkdir()
        rlhf = settings.rlhf(chosen)
        curve = folder / "curve.csv"
        organism = grow(chosen, taught, policy, written, classifier, rlhf, seed=seed, curve=curve)
        how = settings.decoding(chosen)
        pairs, planted = pairs_with_base(
            organism, asked, base, completions, how, seed=seed, name=plant
        )
        write_given_pairs(pairs, folder / "pairs.parquet")
        if planted is not None:
            write_table(planted, folder / "planted.parquet", PLANTED)
        facts = facts_of(organism, pairs)
        write_json(facts, folder / "facts.json")
    kl = f", KL to the base policy {facts['kl']:.2f} nats" if organism.trained else ""
    return [f"{len(pairs)} pairs{kl}"]


if __name__ == "__main__":
    run_organism_stage(main, models=True)
