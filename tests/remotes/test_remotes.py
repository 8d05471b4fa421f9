"""What is shared by a directory, SSH or S3 arrives whole, and what goes wrong is one line."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipeline.projects import execute
from tests.remotes.conftest import BUCKET, Place, config, ssh_place
from tests.remotes.servers import LOOPBACK, Line, free_port, serving, ssh_command

PUSH = (sys.executable, "-m", "inverse_rlhf.push")
SAID = "all 10 objects are on the remote as they should be"
Share = Callable[[Place], Path]


def of(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("place", kinds, indirect=True)


def refused(project: Path, **variables: str) -> str:
    """The one line that a push ends with, without a terminal to ask on."""
    result = execute(project, "setsid", "--wait", *PUSH, check=False, **variables)
    assert result.returncode == 2, result.stderr
    (line,) = filter(None, result.stderr.splitlines())
    prefix, colon, rest = line.partition("nothing is verified: ")
    assert (prefix, colon) == ("error: ", "nothing is verified: ")
    return rest


def cached(project: Path) -> dict[str, bytes]:
    """The objects of the cache."""
    return Place("", folder=project / ".dvc/cache").objects()


def clone(project: Path, place: Place, name: str) -> Path:
    folder = project.parent / name
    execute(project.parent, "git", "clone", "-q", str(project), name)
    config(folder, place, folder.parent)
    return folder


@of("directory", "ssh", "sshd", "s3")
def test_what_is_pushed_is_pulled_and_damage_is_refused(place: Place, shared: Share) -> None:
    project = shared(place)
    assert execute(project, *PUSH).stdout == f"{SAID}\n"
    assert place.objects() == cached(project)
    fresh = clone(project, place, "fresh")
    execute(fresh, "dvc", "pull", "-q")
    assert (fresh / "models/1").read_bytes() == (project / "models/1").read_bytes()
    assert "Stage 'make' didn't change, skipping" in execute(fresh, "dvc", "repro").stdout
    name = min(name for name in cached(project) if not name.endswith(".dir"))
    place.put(name, bytes([place.objects()[name][0] ^ 1]) + place.objects()[name][1:])
    late = clone(project, place, "late")
    result = execute(late, "dvc", "pull", check=False)
    assert result.returncode == 1, result.stderr
    assert not cached(late).get(name)
    assert execute(project, *PUSH).stdout == f"{SAID}, 1 of them sent again\n"
    execute(late, "dvc", "pull", "-q")
    assert cached(late) == cached(project)


@of("ssh")
def test_a_wrong_password(place: Place, shared: Share) -> None:
    place.settings["password"] = "wrong"
    line = refused(shared(place))
    assert line.startswith(f"ssh://{LOOPBACK}:{place.port}/store/files/md5: a password is ")
    assert "`dvc remote modify --local`" in line


@of("s3")
def test_no_credentials(place: Place, shared: Share) -> None:
    line = refused(shared(place), AWS_ACCESS_KEY_ID="")
    assert line.startswith(f"s3://{BUCKET}/store/files/md5: Unable to locate credentials: give ")


@of("s3")
def test_a_missing_bucket(place: Place, shared: Share) -> None:
    other = Place("s3://other/store", place.port, place.settings)
    line = refused(shared(other))
    assert line.startswith("s3://other/store/files/md5: The specified bucket does not exist: make")


@of("ssh", "s3")
def test_a_server_that_is_down(place: Place, shared: Share) -> None:
    line = refused(shared(place.through(free_port())))
    assert re.search(r"(Connect call failed|Could not connect).*: see that it can be reached", line)


@of("ssh", "s3")
def test_a_server_that_is_silent(place: Place, shared: Share) -> None:
    limits = {"ssh": ["timeout"], "s3": ["connect_timeout", "read_timeout"]}
    with socket.create_server((LOOPBACK, 0)) as silent:
        other = place.through(silent.getsockname()[1])
        other.settings.update(dict.fromkeys(limits[other.url.partition(":")[0]], "1"))
        line = refused(shared(other))
    assert re.search(r"([Tt]imeout|did not answer).*: see that it can be reached", line)


@of("ssh", "s3")
def test_a_server_that_goes_away_in_the_middle(place: Place, shared: Share) -> None:
    """Again and again, until all is there."""
    line = Line(place.port)
    project = shared(place.through(line.port))
    whole = cached(project)
    line.cut()
    for _ in range(3):  # a third of what there is to send, each time
        line.mend(100_000)
        assert ": see that it can be reached" in refused(project)
        arrived = place.objects()
        assert {name: whole[name] for name in arrived} == arrived  # each of them whole
        assert len(arrived) < len(whole)
    line.mend(None)
    assert execute(project, *PUSH).stdout.startswith(SAID)
    assert place.objects() == whole
    line.cut()


def test_a_server_that_is_killed(tmp_path: Path, shared: Share) -> None:
    """SSH's, in the middle of a push, with the file that it was writing."""
    place = ssh_place(tmp_path / "served", free_port())
    project = shared(place)
    command = ssh_command(place.port, tmp_path / "served")
    with serving(place.port, *command) as server, subprocess.Popen(PUSH, cwd=project) as push:
        wait_for(lambda: any(tmp_path.glob("served/store/files/md5/*/*")))
        server.kill()
        assert push.wait() == 2
    with serving(place.port, *command):
        assert execute(project, *PUSH).stdout.startswith(SAID)
    assert place.objects() == cached(project)


