"""A stage of an organism takes its plant and seed; bad input ends it with one line."""

from inverse_rlhf.organism_stage import run_organism_stage

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inverse_rlhf import organism_stage, stage
from inverse_rlhf.models import matmul
from tests.modules import loaded
from tests.pipeline.projects import execute

ROOT = Path(__file__).parent.parent
STAGES = sorted(path.stem for path in (ROOT / "stages/organisms").glob("[!_]*.py"))
FILES = ("params.yaml", "audit/params.yaml", "organisms/params.yaml")
TOY = '''
"""What this stage is for."""

from inverse_rlhf.organism_params import Settings


def main(settings: Settings, plant: str, seed: int) -> list[str]:
    kind = settings.plant(plant).kind
    if seed == 2:
        raise KeyError("a bug")
    return [f"{plant!r} is {kind}", f"seed {seed!r}"]


def of_all(settings: Settings) -> list[str]:
    return [f"seeds {settings.organisms.seeds}"]


def of_pipeline(settings: Settings) -> list[str]:
    return [f"fast {settings.pipeline.compute.fast}"]
'''


def copy_params(folder: Path) -> None:
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text((ROOT / name).read_text())


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stage in a folder of its own; what would change this process is left out."""
    (tmp_path / "toy.py").write_text(TOY)
    copy_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    for module, name in ((stage, "die_with_parent"), (organism_stage, "quieten")):
        monkeypatch.setattr(module, name, lambda: None)
    return loaded(tmp_path / "toy.py", monkeypatch)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def with_arguments(main: Callable[..., list[str]], *arguments: str, **settings: bool) -> None:
        monkeypatch.setattr(sys, "argv", ["toy", *arguments])
        run_organism_stage(main, **settings)

    return with_arguments


def test_a_plant_and_a_seed(
    toy: ModuleType, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run(toy.main, "longer", "11")
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "toy longer 11: started",
        "toy longer 11: 'longer' is easy",
        "toy longer 11: seed 11",
    ]
    assert err == ""


def test_a_stage_of_all(
    toy: ModuleType, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("organisms/params.yaml")
    path.write_text(
        re.sub(r"seeds:.*?\n\n", "seeds: [8, 9]\n\n", path.read_text(), flags=re.DOTALL)
    )
    run(toy.of_all)
    assert capsys.readouterr().out.splitlines() == ["toy: started", "toy: seeds [8, 9]"]


@pytest.mark.parametrize(
    "arguments", [[], ["longer"], ["longer", "ten"], ["longer", "1.5"], ["longer", "1", "2"]]
)
def test_other_arguments_are_refused(
    toy: ModuleType,
    run: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(toy.main, *arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: ")


def test_help_says_what_the_stage_is_for(
    toy: ModuleType, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        run(toy.main, "--help")
    out = capsys.readouterr().out
    assert "What this stage is for." in out
    assert " plant seed\n" in out


def test_a_plant_that_is_none_is_one_line(
    toy: ModuleType, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(toy.main, "shorter", "11")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(
        "error: 'shorter' is no plant of organisms/params.yaml; there are longer"
    )


@pytest.mark.parametrize("file", FILES[1:])
def test_a_missing_file_is_one_line(
    toy: ModuleType, run: Callable[..., None], capsys: pytest.CaptureFixture[str], file: str
) -> None:
    Path(file).unlink()
    with pytest.raises(SystemExit) as ended:
        run(toy.main, "longer", "11")
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"error: {file} does not exist: run from the project's root\n"


@pytest.mark.parametrize("content", [None, "rlhf: 1\n"])
def test_the_pipelines_params_are_checked_where_they_are_read(
    toy: ModuleType,
    run: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    content: str | None,
) -> None:
    path = Path("params.yaml")
    path.unlink()
    if content is not None:
        path.write_text(content)
    run(toy.main, "longer", "11")  # which reads none of them
    assert capsys.readouterr().out.splitlines()[-1] == "toy longer 11: seed 11"
    with pytest.raises(SystemExit) as ended:
        run(toy.of_pipeline)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == "toy: started\n"
    line, *more = err.splitlines()
    if content is None:
        assert (line, more) == (
            "error: params.yaml does not exist: run from the project's root",
            [],
        )
    else:
        assert line.startswith("error: ")
        assert all("params.yaml" in one for one in (line, *more))
        assert "Traceback" not in err


def test_a_wrong_value_is_one_line(
    toy: ModuleType, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("organisms/params.yaml")
    path.write_text(path.read_text().replace("{length: 1.0}", "{length: 0.0}"))
    with pytest.raises(SystemExit) as ended:
        run(toy.main, "longer", "11")
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: plants.longer in organisms/params.yaml: a weight of 0 plants nothing: remove it\n"
    )


def test_a_bug_keeps_its_traceback(toy: ModuleType, run: Callable[..., None]) -> None:
    with pytest.raises(KeyError, match="a bug"):
        run(toy.main, "longer", "2")


@pytest.mark.parametrize("fast", [True, False])
def test_what_runs_models_is_seeded_by_its_seed(
    toy: ModuleType, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    happened: list[Any] = []

    @contextlib.contextmanager
    def products() -> Iterator[None]:
        happened.append("fast")
        yield
        happened.append("as before")

    monkeypatch.setattr(matmul, "onednn_products", products)
    monkeypatch.setattr(organism_stage, "seed_everything", happened.append)
    path = Path("params.yaml")
    if not fast:
        path.write_text(path.read_text().replace("fast: true", "fast: false"))
    run(toy.main, "longer", "11", models=True)
    assert happened == ([11, "fast", "as before"] if fast else [11])
    del happened[:]
    run(toy.main, "longer", "11")
    assert happened == []


@pytest.mark.parametrize("name", STAGES)
def test_no_library_is_imported_before_telemetry_is_off(name: str) -> None:
    lines = (ROOT / "stages/organisms" / f"{name}.py").read_text().splitlines()
    first = next(line for line in lines if line.startswith(("import ", "from ")))
    assert first == "from inverse_rlhf.organism_stage import run_organism_stage"


def test_a_stage_of_its_own_ends_with_one_line_and_an_audit_needs_no_torch(tmp_path: Path) -> None:
    copy_params(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code = (
        "import runpy, sys; sys.argv[1:] = ['longer', '10']\n"
        "try: runpy.run_module('stages.organisms.audit', run_name='__main__', alter_sys=True)\n"
        "finally: print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    command = (sys.executable, "-c", code)
    result = execute(tmp_path, *command, check=False, PYTHONPATH=str(ROOT))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "organisms/pairs/longer-10/pairs.parquet" in line
    assert result.stdout.splitlines() == ["audit longer 10: started", "[]"]
    assert sorted(tmp_path.rglob("*")) == before
