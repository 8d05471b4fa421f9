"""Which code made a page: the same for a checkout and for a copy, another for other code."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from inverse_rlhf.show import origin
from tests.docs.pages import ROOT

COMMAND = (
    "find inverse_rlhf -type f ! -name '*.pyc' ! -name '*.yaml' | LC_ALL=C sort "
    "| xargs sha256sum | sha256sum"
)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package alone, as it is installed."""
    package = shutil.copytree(ROOT / "inverse_rlhf", tmp_path / "inverse_rlhf")
    monkeypatch.setattr(origin, "_PACKAGE", package)
    return package


def test_the_digest_is_what_the_command_of_the_page_says() -> None:
    assert COMMAND in (ROOT / "docs/files.md").read_text("utf-8")
    said = subprocess.run(COMMAND, shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == origin.code_digest()


def test_a_copy_has_the_same_digest_and_other_code_another(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "show/__pycache__").mkdir(exist_ok=True)
    (copy / "show/__pycache__/page.pyc").write_bytes(b"x")
    of_copy = origin.code_digest()
    with monkeypatch.context() as patch:
        patch.setattr(origin, "_PACKAGE", ROOT / "inverse_rlhf")
        assert origin.code_digest() == of_copy
    with (copy / "show/templates/page.css").open("a") as style:
        style.write(" ")
    assert origin.code_digest() != of_copy


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == origin.VERSION
