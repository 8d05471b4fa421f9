"""What DVC does not see: a digest changes with what is read, and with nothing else."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from inverse_rlhf import digests
from inverse_rlhf.digests import LIBRARIES, Digests, Source, of_hub, unknown_commits, versions
from inverse_rlhf.errors import UserError
from tests.modules import loaded

ROOT = Path(__file__).parent.parent
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(digests, "_asked", lambda *_: None)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def of(name: str | None, key: str = "base_policy.source", **given: Any) -> dict[str, Any]:
    kind = "dataset" if key == "data.source" else "model"
    source = Source(key, name, given.pop("revision", None), given.pop("kind", kind))
    return Digests(Path(".digests.json")).of(source, given.pop("before", {}))


def model(folder: str) -> Path:
    path = Path(folder)
    path.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "vocab.bpe", "tokenizer.model", "code.py"):
        (path / name).write_text(name)
    (path / "additional_chat_templates").mkdir()
    (path / "additional_chat_templates/tool.jinja").write_text("x")
    return path


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("data.source", "embedded"),
        ("base_policy.source", "scratch"),
        ("irl.body", "base"),
        ("irl.body", "none"),
        ("evaluate.transfer_prompts", None),
    ],
)
def test_what_is_made_here_has_no_files(key: str, name: str | None) -> None:
    assert of(name, key) == {"files": {}}


def test_every_file_of_a_model_counts() -> None:
    folder = model("mine")
    found = [of("mine")]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        path.write_text("other")
        found.append(of("mine"))
    assert len({json.dumps(one) for one in found}) == len(found) == 7
    for name in ("README.md", "pytorch_model.bin", ".hidden.json"):
        (folder / name).write_text("x")
        assert of("mine") == found[-1]
    folder.rename("moved")
    assert of("moved") == found[-1]


def adapter_of(base: str) -> None:
    if not Path("adapter").exists():
        model("adapter")
    Path("adapter/adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))


@pytest.mark.parametrize(
    ("base", "place"),
    [
        *(("base", "base"), ("own", "adapter/own"), ("../beside", "beside")),
        *(("./adapter/dotted", "adapter/dotted"), ("~/home", "home")),
    ],
)
def test_an_adapters_base_counts_wherever_it_lies(
    base: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    adapter_of(base)
    model(place)
    before = of("adapter")
    Path(place, "model.safetensors").write_text("other")
    assert of("adapter")["files"] == before["files"]
    assert of("adapter")["base"] != before["base"]


def test_an_adapters_base_of_the_hub_has_a_commit() -> None:
    adapter_of("org/name")
    assert of("adapter")["base"] == {"hub": "org/name", "revision": "main", "commit": None}
    Path("adapter/adapter_config.json").write_text("[")
    assert "base" not in of("adapter")


def test_the_base_of_an_adapter_on_the_hub_counts(tmp_path: Path) -> None:
    """Once its settings have been fetched; where they cannot be, what was known of them does."""
    adapter, base = (tmp_path / f"hub/models--org--{name}" for name in ("lora", "base"))
    settings = adapter / f"snapshots/{COMMIT}/adapter_config.json"
    (base / "refs").mkdir(parents=True)
    (base / "refs/main").write_text("a" * 40)
    source = {"name": "org/lora", "revision": COMMIT}
    alone = of(**source)
    assert alone == {"hub": "org/lora", "revision": COMMIT, "commit": COMMIT}
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    known = of(**source)
    assert known == alone | {"base": {"hub": "org/base", "revision": "main", "commit": "a" * 40}}
    (base / "refs/main").write_text("b" * 40)
    moved = of(**source)
    assert moved["base"]["commit"] == "b" * 40
    settings.unlink()
    assert of(**source, before=moved) == moved
    assert unknown_commits({"one": moved, "two": {"files": {}}}) == []
    moved["base"]["commit"] = None
    assert unknown_commits({"one": moved}) == ["org/base"]


def test_a_base_where_the_adapter_was_trained_is_not_taken_for_another() -> None:
    """Of another project, or of the hub: the name leads from a folder above to a model, too."""
    adapter = model("project/models/adapter")
    settings = adapter / "adapter_config.json"
    settings.write_text(json.dumps({"base_model_name_or_path": "models/base"}))
    assert of(str(adapter))["base"]["hub"] == "models/base"
    model("project/models/base")
    with pytest.raises(UserError, match=r"is no folder here, but \S+/project/models/base is one"):
        of(str(adapter))
    model("models/base")
    with pytest.raises(UserError, match=r"models/base is \S+ or \S+: set .* the absolute path"):
        of(str(adapter))
    settings.write_text(
        json.dumps({"base_model_name_or_path": str(Path("models/base").absolute())})
    )
    assert "files" in of(str(adapter))["base"]


def test_an_adapter_beside_a_configuration_is_not_its_own_base() -> None:
    """A folder that is called as the model on the hub, and has that one's config.json."""
    adapter = model("org/name")
    settings = adapter / "adapter_config.json"
    settings.write_text(json.dumps({"base_model_name_or_path": "org/name"}))
    with pytest.raises(UserError, match="names itself"):
        of(str(adapter))
    elsewhere = Path("work")
    elsewhere.mkdir()
    with contextlib.chdir(elsewhere):
        assert of(str(Path("../org/name")))["base"]["hub"] == "org/name"


def test_a_project_within_another_has_its_own_base(monkeypatch: pytest.MonkeyPatch) -> None:
    """As DVC's experiments are, in folders below the project."""
    model("models/base")
    model("tmp/exp/models/base")
    settings = model("tmp/exp/models/rlhf") / "adapter_config.json"
    settings.write_text(json.dumps({"base_model_name_or_path": "models/base"}))
    with pytest.raises(UserError, match=r"models/base is \S+/tmp/exp/models/base or models/base:"):
        of("tmp/exp/models/rlhf")
    monkeypatch.chdir("tmp/exp")
    assert "files" in of("models/rlhf")["base"]


