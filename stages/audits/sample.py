"""Sample two policies of audit/params.yaml on the same prompts."""

from inverse_rlhf.audit_stage import run_audit_stage

from pathlib import Path

from inverse_rlhf.audit_params import AuditParams, entry
from inverse_rlhf.data.given_pairs import write_given_pairs
from inverse_rlhf.policies.two_policies import read_prompts_file, sample_pairs_of
from inverse_rlhf.resume import unfinished


def main(params: AuditParams, name: str) -> list[str]:
    source = entry(params.policies | params.hub_policies, name)
    prompts = read_prompts_file(Path(source.prompts), source.prompt_column)
    with unfinished("audits/sample", params, [source.prompts, source.base, source.aligned]) as kept:
        pairs = sample_pairs_of(
            source, prompts, params.pairs, params.compute, seed=params.seed, unfinished=kept
        )
        write_given_pairs(pairs, f"audit/pairs/{name}.parquet", pairs.attrs["facts"])
    return [", ".join(f"{key} {value}" for key, value in pairs.attrs["facts"].items())]


if __name__ == "__main__":
    run_audit_stage(main, models=True)
