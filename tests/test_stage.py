"""A stage ends with one line where the input is bad."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_stage_prints_one_line(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("source: embedded ", "source: none.csv "))
    result = subprocess.run(
        [sys.executable, "-m", "stages.prepare_data"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "error: data.source: none.csv does not exist"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
