"""What a folder says of its weights and tokens is what they are, or it is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Kind, load
from inverse_rlhf.params import Params
from tests.architectures import save_tiny, shared_tokenizer, tiny_model
from tests.foreign import with_holes

Refused = Callable[..., str]


@pytest.fixture
def refused(params: Params) -> Refused:
    """The one line with which a folder is refused."""

    def line(folder: Path, kind: Kind = "policy", **options: Any) -> str:
        with pytest.raises(UserError) as caught:
            load(kind, folder, params.compute, key="base_policy.source", **options)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 1000
        return message

    return line


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def test_weights_without_a_place_are_refused(tmp_path: Path, refused: Refused) -> None:
    folder = save_tiny("llama", tmp_path)
    change_json(folder / "config.json", num_hidden_layers=1)
    assert "model.layers.1." in (line := refused(folder))
    assert "have no place" in line
    assert "model.layers.1." in refused(folder, "classifier", num_labels=1)
    assert "layers.1." in refused(folder, "body")
    change_json(folder / "config.json", num_hidden_layers=2)
    change_weights(folder, lambda w: w.update({"model.layers.0.mlp.up_proj.bias": torch.ones(48)}))
    assert "model.layers.0.mlp.up_proj.bias" in refused(folder)
    assert "layers.0.mlp.up_proj.bias" in refused(folder, "body")


def test_a_bias_is_no_mask(tmp_path: Path, refused: Refused) -> None:
    folder = save_tiny("llama", tmp_path)
    name = "model.layers.0.self_attn.bias"
    change_weights(folder, lambda weights: weights.update({name: torch.ones(32)}))
    assert f"{name} (of 1 such) have no place" in refused(folder)
    change_weights(folder, lambda weights: weights.update({name: torch.ones(1, 1, 8, 4)}))
    assert f"{name} (of 1 such) have no place" in refused(folder)


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(("ends", "wrong"), [([0, 9999], 9999), (-1, -1), (288, 288)])
def test_ends_of_text_are_tokens_of_the_model(
    file: str, ends: Any, wrong: int, tmp_path: Path, refused: Refused
) -> None:
    folder = save_tiny("llama", tmp_path)
    change_json(folder / file, eos_token_id=ends)
    line = refused(folder)
    assert f"eos_token_id in its {file} names token {wrong}, but the model embeds" in line


def test_known_leftovers_and_other_heads_are_not(tmp_path: Path, params: Params) -> None:
    folder = save_tiny("gpt2", tmp_path)
    expected = load("policy", folder, params.compute).module.state_dict()

    def leave(weights: dict[str, torch.Tensor]) -> None:
        for block in range(2):
            weights[f"transformer.h.{block}.attn.bias"] = torch.ones(1, 1, 96, 96, dtype=torch.bool)
            weights[f"transformer.h.{block}.attn.masked_bias"] = torch.tensor(-1e4)
            weights[f"transformer.h.{block}.attn.rotary_emb.inv_freq"] = torch.ones(4)
        weights["transformer.position_ids"] = torch.arange(96)
        weights["v_head.summary.weight"] = torch.ones(1, 32)

    change_weights(folder, leave)
    found = load("policy", folder, params.compute, key="base").module.state_dict()
    assert found.keys() == expected.keys()
    assert all(found[name].equal(value) for name, value in expected.items())
    assert load("body", folder, params.compute).module.wte.weight.shape == (288, 32)


def test_a_classifier_is_no_policy_and_its_body_is_one(
    tmp_path: Path, params: Params, refused: Refused
) -> None:
    folder = save_tiny("llama", tmp_path)
    auto = AutoModelForSequenceClassification
    auto.from_pretrained(folder, num_labels=1).save_pretrained(folder)
    assert "is no policy: its weights lack lm_head.weight" in refused(folder)
    assert load("body", folder, params.compute).module.config.model_type == "llama"


@pytest.mark.parametrize(
    "dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.float8_e4m3fn]
)
def test_weights_that_are_no_floats_are_refused(
    dtype: torch.dtype, tmp_path: Path, refused: Refused
) -> None:
    folder = save_tiny("llama", tmp_path)
    name = "model.layers.1.mlp.up_proj.weight"
    change_weights(folder, lambda weights: weights.update({name: weights[name].to(dtype)}))
    line = refused(folder)
    assert name in line
    assert "no floating-point numbers" in line


def test_a_shape_that_does_not_fit_is_named(tmp_path: Path, refused: Refused) -> None:
    folder = save_tiny("llama", tmp_path)
    change_json(folder / "config.json", intermediate_size=40)
    line = refused(folder)
    assert "model.layers.0.mlp.down_proj.weight have shape [32, 48]" in line
    assert "config.json says [32, 40]" in line


def test_tokens_beyond_the_embedding_are_refused(tmp_path: Path, refused: Refused) -> None:
    folder = save_tiny("llama", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    line = refused(folder)
    assert "tokens up to 288 ('[PAD]'), but the model embeds 288" in line
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(folder)
    assert "tokens up to 288 ('[PAD]')" in refused(folder, "classifier")


def test_a_word_with_the_number_of_a_special_token_is_refused(
    tmp_path: Path, refused: Refused
) -> None:
    """It would be decoded as nothing, and be read as padding elsewhere."""
    folder = save_tiny("llama", tmp_path / "mine")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with_holes(tmp_path, pad_token="<pad>").save_pretrained(folder)
    line = refused(folder)
    assert "its tokenizer has one number, 6, for '<pad>' and for 'map': give '<pad>' one of" in line


def test_a_policy_needs_an_end_of_text(tmp_path: Path, params: Params, refused: Refused) -> None:
    folder = save_tiny("llama", tmp_path)
    change_json(folder / "tokenizer_config.json", eos_token=None, bos_token=None)
    loaded = load("policy", folder, params.compute)
    assert loaded.tokenizer.eos_token_id == 0  # as generation_config.json says
    change_json(folder / "config.json", eos_token_id=None)
    (folder / "generation_config.json").unlink()
    assert "has an end of text" in refused(folder)


def test_a_trusted_folder_does_not_replace_the_decoder(tmp_path: Path, params: Params) -> None:
    folder = save_tiny("llama", tmp_path)
    (folder / "custom_generate").mkdir()
    code = "def generate(model, **_):\n    raise RuntimeError('not ours')\n"
    (folder / "custom_generate/generate.py").write_text(code)
    policy = load("policy", folder, params.compute, key="base", trust_remote_code=True)
    assert "generate" not in vars(policy.module)
    policy.module.generate(torch.tensor([[3, 4]]), max_new_tokens=1)


def test_the_way_to_convert_pickled_weights_is_one_that_works(
    tmp_path: Path, params: Params, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny("llama", tmp_path / "old")
    expected = load("policy", folder, params.compute).module.state_dict()
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    line = refused(folder)
    code = line.split("`")[1]
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    found = load("policy", tmp_path / "old-safetensors", params.compute).module.state_dict()
    assert all(found[name].equal(value) for name, value in expected.items())
    (folder / "m.gguf").touch()
    assert "gguf_file='m.gguf'" in refused(folder)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"max_shard_size": "20KB"}, torch.float32),
        ({}, torch.bfloat16),
        ({}, torch.float16),
    ],
    ids=["sharded", "bf16", "fp16"],
)
@pytest.mark.parametrize("tied", [False, True])
def test_other_ways_to_store_the_same(
    options: dict[str, Any], dtype: torch.dtype, tied: bool, tmp_path: Path, params: Params
) -> None:
    model = tiny_model("llama", tie_word_embeddings=tied).to(dtype)
    model.save_pretrained(tmp_path, **options)
    shared_tokenizer().save_pretrained(tmp_path)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == bool(options)
    found = load("policy", tmp_path, params.compute, key="base").module
    assert {value.dtype for value in found.parameters()} == {torch.float32}
    expected = model.float().state_dict()
    assert found.state_dict().keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in found.state_dict().items())
    assert (found.lm_head.weight is found.model.embed_tokens.weight) == tied


def test_positions_that_begin_after_that_of_padding(
    tmp_path: Path, params: Params, refused: Refused
) -> None:
    """A roberta keeps its padding token, by which it counts: another one would shift positions."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    config = RobertaConfig(
        vocab_size=288,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        pad_token_id=5,
    )
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    shared_tokenizer().save_pretrained(tmp_path)
    line = refused(tmp_path, "classifier")
    assert "pads with token 1, but the model counts positions from its padding token, 5" in line
    change_json(tmp_path / "tokenizer_config.json", pad_token=None)
    model = load("classifier", tmp_path, params.compute)
    assert model.tokenizer.pad_token_id == 5
    assert model.max_tokens == 34


def test_what_libraries_raise_is_one_line(tmp_path: Path, refused: Refused) -> None:
    folder = save_tiny("llama", tmp_path)
    for key, value in (("hidden_size", "wide"), ("num_attention_heads", 0), ("rope_parameters", 3)):
        before = (folder / "config.json").read_text()
        change_json(folder / "config.json", **{key: value})
        refused(folder)
        (folder / "config.json").write_text(before)
    (folder / "tokenizer.json").write_text("[]")
    assert "the tokenizer cannot be loaded" in refused(folder)


def test_a_policy_keeps_what_it_says_when_it_is_saved(tmp_path: Path, params: Params) -> None:
    model = load("policy", save_tiny("gpt2", tmp_path / "a"), params.compute)
    model.save(tmp_path / "b")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    for name, value in again.state_dict().items():
        assert value.equal(model.module.state_dict()[name])
