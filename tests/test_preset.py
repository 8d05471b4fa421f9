"""Presets: each is valid on params.yaml, as flags and written into it."""

from pathlib import Path

import pytest

from inverse_rlhf import preset
from inverse_rlhf.params import parse_params, read_yaml

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_presets_parse(path: Path) -> None:
    content = read_yaml(ROOT / "params.yaml")
    preset.merge(content, read_yaml(path))
    parse_params(content, path.name)


def test_preset_flags_and_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    irl = {"lr": 1e-06, "bootstrap": False, "features": ["ngram", "length"]}
    overlay = {"irl": irl, "data": {"comments": None}}
    assert preset.flags(overlay) == [
        *("-S", "irl.lr=1e-06"),
        *("-S", "irl.bootstrap=false"),
        *("-S", "irl.features=[ngram,length]"),
        *("-S", "data.comments=null"),
    ]
    target = tmp_path / "params.yaml"
    target.write_text((ROOT / "params.yaml").read_text())
    preset.write(overlay, target)
    before = (ROOT / "params.yaml").read_text().splitlines()
    after = target.read_text().splitlines()
    assert [line for line in before if line.startswith("#")] == [
        line for line in after if line.startswith("#")
    ]
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 4
    merged = parse_params(read_yaml(target))
    assert merged.irl.lr == 1e-6
    assert merged.data.comments is None
    monkeypatch.chdir(ROOT)
    assert preset.main(["no-such-preset"]) == 2
    (tmp_path / "empty.yaml").write_text("")
    monkeypatch.setattr(preset, "PRESETS", tmp_path)
    assert preset.main(["empty"]) == 2


def test_presets_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert preset.main(["--list"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {path.stem for path in (ROOT / "presets").glob("*.yaml")}
    assert lines["tweets-local"] == "English tweets with human labels (Davidson et al. 2017)"
    for arguments in ([], ["--list", "--write"], ["--list", "tweets-local"]):
        with pytest.raises(SystemExit, match="2"):
            preset.main(arguments)
