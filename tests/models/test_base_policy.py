"""What any stage asks of a base policy is checked by the stage that takes it, before any training,
and the folder that it is taken from stays as it is.
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from ruamel.yaml import YAML
from transformers import AutoModelForCausalLM

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.params import for_stage, load_params
from inverse_rlhf.parquet import write_table
from stages import base_policy
from tests.architectures import save_tiny
from tests.foreign import with_holes

Stage = Callable[..., None]


@pytest.fixture
def stage(
    raw_params: dict[str, Any],
    comments: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Stage:
    """The stage on a folder, with some settings changed."""
    monkeypatch.chdir(tmp_path)
    write_table(comments.assign(comment_id=range(len(comments))), "data/comments.parquet", COMMENTS)

    def run(folder: Path, **changes: Any) -> None:
        content = {
            name: {**group} if isinstance(group, dict) else group
            for name, group in raw_params.items()
        }
        content["base_policy"]["source"] = str(folder)
        for key, value in changes.items():
            group, name = key.split("__")
            content[group][name] = value
        with Path("params.yaml").open("w", encoding="utf-8") as file:
            YAML().dump(content, file)
        params = load_params()
        base_policy.main(for_stage(params, base_policy.StageParams))

    return run


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_a_folder_is_taken_and_stays_as_it_is(stage: Stage, tmp_path: Path) -> None:
    folder = save_tiny("granite", tmp_path / "mine")
    before = digests(folder)
    stage(folder, irl__blocks=1, irl__trainable="last_k", rlhf__trainable_layers=2)
    assert digests(folder) == before
    assert [path.name for path in Path("models/base").iterdir()] == ["manifest.json"]
    found = load("policy", Path("models/base"), load_params().compute)
    assert found.module.name_or_path == str(folder)
    assert found.max_tokens == 96


def test_a_folder_called_scratch_is_not_taken_for_what_was_trained(stage: Stage) -> None:
    Path("scratch").mkdir()
    stage(Path("scratch"))
    assert Path("models/base/model.safetensors").exists()
    assert not list(Path("scratch").iterdir())


@pytest.mark.parametrize("what", ["changed", "is gone", "is new"])
def test_a_folder_that_is_no_longer_what_was_taken_is_refused(
    what: str, stage: Stage, tmp_path: Path
) -> None:
    folder = save_tiny("granite", tmp_path / "mine")
    stage(folder)
    file = folder / {"is new": "bpe.codes"}.get(what, "generation_config.json")
    if what == "is gone":
        file.unlink()
    else:
        file.write_text("{}")
    with pytest.raises(
        UserError, match=rf"^base_policy.source: .*{file.name} {what} since models/base was"
    ) as line:
        load("policy", Path("models/base"), load_params().compute)
    assert "\n" not in str(line.value)
    shutil.rmtree(folder)
    with pytest.raises(
        UserError, match=r"^base_policy.source: .*the model in .*mine, which is not a"
    ):
        load("policy", Path("models/base"), load_params().compute)


def test_an_adapter_is_kept_merged(stage: Stage, tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "whole")
    whole = AutoModelForCausalLM.from_pretrained(folder)
    adapted = get_peft_model(whole, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False))
    adapted.peft_config["default"].base_model_name_or_path = str(folder)
    adapted.save_pretrained(tmp_path / "mine")
    stage(tmp_path / "mine")
    assert Path("models/base/model.safetensors").exists()
    found = load("policy", Path("models/base"), load_params().compute)
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        torch.testing.assert_close(found.module(ids).logits, adapted.eval()(ids).logits)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("gpt2", {"irl__blocks": 3}, r"irl\.blocks is 3, but the number of blocks of .*mine is 2"),
        ("gpt2", {"irl__last_k": 3}, r"irl\.last_k is 3, but the number of blocks of .* is 2"),
        ("gpt2", {"rlhf__trainable_layers": 3}, r"rlhf\.trainable_layers is 3, but .* is 2"),
        ("gpt2", {"pairs__max_new_tokens": 96}, r"pairs\.max_new_tokens is 96, but .* is 96: low"),
        ("gpt2", {"rlhf__max_new_tokens": 96}, r"rlhf\.max_new_tokens is 96, but the context of "),
        ("minicpm3", {"irl__blocks": 1}, r"irl\.blocks is 1, but a minicpm3 that is cut"),
        ("gpt2", {"irl__body": "nowhere/at/all"}, r"irl\.body: nowhere/at/all"),
        ("rwkv", {}, r"base_policy\.source: .* is no policy: a rwkv says something else"),
        ("deepseek_v4", {}, r"mine is no body: its weights lack norm\.weight"),
    ],
    ids=str,
)
def test_what_later_stages_cannot_do_is_refused_at_once(
    kind: str, changes: dict[str, Any], message: str, stage: Stage, tmp_path: Path
) -> None:
    folder = save_tiny(kind, tmp_path / "mine")
    before = digests(folder)
    with pytest.raises(UserError, match=message) as line:
        stage(folder, **changes)
    assert "\n" not in str(line.value)
    assert digests(folder) == before
    assert not list(Path().glob("models/*"))
    assert not Path("metrics").exists()


def test_a_tokenizer_that_no_reward_can_bring_is_refused_at_once(
    stage: Stage, tmp_path: Path
) -> None:
    """Where padding needs a token of its own, but the next number is that of a word."""
    folder = save_tiny("llama", tmp_path / "mine")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with_holes(tmp_path).save_pretrained(folder)
    line = r"^the reward's tokenizer cannot be written for others: 'map' is \[6\] by it, .* 6 pads"
    with pytest.raises(UserError, match=line):
        stage(folder)
    assert not Path("models/base").exists()
    stage(folder, irl__pooling="mean")


def test_text_features_need_no_body(stage: Stage, tmp_path: Path) -> None:
    folder = save_tiny("deepseek_v4", tmp_path / "mine")
    stage(folder, irl__features=["ngram"])
    assert Path("models/base/manifest.json").exists()


def test_a_context_without_room_is_refused(stage: Stage, tmp_path: Path) -> None:
    file = save_tiny("llama", tmp_path / "mine") / "config.json"
    content = json.loads(file.read_text()) | {"max_position_embeddings": 8}
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"of .*mine in tokens is 8"):
        stage(tmp_path / "mine")
    assert not list(Path().glob("models/*"))


_CODE = """
from transformers import GPT2Config, GPT2LMHeadModel
class XConfig(GPT2Config):
    model_type = "KIND"
