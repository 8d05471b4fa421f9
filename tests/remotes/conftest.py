"""Remotes of each kind, and a small project to share by them."""

import contextlib
import getpass
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.projects import ROOT, execute
from tests.remotes.servers import (
    LOOPBACK,
    PASSWORD,
    free_port,
    s3_command,
    serving,
    ssh_command,
)

INSTALL = "pip install -r requirements-remotes.txt -r tests/remotes/requirements.txt"
SSHD = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
SSHD_CONFIG = """
ListenAddress {LOOPBACK}:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
"""
BUCKET = "bucket"
# Nothing of whoever runs the tests: no keys, no settings, no questions to Amazon.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_CONFIG_FILE": "/none",
    "AWS_SHARED_CREDENTIALS_FILE": "/none",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
    "SSH_AUTH_SOCK": "",
}


@dataclass(frozen=True)
class Place:
    """Where a remote lies.

    Attributes:
        port: of its server.
        settings: what `dvc remote modify --local` is told.
        folder: of the server's files, where they are files.
    """

    url: str
    port: int = 0
    settings: dict[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def through(self, port: int) -> "Place":
        """By way of another port."""
        old, new = f"{LOOPBACK}:{self.port}", f"{LOOPBACK}:{port}"
        settings = {key: value.replace(old, new) for key, value in self.settings.items()}
        return Place(self.url.replace(old, new), port, settings, self.folder)

    def objects(self) -> dict[str, bytes]:
        """Every object, by its name."""
        if self.folder:
            files = [path for path in self.folder.rglob("files/md5/*/*") if path.is_file()]
            found = {path.parent.name + path.name: path.read_bytes() for path in files}
            return {name: content for name, content in found.items() if "." not in name[:32]}
        return {
            "".join(item.key.split("/")[-2:]): item.get()["Body"].read()
            for item in self._bucket().objects.all()
        }

    def put(self, name: str, content: bytes) -> None:
        """Put other content in the place of an object."""
        if self.folder:
            (path,) = self.folder.rglob(f"files/md5/{name[:2]}/{name[2:]}")
            path.chmod(0o644)
            path.write_bytes(content)
        else:
            (item,) = self._bucket().objects.filter(Prefix=f"store/files/md5/{name[:2]}/{name[2:]}")
            item.put(Body=content)

    def _bucket(self) -> Any:
        import boto3

        keys = {f"aws_{key}": "test" for key in ("access_key_id", "secret_access_key")}
        server = boto3.resource(
            "s3", endpoint_url=f"http://{LOOPBACK}:{self.port}", region_name="us-east-1", **keys
        )
        return server.Bucket(BUCKET)


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**ENVIRONMENT, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    for library in ("s3fs", "moto", "boto3", "flask", "flask_cors"):
        pytest.importorskip(library, reason=f"no {library}: {INSTALL}")
    port = free_port()
    with serving(port, *s3_command(port)):
        yield port


def ssh_place(folder: Path, port: int) -> Place:
    pytest.importorskip("sshfs", reason=f"no sshfs: {INSTALL}")
    folder.mkdir(exist_ok=True)
    url = f"ssh://somebody@{LOOPBACK}:{port}/store"
    return Place(url, port, {"password": PASSWORD}, folder)


@contextlib.contextmanager
def _sshd(folder: Path) -> Iterator[Place]:
    """OpenSSH's own server, for whoever runs the tests, by a key."""
    import asyncssh

    folder.mkdir()
    port = free_port()
    for name in ("host", "user"):
        key = asyncssh.generate_private_key("ssh-ed25519")
        key.write_private_key(str(folder / name))
        (folder / name).chmod(0o600)
        key.write_public_key(str(folder / f"{name}.pub"))
    config = folder / "config"
    config.write_text(SSHD_CONFIG.format(LOOPBACK=LOOPBACK, port=port, folder=folder))
    tried = subprocess.run([SSHD, "-t", "-f", config], capture_output=True, text=True, check=False)
    if "Missing privilege separation" in tried.stderr:
        pytest.skip(f"sshd cannot be run: {tried.stderr.strip()}")
    assert tried.returncode == 0, tried.stderr
    with serving(port, str(SSHD), "-D", "-f", str(config)):
        url = f"ssh://{getpass.getuser()}@{LOOPBACK}:{port}{folder}/files"
        yield Place(url, port, {"keyfile": str(folder / "user")}, folder / "files")


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """Of the kind that the test is told: `directory`, `ssh`, `sshd` or `s3`."""
    kind = request.param
    if kind == "directory":
        yield Place(str(tmp_path / "store"), folder=tmp_path / "store")
    elif kind == "s3":
        port = request.getfixturevalue("s3_port")
        found = Place(f"s3://{BUCKET}/store", port, {"endpointurl": f"http://{LOOPBACK}:{port}"})
        found._bucket().create()
        yield found
        found._bucket().objects.delete()
        found._bucket().delete()
    elif kind == "ssh":
        found = ssh_place(tmp_path / "served", free_port())
        with serving(found.port, *ssh_command(found.port, tmp_path / "served")):
            yield found
    else:
        pytest.importorskip("sshfs", reason=f"no sshfs: {INSTALL}")
        if SSHD is None:
            pytest.skip("no sshd: apt-get install openssh-server")
        with _sshd(tmp_path / "sshd") as found:
            yield found


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has run, without a remote."""
    folder = tmp_path_factory.mktemp("made") / "project"
    folder.mkdir()
    (folder / "params.yaml").write_text("length: 10000\n")
    # the same bytes every time, which nothing can make smaller
    (folder / "make.py").write_text(
        "import random, pathlib\n"
        "length = int(pathlib.Path('params.yaml').read_text().split()[1])\n"
        "pathlib.Path('models').mkdir()\n"
        "for number in range(1, 9):\n"
        "    content = random.Random(number).randbytes(length * number)\n"
        "    pathlib.Path('models', str(number)).write_bytes(content)\n"
        "pathlib.Path('table').write_bytes(random.Random(0).randbytes(length))\n"
    )
    execute(folder, "git", "init", "-q", "-b", "main")
    execute(folder, "dvc", "init", "-q")
    outs = ("-o", "models", "-o", "table", "-p", "length", "-d", "make.py")
    execute(folder, "dvc", "stage", "add", "-q", "-n", "make", *outs, "python make.py")
    execute(folder, "dvc", "repro", "-q")
    execute(folder, "git", "add", "-A")
    execute(folder, "git", "commit", "-qm", "run")
    return folder


@pytest.fixture
def shared(made: Path, tmp_path: Path) -> Callable[[Place], Path]:
    """Makes a project that has run, whose remote is at a place."""

    def share(place: Place) -> Path:
        folder = tmp_path / "project"
        shutil.copytree(made, folder, symlinks=True)
        config(folder, place, tmp_path)
        return folder

    return share


def config(folder: Path, place: Place, site: Path) -> None:
    """Tell DVC where the remote is: what is secret in a file that git ignores."""
    lines = ["[core]", "remote = store", f"site_cache_dir = {site / 'site'}"]
    lines += ["['remote \"store\"']", f"url = {place.url}", "verify = true"]
    lines += [f"{key} = {value}" for key, value in place.settings.items()]
    (folder / ".dvc/config.local").write_text("\n".join(lines) + "\n")
