"""Join two files with the answers of one model each."""

from inverse_rlhf.audit_stage import run_audit_stage

from pathlib import Path

from inverse_rlhf.audit_params import AuditParams, entry
from inverse_rlhf.data.given_pairs import read_given_pairs, write_given_pairs


def main(params: AuditParams, name: str) -> list[str]:
    source = entry(params.answers, name)
    given = read_given_pairs([Path(source.base), Path(source.aligned)])
    write_given_pairs(given.table, f"audit/pairs/{name}.parquet", given.facts)
    return [", ".join(f"{key} {value}" for key, value in given.facts.items())]


if __name__ == "__main__":
    run_audit_stage(main)