class XForCausalLM(GPT2LMHeadModel):
    config_class = XConfig
    def __init__(self, config):
        super().__init__(config)
        self.lm_head.register_forward_hook(lambda module, given, logits: logits * TIMES)
"""


@pytest.mark.parametrize(
    ("kind", "times", "message"),
    [
        ("gpt2", 1, None),
        ("gpt2", 2, "computes something else with its own code than without it"),
        ("xmodel", 1, "trust_remote_code is no way out: later stages run no code"),
    ],
)
def test_code_of_a_models_own_must_not_be_needed(
    kind: str,
    times: int,
    message: str | None,
    stage: Stage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asks on a terminal"))
    folder = save_tiny("gpt2", tmp_path / f"mine{times}{kind}")
    code = _CODE.replace("KIND", kind).replace("TIMES", str(times))
    (folder / "modeling_x.py").write_text(code)
    auto = {"AutoConfig": "modeling_x.XConfig", "AutoModelForCausalLM": "modeling_x.XForCausalLM"}
    content = json.loads((folder / "config.json").read_text())
    content |= {"auto_map": auto, "model_type": kind}
    (folder / "config.json").write_text(json.dumps(content))
    if message is None:
        stage(folder, base_policy__trust_remote_code=True)
        model = load("policy", Path("models/base"), load_params().compute)
        model.save("again")
        assert "auto_map" not in Path("again/config.json").read_text()
        return
    with pytest.raises(UserError, match=message) as line:
        stage(folder, base_policy__trust_remote_code=True)
    assert str(line.value).startswith("base_policy.source: ")
    assert "\n" not in str(line.value)
    assert not list(Path().glob("models/*"))
