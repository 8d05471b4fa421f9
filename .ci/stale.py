"""Says in which stages dvc.lock is not the run of what is committed; a clean checkout has no data.

The code of reports and figures may be newer than the lock: it changes the last two stages alone,
which the next `dvc repro` on a machine with the data brings up to date. Organisms take hours: all
code may be newer than theirs.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPORTS = ("inverse_rlhf/show/", "inverse_rlhf/evaluation/")
CODE = ("inverse_rlhf/", "stages/")
ALWAYS = "always changed"  # of the stage that runs every time, and is never stale
OUTPUTS = (
    *("data/", "models/", "metrics/"),
    *("audit/inputs/", "audit/pairs/", "audit/results/", "audit/objectives."),
    *("worlds", "base/", "pairs", "results", "organisms.png"),  # of organisms
)
DVC = Path(sys.executable).with_name("dvc")


def stale(status: dict[str, list[Any]], newer: tuple[str, ...] = REPORTS) -> list[str]:
    """A line for each input or output that is there and not as the lock has it.

    Args:
        status: what `dvc status --json` prints.
        newer: beginnings of paths that may be newer than the lock.
    """
    lines = []
    for stage, changes in status.items():
        for change in changes:
            if isinstance(change, str):  # such as "changed command"
                lines += [f"{stage}: {change}"] * (change != ALWAYS)
                continue
            paths = change.get("changed deps", {}) | change.get("changed outs", {})
            for path, how in paths.items():
                path = path.removeprefix(f"{Path.cwd()}/")  # as of code, seen from organisms/
                kinds = how if isinstance(how, dict) else {path: how}  # a params file has its keys
                lines += [
                    f"{stage}: {name} {kind}"
                    for name, kind in kinds.items()
                    if not _is_only_absent(name, kind)
                    and not name.startswith(newer)
                    and not (newer == CODE and kind == "new")  # a param that came with newer code
                ]
    return lines


def _is_only_absent(name: str, kind: str) -> bool:
    """Whether it is data, a model or a report that a clean checkout does not have."""
    if name == "audit/results":  # a folder of outputs, there with its .gitignore and nothing else
        return True
    return kind in ("deleted", "not in cache") and name.startswith(OUTPUTS)


if __name__ == "__main__":
    found = []
    for repository, newer in ((".", REPORTS), ("organisms", CODE)):
        if not Path(repository, "dvc.lock").exists():
            continue  # never run
        command = [str(DVC), "--cd", repository, "status", "--json"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found += stale(json.loads(answer or "{}"), newer)
    if found:
        sys.exit("\n".join(["dvc.lock is stale: run dvc repro and commit dvc.lock", *found]))
