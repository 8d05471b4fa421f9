"""One audit: the reward behind its pairs, in words; there is no true reward."""

from inverse_rlhf.audit_stage import run_audit_stage

from pathlib import Path

from inverse_rlhf.audit import audit, digests_of
from inverse_rlhf.audit_params import AuditParams, entry, settings_of
from inverse_rlhf.data.given_pairs import read_given_pairs


def main(params: AuditParams, name: str) -> list[str]:
    source = entry(params.audits, name)
    settings = settings_of(params, source.set, f"audits.{name}.set")
    given = read_given_pairs([Path(source.pairs)], columns=source.columns or None)
    files = digests_of([source.pairs])
    result = audit(given.table, settings, facts=given.facts, files=files)
    result.write(f"audit/results/{name}", title=f"Audit {name}")
    return [result.report["verdict"], f"next: audit/results/{name}/report.html"]


if __name__ == "__main__":
    run_audit_stage(main)
