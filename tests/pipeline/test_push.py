"""A push that is verified leaves a remote complete, whatever `dvc push` takes for granted."""

import hashlib
import shutil
import sys
from pathlib import Path

import pytest

from tests.pipeline.projects import ROOT, execute

PUSH = (sys.executable, "-m", "inverse_rlhf.push")
MAKE = "mkdir models; for i in 1 2 3; do echo $i > models/$i; done; echo one > table"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder and a file that a stage has made."""
    folder = tmp_path_factory.mktemp("made") / "project"
    folder.mkdir()
    execute(folder, "git", "init", "-q")
    execute(folder, "dvc", "init", "-q")
    execute(folder, "dvc", "stage", "add", "-q", "-n", "make", "-o", "models", "-o", "table", MAKE)
    execute(folder, "dvc", "repro", "-q")
    execute(folder, "dvc", "remote", "add", "-q", "-d", "store", str(folder.parent / "store"))
    execute(folder, "dvc", "push", "-q")
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and of what it has pushed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "project"
    shutil.copytree(made, folder, symlinks=True)
    shutil.copytree(made.parent / "store", tmp_path / "store")
    config = folder / ".dvc/config"
    own = f"[core]\n    remote = store\n    site_cache_dir = {tmp_path / 'site'}\n"
    config.write_text(f"{own}['remote \"store\"']\n    url = {tmp_path / 'store'}\n")
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
    execute(project, "dvc", "push")  # and notes what is there
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


def damage(*paths: Path) -> None:
    for path in paths:
        path.write_text("[]")


def list_of(folder: Path) -> Path:
    """The list of a folder's files, writable."""
    (path,) = folder.rglob("*.dir")
    path.chmod(0o644)
    return path


def refused(project: Path) -> str:
    result = execute(project, *PUSH, check=False)
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    return line


def test_a_damaged_list_is_healed(project: Path, tmp_path: Path) -> None:
    """In the cache, on the remote, and in both, where the workspace still has the files."""
    store, cache = tmp_path / "store", project / ".dvc/cache/files"
    whole, cached = objects(store), objects(cache)
    said = "all 5 objects are on the remote as they should be"
    damage(list_of(cache))
    stored(store, b"1\n").unlink()
    assert execute(project, *PUSH).stdout == f"{said}, 1 of them sent again\n"
    assert (objects(store), objects(cache)) == (whole, cached)
    damage(list_of(store))
    assert execute(project, *PUSH).stdout == f"{said}, 1 of them sent again\n"
    damage(list_of(store), list_of(cache))
    assert execute(project, *PUSH).stdout == f"{said}, 1 of them sent again\n"
    assert (objects(store), objects(cache)) == (whole, cached)
    damage(list_of(store), list_of(cache))
    (project / "models/1").unlink()
    line = refused(project)
    assert ".dir of models is whole neither on the remote nor" in line
    assert f"move {list_of(cache)} away, then `dvc repro --force --single-item make`" in line


def test_a_whole_copy_of_the_workspace_is_sent(project: Path, tmp_path: Path) -> None:
    store, cache = tmp_path / "store", project / ".dvc/cache/files"
    whole, cached = objects(store), objects(cache)
    damage(stored(cache, b"one\n"), stored(cache, b"2\n"))
    for content in (b"one\n", b"2\n"):
        stored(store, content).unlink()
    assert ", 2 of them sent again" in execute(project, *PUSH).stdout
    assert (objects(store), objects(cache)) == (whole, cached)
    assert (project / "table").read_text() == "one\n"


def test_what_is_nowhere_whole_is_one_line(project: Path, tmp_path: Path) -> None:
    name = hashlib.md5(b"one\n").hexdigest()
    damage(stored(tmp_path / "store", b"one\n"), project / "table")
    cached = stored(project / ".dvc/cache", b"one\n")
    damage(cached)
    cached.chmod(0o444)  # as DVC protects it, and then takes it for whole
    line = refused(project)
    assert line.startswith(f"error: {name} of table is whole neither on the remote nor in the")
    assert line.endswith(
        f": move {cached} away, then `dvc repro --force --single-item make` makes it anew"
    )
    cached.rename(tmp_path / "away")
    execute(project, "dvc", "repro", "-q", "--force", "--single-item", "make")
    assert "sent again" in execute(project, *PUSH).stdout


def test_a_file_of_ones_own_is_not_made_anew(project: Path, tmp_path: Path) -> None:
    own = project / "own"
    own.write_text("own")
    execute(project, "dvc", "add", "-q", "own")
    damage(own)
    cached = stored(project / ".dvc/cache", b"own")
    cached.unlink()
    advice = "put a whole copy of own back into the workspace and `dvc commit --force own.dvc`"
    assert refused(project).endswith(f"in the workspace: {advice}")
    own.write_text("own")
    execute(project, "dvc", "commit", "-q", "--force", "own.dvc")
    assert execute(project, *PUSH).stdout.startswith("all 6 objects are on the remote")


def test_an_output_without_a_hash_is_refused(project: Path) -> None:
    (project / "dvc.lock").unlink()
    assert refused(project) == "error: make has no entry of models in dvc.lock: run `dvc repro`"


def test_a_remote_that_needs_a_library_is_one_line(project: Path) -> None:
    execute(project, "dvc", "remote", "modify", "store", "url", "oss://bucket/folder")
    line = refused(project)
    assert line.startswith("error: nothing is verified: ")


def test_without_a_remote_it_is_one_line(project: Path) -> None:
    for name in ("", "other"):
        if not name:
            execute(project, "dvc", "config", "--unset", "core.remote")
        result = execute(project, *PUSH, *filter(None, [name]), check=False)
        assert result.returncode == 2
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: nothing is verified: ")
