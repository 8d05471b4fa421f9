"""A push that is verified leaves a remote complete, whatever `dvc push` takes for granted."""

import hashlib
import sys
from pathlib import Path

import pytest

from tests.pipeline.projects import ROOT, execute

PUSH = (sys.executable, "-m", "inverse_rlhf.push")
MAKE = "mkdir models; for i in 1 2 3; do echo $i > models/$i; done; echo one > table"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder and a file that are pushed once."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "project"
    folder.mkdir()
    execute(folder, "git", "init", "-q")
    execute(folder, "dvc", "init", "-q")
    execute(folder, "dvc", "config", "core.site_cache_dir", str(tmp_path / "site"))
    execute(folder, "dvc", "stage", "add", "-q", "-n", "make", "-o", "models", "-o", "table", MAKE)
    execute(folder, "dvc", "repro", "-q")
    execute(folder, "dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "store"))
    execute(folder, "dvc", "push", "-q")
    return folder


def stored(folder: Path, content: bytes) -> Path:
    """The object of a content, writable."""
    (path,) = folder.rglob(hashlib.md5(content).hexdigest()[2:])
    path.chmod(0o644)
    return path


def objects(folder: Path) -> dict[str, str]:
    return {
        path.parent.name + path.name: hashlib.md5(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_dvc_leaves_out_is_sent(project: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    whole = objects(store)
    assert len(whole) == 5
    stored(store, b"1\n").unlink()
    stored(store, b"2\n").write_text("damaged")
    execute(project, "dvc", "push")
    assert objects(store) != whole  # it says that everything is there
    said = "all 5 objects are on the remote as they should be"
    assert execute(project, *PUSH).stdout == f"{said}, 2 of them sent again\n"
    assert objects(store) == whole
    assert execute(project, *PUSH).stdout == f"{said}\n"
    execute(project, "git", "add", "-A")
    execute(project, "git", "commit", "-qm", "run")
    execute(tmp_path, "git", "clone", "-q", str(project), "fresh")
    execute(tmp_path / "fresh", "dvc", "pull", "-q")
    pulled = tmp_path / "fresh/models"
    assert sorted(path.read_text() for path in pulled.iterdir()) == ["1\n", "2\n", "3\n"]


def test_what_is_nowhere_whole_is_one_line(project: Path, tmp_path: Path) -> None:
    name = hashlib.md5(b"one\n").hexdigest()
    for folder in (tmp_path / "store", project / ".dvc/cache"):
        stored(folder, b"one\n").write_text("damaged")
    result = execute(project, *PUSH, check=False)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {name} of table, one of 5 objects, is whole neither on the")


def test_without_a_remote_it_is_one_line(project: Path) -> None:
    for name in ("", "other"):
        if not name:
            execute(project, "dvc", "config", "--unset", "core.remote")
        result = execute(project, *PUSH, *filter(None, [name]), check=False)
        assert result.returncode == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: nothing is verified: ")
