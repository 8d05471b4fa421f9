"""Digests of what DVC does not see of audits: bodies, bases of adapters, hub commits, libraries.

It always runs, and what depends on it runs again only where a digest has changed.
"""

from inverse_rlhf.audit_stage import run_audit_stage

from pathlib import Path
from typing import Any

from inverse_rlhf.audit_params import AuditParams, entry
from inverse_rlhf.digests import Digests, Source, versions, write_changed
from inverse_rlhf.files import read_json


def main(params: AuditParams, name: str) -> list[str]:
    digests = Digests(Path(".digests.json"))
    found: dict[str, dict[str, Any]] = {}
    if name:
        given = entry(params.policies | params.hub_policies, name)
        before = read_json(path := f"audit/inputs/policies/{name}.json")
        found[path] = {
            side: digests.of(Source(f"{name}.{side}", *policy), before.get(side, {}))
            for side, policy in {
                "base": (given.base, given.base_revision),
                "aligned": (given.aligned, given.aligned_revision),
            }.items()
        }
    else:
        before = read_json(path := "audit/inputs/bodies.json")
        own = params.audit.body, params.audit.body_revision
        bodies = {own} | {
            (source.set.get("body", own[0]), source.set.get("body_revision", own[1]))
            for source in params.audits.values()
        }
        found[path] = {
            f"{body}@{revision}": digests.of(
                Source("audit.body", body, revision), before.get(f"{body}@{revision}", {})
            )
            for body, revision in bodies
            if body is not None
        }
        found["audit/inputs/versions.json"] = versions()
    lines = write_changed(found)
    digests.save()
    return lines or ["as before"]


if __name__ == "__main__":
    run_audit_stage(main)