def test_a_push_that_is_killed(tmp_path: Path, shared: Share) -> None:
    project = shared(Place(str(tmp_path / "store"), folder=tmp_path / "store"))
    with subprocess.Popen(PUSH, cwd=project) as push:
        wait_for(lambda: any(tmp_path.glob("store/files/md5/*/*")))
        push.kill()
    assert push.returncode == -signal.SIGKILL
    assert execute(project, *PUSH).stdout.startswith(SAID)
    assert Place("", folder=tmp_path / "store").objects() == cached(project)


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB, which root alone can make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", folder]
    if os.geteuid() != 0 or subprocess.run(command, check=False).returncode:
        pytest.skip("only root can make a small disk, and not in every container")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_behind_a_directory(small_disk: Path, shared: Share) -> None:
    place = Place(str(small_disk / "store"), folder=small_disk / "store")
    check_full(place, small_disk, shared)


def test_a_full_disk_behind_a_server(small_disk: Path, shared: Share) -> None:
    place = ssh_place(small_disk, free_port())
    with serving(place.port, *ssh_command(place.port, small_disk)):
        check_full(place, small_disk, shared)


def check_full(place: Place, disk: Path, shared: Share) -> None:
    """One line, and all of it once there is room, also what a server has cut off unsaid."""
    project = shared(place)
    assert re.search(r"No space left on device: see that .* has space left", refused(project))
    subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
    assert execute(project, *PUSH).stdout.startswith(SAID)
    assert place.objects() == cached(project)


def test_experiments_go_by_a_bare_repository(tmp_path: Path, shared: Share) -> None:
    """Its commit by git, its data by the remote."""
    place = Place(str(tmp_path / "store"))
    project = shared(place)
    execute(tmp_path, "git", "init", "-q", "--bare", "bare")
    execute(project, "git", "remote", "add", "origin", str(tmp_path / "bare"))
    execute(project, "git", "push", "-q", "origin", "main")
    execute(project, "dvc", "exp", "run", "-q", "--name", "larger", "-S", "length=20000")
    made = (project / "models/1").read_bytes()
    execute(project, "dvc", "exp", "push", "-q", "origin", "larger")
    execute(tmp_path, "git", "clone", "-q", "-b", "main", "bare", "other")
    other = tmp_path / "other"
    config(other, place, tmp_path)
    execute(other, "dvc", "exp", "pull", "-q", "origin", "larger")
    execute(other, "dvc", "exp", "apply", "-q", "larger")
    assert (other / "models/1").read_bytes() == made
    assert len(made) == 20000
    assert "Stage 'make' didn't change, skipping" in execute(other, "dvc", "repro").stdout
