"""A stage runs on its own part of the params; bad input ends it with one line."""

from inverse_rlhf.stage import run_stage

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inverse_rlhf import params, stage
from inverse_rlhf.models import matmul
from tests.modules import loaded
from tests.pipeline.projects import execute

ROOT = Path(__file__).parent.parent
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[!_]*.py"))
TOY = '''
"""What this stage is for."""

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Compute, Group, Natural, Seed

Pairs = type("Pairs", (Group,), {"__annotations__": {"samples": Natural}})


class StageParams(Group):
    seed: Seed
    compute: Compute
    pairs: Pairs


def main(params: StageParams) -> list[str]:
    if params.seed == 1:
        raise UserError("the table is empty: run `dvc repro`")
    if params.seed == 2:
        raise KeyError("a bug")
    assert set(params.model_dump()) == {"seed", "compute", "pairs"}
    return ["read", f"made {params.pairs.model_dump()}"]
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stage in a folder of its own; what would change this process is left out."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["toy"])
    for name in ("die_with_parent", "quieten"):
        monkeypatch.setattr(stage, name, lambda: None)
    monkeypatch.setattr(stage, "seed_everything", lambda seed: None)
    monkeypatch.setattr(matmul, "onednn_products", contextlib.nullcontext)
    return loaded(tmp_path / "toy.py", monkeypatch)


@pytest.fixture
def edit(toy: ModuleType) -> Callable[[str, str], None]:
    """Replace a text in the stage's params.yaml."""

    def replaced(old: str, new: str) -> None:
        text = Path("params.yaml").read_text()
        assert old in text
        Path("params.yaml").write_text(text.replace(old, new, 1))

    return replaced


def test_lines_name_the_stage(toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage(toy.main)
    out, err = capsys.readouterr()
    assert out.splitlines() == ["toy: started", "toy: read", "toy: made {'samples': 2}"]
    assert err == ""


def test_bad_input_is_one_line_and_exit_code_2(
    toy: ModuleType, edit: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    edit("seed: 0", "seed: 1")
    with pytest.raises(SystemExit) as ended:
        run_stage(toy.main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: the table is empty: run `dvc repro`\n"
    edit("seed: 1", "seed: -1")
    with pytest.raises(SystemExit) as ended:
        run_stage(toy.main)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "error: seed is -1 in params.yaml: it must be greater than or equal to 0\n"
    Path("params.yaml").unlink()
    with pytest.raises(SystemExit, match="2"):
        run_stage(toy.main)
    assert capsys.readouterr().err.startswith("error: params.yaml does not exist")


def test_a_stage_without_models_looks_at_how_later_ones_start(
    toy: ModuleType, edit: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong command would fail before the stage that it starts could say why."""
    edit("evaluate: python -m", "evaluate: torchrun")
    with pytest.raises(SystemExit, match="2"):
        run_stage(toy.main, models=False)
    assert capsys.readouterr().err.startswith("error: launch.evaluate is 'torchrun' in params.yaml")


def test_the_first_stage_says_that_vllm_is_not_installed(
    toy: ModuleType,
    edit: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before hours of work for a training that cannot begin; nothing else asks for it."""
    monkeypatch.setattr(params, "find_spec", lambda name: None)
    run_stage(toy.main)
    edit("generation: generate", "generation: vllm_server")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        run_stage(toy.main)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: rlhf.generation is vllm_server, but vLLM is not installed: ")


def test_a_bug_keeps_its_traceback(toy: ModuleType, edit: Callable[[str, str], None]) -> None:
    edit("seed: 0", "seed: 2")
    with pytest.raises(KeyError, match="a bug"):
        run_stage(toy.main)


@pytest.mark.parametrize("fast", [True, False])
def test_products_are_fast_while_a_stage_runs(
    toy: ModuleType,
    edit: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    fast: bool,
) -> None:
    happened = []

    @contextlib.contextmanager
    def products() -> Iterator[None]:
        happened.append("fast")
        yield
        happened.append("as before")

    monkeypatch.setattr(matmul, "onednn_products", products)
    main = toy.main

    @functools.wraps(main)
    def seen(params: Any) -> list[str]:
        happened.append("main")
        return main(params)

    if not fast:
        edit("fast: true", "fast: false")
    run_stage(seen)
    assert happened == (["fast", "main", "as before"] if fast else ["main"])


def test_help_says_what_the_stage_is_for(
    toy: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["toy", "--help"])
    with pytest.raises(SystemExit, match="0"):
        run_stage(toy.main)
    assert "What this stage is for." in capsys.readouterr().out


ENDS_WITH_TELEMETRY = """
import atexit, runpy, sys

def telemetry():
    import huggingface_hub.constants
    print("off:", huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY)

atexit.register(telemetry)
sys.argv[1:] = []
runpy.run_module("stages.prepare_data", run_name="__main__", alter_sys=True)
"""


def test_a_stage_of_its_own_prints_one_line_and_reports_nothing(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("source: embedded ", "source: none.csv "))
    unset = ("HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK")
    result = subprocess.run(
        [sys.executable, "-c", ENDS_WITH_TELEMETRY],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key not in unset}
        | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr == "error: data.source: none.csv does not exist\n"
    assert result.stdout.splitlines() == ["prepare_data: started", "off: True"]
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


WITHOUT_TORCH = """
import runpy, sys
sys.argv[1:] = []
try:
    runpy.run_module("stages.report", run_name="__main__", alter_sys=True)
finally:
    print({"torch", "transformers"} & set(sys.modules))
"""


def test_another_look_at_the_report_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    command = (sys.executable, "-c", WITHOUT_TORCH)
    result = execute(tmp_path, *command, check=False, PYTHONPATH=str(ROOT))
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: metrics/reward.json ")
    assert result.stdout.splitlines() == ["report: started", "set()"]


WHERE_NUMBERS_LIE = """
import inverse_rlhf.stage
import torch
from torch.nn.functional import scaled_dot_product_attention

torch.manual_seed(0)
texts = torch.randn(8, 33, 4, 32)
found = set()
for start in range(16):
    place = torch.empty(texts.numel() + 16)[start:][: texts.numel()].view(texts.shape)
    place.copy_(texts)
    numbers = scaled_dot_product_attention(*[place.transpose(1, 2)] * 3)
    found.add(tuple(numbers.flatten().tolist()))
print(len(found))
"""


def test_attention_does_not_depend_on_where_numbers_lie(tmp_path: Path) -> None:
    """MKL's products do, of 33 tokens on AMD, where it is not asked for the same sums each time."""
    result = subprocess.run(
        [sys.executable, "-c", WHERE_NUMBERS_LIE],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if key != "MKL_CBWR"}
        | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "1\n"


@pytest.mark.parametrize("name", STAGES)
def test_no_library_is_imported_before_that_is_settled(name: str) -> None:
    lines = (ROOT / "stages" / f"{name}.py").read_text().splitlines()
    first = next(line for line in lines if line.startswith(("import ", "from ")))
    assert first == "from inverse_rlhf.stage import run_stage"
