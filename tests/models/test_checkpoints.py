"""Model folders and hub ids that cannot be loaded are one line each."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import load, obtain
from inverse_rlhf.params import Params


def test_bad_model_folders(policy_folder: Path, params: Params, tmp_path: Path) -> None:
    def copy_without(*patterns: str) -> Path:
        folder = tmp_path / "_".join(patterns).replace("*", "")
        folder.mkdir()
        for file in policy_folder.iterdir():
            if not any(file.match(pattern) for pattern in patterns):
                (folder / file.name).write_bytes(file.read_bytes())
        return folder

    for pattern, message in (
        ("*.safetensors", "no .safetensors weights"),
        ("tokenizer*", "no tokenizer files"),
        ("config.json", "no config.json"),
    ):
        with pytest.raises(UserError, match=message):
            load("policy", copy_without(pattern), params.compute)
    with pytest.raises(UserError, match="is not a folder"):
        load("policy", tmp_path / "none", params.compute)
    pickled = copy_without("model.safetensors")
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="other formats are not loaded"):
        load("policy", pickled, params.compute)
    broken = copy_without("nothing")
    (broken / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(UserError, match="weights cannot be loaded"):
        load("policy", broken, params.compute)
    with pytest.raises(UserError, match="is no classifier"):
        load("classifier", policy_folder, params.compute)
    weights = load_file(policy_folder / "model.safetensors")
    weights["gpt_neox.final_layer_norm.bias"] += torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"gpt_neox\.final_layer_norm\.bias are not finite"):
        load("policy", broken, params.compute)


def test_hub_without_network(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"base_policy\.source: someone/model: the") as caught:
        load("policy", "someone/model", params.compute, key="base_policy.source", revision="main")
    assert "\n" not in str(caught.value)
    source = params.base_policy.model_copy(update={"source": "someone/model"})
    with pytest.raises(UserError, match=r"if it is a hub id, set base_policy\.revision"):
        obtain("policy", source, params.compute, key="base_policy")
