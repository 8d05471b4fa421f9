"""Settings of audits: every wrong value is one line, and dots name what is overridden."""

import copy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from inverse_rlhf.audit_params import (
    AuditSettings,
    Policies,
    checked,
    load_audit_params,
    settings_of,
)
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import read_yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    read: dict[str, Any] = read_yaml(ROOT / "audit/params.yaml")
    return read


def with_value(content: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(content)
    *outer, last = path.split(".")
    group = changed
    for name in outer:
        group = group[name]
    group[last] = value
    return changed


def written(content: Any, folder: Path) -> Path:
    YAML(typ="safe").dump(content, folder / "mine.yaml")
    return folder / "mine.yaml"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seed", -1, "seed is -1 in mine.yaml: it must be greater than or equal to 0"),
        ("compute.device", "gpu", "compute.device is 'gpu' in mine.yaml"),
        ("pairs.samples", 0, "pairs.samples is 0 in mine.yaml"),
        ("pairs.min_new_tokens", 999, "min_new_tokens"),
        ("audit.runs", 9, "audit.runs is 9 in mine.yaml: it must be greater than or equal to 10"),
        ("audit.runs", 10_001, "audit.runs is 10001"),
        ("audit.runs", "50", "audit.runs is '50' in mine.yaml: it must be a valid integer"),
        ("audit.runs", True, "audit.runs is True"),
        ("audit.runs", 50.5, "audit.runs is 50.5"),
        ("audit.null_runs", 19, "audit.null_runs is 19"),
        ("audit.null_runs", 100_001, "audit.null_runs is 100001"),
        ("audit.level", 0, "audit.level is 0"),
        ("audit.level", 0.6, "audit.level is 0.6"),
        ("audit.level", float("nan"), "audit.level is nan"),
        (
            "audit.level",
            0.001,
            "null_runs is 200: of so few none tells a level of 0.001; take 1000",
        ),
        ("audit.resamples", 99, "audit.resamples is 99"),
        ("audit.resamples", 1_000_001, "audit.resamples is 1000001"),
        (
            "audit.splits.test",
            0.3,
            "audit.splits in mine.yaml: irl, valid and test sum to 1.05, th",
        ),
        (
            "audit.splits.test",
            0.2,
            "audit.splits in mine.yaml: irl, valid and test sum to 0.95, th",
        ),
        ("audit.splits.test", 0, "audit.splits.test is 0"),
        ("audit.splits.train", 0.3, "audit.splits.train in mine.yaml is not a known key"),
        ("audit.ngram.min_n", 3, "audit.ngram in mine.yaml"),
        ("audit.ngram.analyzer", "letters", "audit.ngram.analyzer is 'letters'"),
        (
            "audit.body",
            "",
            "audit.body is '' in mine.yaml: it must be a string and have at least 1",
        ),
        ("audit.body", 3, "audit.body is 3"),
        (
            "audit.pooling",
            "max",
            "audit.pooling is 'max' in mine.yaml: it must be 'last' or 'mean'",
        ),
        ("audit.slice_pairs", 19, "audit.slice_pairs is 19"),
        ("audit.examples", -1, "audit.examples is -1"),
        ("audit.examples", 101, "audit.examples is 101"),
        ("audit.loss", "hinge", "audit.loss in mine.yaml is not a known key: remove it"),
        ("audits.mine", {"set": {}}, "audits.mine.pairs is missing in mine.yaml: add it"),
        ("audits.mine", {"pairs": ["a", "b"]}, "audits.mine.pairs is ['a', 'b'] in mine.yaml"),
        ("audits.mine", {"pairs": "a", "sets": {}}, "audits.mine.sets in mine.yaml is not a known"),
        ("audits.mine", {"pairs": "a", "set": [3]}, "audits.mine.set is [3]"),
        ("audits.mine", {"pairs": "a", "columns": {"base": 3}}, "audits.mine.columns.base is 3"),
        ("audits", None, "audits is None"),
        ("policies.mine", {"base": "a", "aligned": "b"}, "policies.mine.prompts is missing"),
        ("policies.rlhf.chat", "yes", "policies.rlhf.chat is 'yes'"),
        (
            "policies.rlhf.revision",
            "main",
            "policies.rlhf.revision in mine.yaml is not a known key",
        ),
        ("hub_policies.mine", {}, "hub_policies.mine.base is missing"),
        ("answers.mine", {"base": "a.json"}, "answers.mine.aligned is missing in mine.yaml"),
        ("answer", {}, "answer in mine.yaml is not a known key"),
    ],
)
def test_bad_values_are_named(
    content: dict[str, Any], tmp_path: Path, path: str, value: Any, message: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_audit_params(written(with_value(content, path, value), tmp_path))
    lines = str(caught.value).splitlines()
    assert message in lines[0]
    assert len(lines) == (3 if path == "hub_policies.mine" else 1)  # a line a key


def test_every_key_is_needed(content: dict[str, Any], tmp_path: Path) -> None:
    for group in ("seed", "audit", "audits", "policies", "hub_policies", "answers", "pairs"):
        without = {key: value for key, value in content.items() if key != group}
        with pytest.raises(UserError, match=f"^{group} is missing in mine.yaml: add it$"):
            load_audit_params(written(without, tmp_path))


@pytest.mark.parametrize("text", ["", "- a\n", "audit: [", "a: 1\na: 2\n"])
def test_files_that_are_no_params(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_audit_params(path)
    assert "mine.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(UserError):
        load_audit_params(tmp_path / "no.yaml")


@pytest.mark.parametrize(("level", "enough"), [(0.03, 34), (0.05, 20), (0.01, 100), (0.049, 21)])
def test_as_many_null_runs_as_are_asked_for_are_enough(level: float, enough: int) -> None:
    params = load_audit_params()
    settings_of(params, {"level": level, "null_runs": enough}, "here")
    if enough > 20:
        with pytest.raises(UserError, match=f"take {enough} or more"):
            settings_of(params, {"level": level, "null_runs": enough - 1}, "here")


def test_overrides_by_dots() -> None:
    params = load_audit_params()
    before = params.model_copy(deep=True)
    overrides = {"runs": 11, "ngram.max_n": 3, "splits": {"irl": 0.5, "valid": 0.25, "test": 0.25}}
    overrides |= {"seed": 7, "compute.device": "cpu", "body": "folder"}
    settings = settings_of(params, overrides, "here")
    assert (settings.audit.runs, settings.audit.ngram.max_n, settings.seed) == (11, 3, 7)
    assert (settings.audit.splits.irl, settings.compute.device) == (0.5, "cpu")
    assert settings.audit.body == "folder"
    assert settings.audit.null_runs == params.audit.null_runs
    assert params == before
    assert settings_of(params, {}, "here") == AuditSettings(
        seed=params.seed, compute=params.compute, audit=params.audit
    )


@pytest.mark.parametrize(
    "key",
    [
        *("rnus", "ngram.n", "ngram.max_n.x", "runs.x", "audit.runs", "pairs.samples", "audits"),
        *("compute", "compute.gpu", "", ".", "splits.", "policies.rlhf.base"),
    ],
)
def test_unknown_overrides_are_one_line(key: str) -> None:
    with pytest.raises(UserError) as caught:
        settings_of(load_audit_params(), {key: 3}, "audits.mine.set")
    assert str(caught.value) == (
        f"audits.mine.set: {key} is no setting of an audit: see audit/params.yaml"
    )


def test_overrides_are_checked() -> None:
    params = load_audit_params()
    with pytest.raises(UserError, match=r"^audit\.runs is 3 in audits\.mine\.set: it must be g"):
        settings_of(params, {"runs": 3}, "audits.mine.set")
    with pytest.raises(UserError, match=r"^seed is -1 in here"):
        settings_of(params, {"seed": -1}, "here")
    with pytest.raises(UserError, match=r"sum to 1\.2, they must sum to 1$"):
        settings_of(params, {"splits.irl": 0.8}, "here")
    with pytest.raises(UserError) as caught:
        settings_of(params, {"runs": 3, "examples": -1}, "here")
    assert len(str(caught.value).splitlines()) == 2


def test_overrides_of_the_whole_file() -> None:
    params = load_audit_params(overrides={"pairs.samples": 4, "audit.runs": 12})
    assert (params.pairs.samples, params.audit.runs) == (4, 12)
    with pytest.raises(UserError, match=r"^audit\.yaml: pairs\.sample is no setting of an audit"):
        load_audit_params(overrides={"pairs.sample": 4})
    assert load_audit_params().pairs.samples == 1


def test_a_group_by_itself() -> None:
    named = {"base": "a", "aligned": "b", "prompts": "c"}
    assert checked(Policies, named, "here") == Policies(**named)
    with pytest.raises(UserError, match=r"^base_revision is '' in here: it must be a string and"):
        checked(Policies, named | {"base_revision": ""}, "here")
