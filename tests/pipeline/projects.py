"""The working tree as a project of its own, and commands in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def execute(
    folder: Path, *command: str, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder, by default one that has to succeed."""
    binaries = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": binaries + os.pathsep + os.environ["PATH"],
        "OMP_NUM_THREADS": "1",  # as this process has it: other numbers give other bytes
        "HF_HUB_OFFLINE": "1",
        "DVC_NO_ANALYTICS": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@t",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@t",
        **variables,
    }
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if check and result.returncode:
        raise AssertionError(f"{command}: {result.stdout[-3000:]}\n{result.stderr[-3000:]}")
    return result


def ran(output: str) -> list[str]:
    """The stages that DVC ran, from what it printed, but for inputs, which it always runs."""
    lines = [line for line in output.splitlines() if line.startswith("Running stage")]
    names = [line.split("'")[1] for line in lines]
    return [name for name in names if not re.fullmatch(r"(.*:)?inputs(_\w+@.*)?", name)]


def copy_project(folder: Path, *parts: str) -> None:
    """Copy what git tracks or would track, all of it or some folders, links as links."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", *parts],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
