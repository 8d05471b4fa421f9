"""Presets: each is valid on params.yaml, as flags and written into it."""

from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from inverse_rlhf import preset
from inverse_rlhf.audit_params import load_audit_params
from inverse_rlhf.params import parse_params, read_yaml

ROOT = Path(__file__).parent.parent


PRESETS = sorted(path.stem for path in (ROOT / "presets").rglob("*.yaml"))


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_their_flags_make_the_same_of_a_params_file(
    name: str, tmp_path: Path
) -> None:
    given = preset.read_preset(name)
    given.check_merged()
    file = f"{preset.AUDITS}:" if given.params == preset.AUDITS else ""
    changes = [flag.removeprefix(file) for flag in given.flags()[1::2]]
    assert file or not any(change.startswith("+") for change in changes)  # names of audits alone
    written = tmp_path / "params.yaml"
    written.write_text(given.params.read_text())
    apply_overrides(written, changes)
    content = read_yaml(given.params)
    preset.merge(content, given.overlay)
    assert read_yaml(written) == content


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("pythia-")])
def test_pythia_presets_say_where_they_depart_and_what_memory_they_take(name: str) -> None:
    text = preset.read_preset(name).path.read_text()
    for words in ("Departures", "24 GB", "80 GB", "python -m benchmarks.planned"):
        assert words in text


def test_preset_flags_and_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    irl = {"lr": 1e-06, "bootstrap": False, "features": ["ngram", "length"]}
    overlay = {"irl": irl, "data": {"comments": None}}
    given = preset.Preset(tmp_path / "mine.yaml", overlay, preset.PARAMS, parse_params)
    assert given.flags() == [
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
    assert preset.main(["no-such-preset"]) == 2
    (tmp_path / "empty.yaml").write_text("")
    monkeypatch.setattr(preset, "PRESETS", tmp_path)
    assert preset.main(["empty"]) == 2


def test_presets_of_audits_go_to_their_params(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preset.main(["llama-3.2-1b-audit"]) == 0
    printed = capsys.readouterr().out
    assert "-S audit/params.yaml:compute.bf16=true" in printed
    assert "-S audit/params.yaml:+audits.llama.pairs=audit/pairs/llama.parquet" in printed
    target = tmp_path / "params.yaml"
    target.write_text((ROOT / "audit/params.yaml").read_text())
    monkeypatch.setattr(preset, "AUDITS", target)
    assert preset.main(["llama-3.2-1b-audit", "--write"]) == 0
    params = load_audit_params(target)
    assert params.hub_policies["llama"].aligned == "meta-llama/Llama-3.2-1B-Instruct"
    assert set(params.audits) == {"rlhf", "rerl", "placebo", "llama"}
    assert "# Audits: what was each model aligned to?" in target.read_text()


def test_presets_are_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert preset.main(["--list"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert sorted(lines) == PRESETS
    assert lines["tweets-local"] == "English tweets with human labels (Davidson et al. 2017)"
    monkeypatch.chdir(tmp_path)
    for arguments in (["--list"], ["smoke"]):
        assert preset.main(arguments) == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == (
            "error: there are no presets in presets/ here: run from the project's root\n"
        )
    for arguments in ([], ["--list", "--write"], ["--list", "tweets-local"]):
        with pytest.raises(SystemExit, match="2"):
            preset.main(arguments)