def test_a_revision_of_an_adapters_base_is_text() -> None:
    adapter_of("org/name")
    settings = Path("adapter/adapter_config.json")
    settings.write_text(json.dumps({"base_model_name_or_path": "org/name", "revision": 7}))
    with pytest.raises(UserError, match="revision is 7 in its adapter_config"):
        of("adapter")


@pytest.mark.parametrize(
    "base", ["../none", "~/none", "~nobody/none", "/none", "a/b/c", "./adapter", "twice"]
)
def test_an_adapters_base_that_cannot_be_told_is_one_line(base: str) -> None:
    adapter_of(base)
    for place in ("twice", "adapter/twice"):
        model(place)
    with pytest.raises(UserError, match=r"^base_policy\.source: adapter.* its adapter_config"):
        of("adapter")


def test_files_and_folders_of_data() -> None:
    Path("a.csv").write_text("text,toxic\n")
    assert list(of("a.csv", "data.source")["files"]) == ["a.csv"]
    Path("many").mkdir()
    Path("elsewhere").write_text("1")
    Path("many/x.parquet").symlink_to(Path("elsewhere").absolute())
    Path("many/.y.parquet").write_text("not read")
    before = of("many", "data.source")
    assert list(before["files"]) == ["x.parquet"]
    Path("elsewhere").write_text("2")
    assert of("many", "data.source") != before
    Path("many/deep").mkdir()
    with pytest.raises(UserError, match=r"data\.source: many has deep/ beside x.parquet, which"):
        of("many", "data.source")


def test_a_file_is_read_again_only_where_it_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    path, memory = Path("a.csv"), Path(".digests.json")
    path.write_text("one")
    times = path.stat()

    def digest(*, later: bool) -> str:
        found = Digests(memory)
        now = time.time_ns()
        monkeypatch.setattr(digests.time, "time_ns", lambda: now + later * 10**10)
        value = found.of_file(path)
        found.save()
        return value

    first = digest(later=False)
    assert json.loads(memory.read_text()) == {} if memory.exists() else True
    assert digest(later=True) == first
    content = json.loads(memory.read_text())
    content[str(path.absolute())][1] = "remembered"
    memory.write_text(json.dumps(content))
    assert digest(later=True) == "remembered"
    path.write_text("two")  # of the same size, and by its own time as old as before
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest(later=True) not in ("remembered", first)
    for broken in ("", "[1]", "{", '{"x": 1}', '"a"'):
        memory.write_text(broken)
        assert len(digest(later=False)) == 64


@pytest.mark.parametrize(
    ("key", "name", "given", "message"),
    [
        ("data.source", "no.csv", {}, "data.source: no.csv does not exist"),
        ("data.source", "a/no", {}, "a/no does not exist; for a hub id set a revision"),
        ("base_policy.source", "./no", {"revision": "main"}, "source: no does not exist"),
        ("irl.body", "a/b/c", {"revision": "main"}, "irl.body: a/b/c does not exist"),
        ("evaluate.transfer_prompts", "p.csv", {"kind": "file"}, "p.csv does not exist"),
    ],
)
def test_what_is_not_there_is_refused(
    key: str, name: str, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        of(name, key, **given)
    assert message in str(caught.value)
    assert ("for a hub id" in message) == ("for a hub id" in str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


def test_in_an_experiments_folder_it_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".dvc/tmp/exps/tmpabc"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    with pytest.raises(UserError, match="which has only what git or DVC tracks: `git add` or"):
        of("no.csv", "data.source")
    with pytest.raises(UserError, match=r"/no\.csv does not exist$"):
        of("/no.csv", "data.source", revision="x")


def test_commits_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = {"hub": "org/name", "revision": "main"}
    assert of("org/name", revision="main") == given | {"commit": None}
    before = given | {"commit": "older"}
    assert of("org/name", revision="main", before=before) == before
    assert of("org/name", revision="v2", before=before)["commit"] is None
    refs = tmp_path / "hub/models--org--name/refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("cached")
    assert of("org/name", revision="main", before=before) == given | {"commit": "cached"}
    monkeypatch.setattr(digests, "_asked", lambda *_: "newest")
    assert of("org/name", revision="main", before=before) == given | {"commit": "newest"}
    assert of_hub("org/name", COMMIT, "model", {})["commit"] == COMMIT


def test_versions_are_of_what_is_installed() -> None:
    found = versions()
    assert set(found) == {"python", *LIBRARIES}
    pinned = (ROOT / "requirements.txt").read_text()
    for name in LIBRARIES:
        assert f"{name}=={found[name]}\n" in pinned


def test_the_stage_writes_what_changed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = loaded(ROOT / "stages/inputs.py", monkeypatch)
    Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
    from inverse_rlhf.params import load_part

    params = load_part(stage.StageParams)
    assert len(stage.main(params)) == 6
    outs = sorted(Path("data/inputs").iterdir())
    before = [path.stat().st_mtime_ns for path in outs]
    assert stage.main(params) == ["as before"]
    assert [path.stat().st_mtime_ns for path in outs] == before
    Path("p.jsonl").write_text("{}")
    changed = params.model_copy(update={"evaluate": stage.TransferFile(transfer_prompts="p.jsonl")})
    assert stage.main(changed) == ["data/inputs/transfer.json is new or changed"]
    hub = stage.Place(source="org/name", revision="main")
    lines = stage.main(params.model_copy(update={"base_policy": hub}))
    assert lines[-1] == "no commit of org/name is known: the hub cannot be asked"
