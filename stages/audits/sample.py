"""Sample two policies of audit/params.yaml on the same prompts."""

from inverse_rlhf.audit_stage import run_audit_stage

from pathlib import Path

from inverse_rlhf.audit_params import AuditParams, Sampling, entry
from inverse_rlhf.data.given_pairs import write_given_pairs
from inverse_rlhf.policies.two_policies import read_prompts_file, sample_pairs_of
from inverse_rlhf.resume import unfinished


def main(params: AuditParams, name: str) -> list[str]:
    source = entry(params.policies | params.hub_policies, name)
    prompts = read_prompts_file(Path(source.prompts), source.prompt_column)
    seed, compute, pairs = params.seed, params.compute, params.pairs
    asked = Sampling(seed=seed, compute=compute, pairs=pairs, policies=source)
    digests = f"audit/inputs/policies/{name}.json"  # of the hub, and of adapters' bases
    inputs = [source.prompts, source.base, source.aligned, digests]
    with unfinished("audits/sample", asked, inputs) as kept:
        found = sample_pairs_of(source, prompts, pairs, compute, seed=seed, unfinished=kept)
        facts = found.attrs["facts"]
        write_given_pairs(found, f"audit/pairs/{name}.parquet", facts)
    return [", ".join(f"{key} {value}" for key, value in facts.items())]


if __name__ == "__main__":
    run_audit_stage(main, models=True)
