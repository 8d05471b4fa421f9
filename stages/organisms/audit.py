"""The audit of an organism, and what one would do otherwise; what is planted is not read."""

from inverse_rlhf.organism_stage import run_organism_stage

from pathlib import Path

from threadpoolctl import threadpool_limits

from inverse_rlhf.audit import audit
from inverse_rlhf.data.given_pairs import read_given_pairs
from inverse_rlhf.evaluation.namings import NAMINGS, namings
from inverse_rlhf.organism_params import Settings
from inverse_rlhf.parquet import write_table


def main(settings: Settings, plant: str, seed: int) -> list[str]:
    given = read_given_pairs(Path(f"organisms/pairs/{plant}-{seed}/pairs.parquet"))
    own = settings.audit(seed)
    result = audit(given.table, own, facts=given.facts)
    with threadpool_limits(1, user_api="blas"):
        named = namings(given.table, result.measured.objectives, own, settings.organisms.sizes)
    folder = Path(f"organisms/results/{plant}-{seed}")
    result.write(folder, title=f"Audit of an organism, seed {seed}")
    write_table(named, folder / "namings.parquet", NAMINGS)
    return [result.report["verdict"]]


if __name__ == "__main__":
    run_organism_stage(main)
