"""LoRA adapters compute, merged, what peft computes beside the base; others are one line each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Compute, Params

IDS = torch.tensor([[5, 9, 77, 300, 12, 4]])
SETTINGS: dict[str, Any] = {
    "r": 4,
    "target_modules": ["query_key_value", "dense"],
    "init_lora_weights": False,
    "task_type": "CAUSAL_LM",
}
Make = Callable[..., tuple[Path, torch.Tensor]]


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        output: torch.Tensor = module.eval()(input_ids=IDS)[0]
    return output


@pytest.fixture
def compute(params: Params) -> Compute:
    return params.compute


@pytest.fixture
def make(policy_folder: Path, tmp_path: Path) -> Make:
    """An adapter of random weights beside the policy, and the logits of the two."""

    def made(name: str = "adapter", auto: Any = AutoModelForCausalLM, **settings: Any) -> Any:
        torch.manual_seed(3)
        extra = {"num_labels": 3} if auto is AutoModelForSequenceClassification else {}
        base = auto.from_pretrained(policy_folder, dtype=torch.float32, **extra)
        model = get_peft_model(base, LoraConfig(**SETTINGS | settings))
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "lora_" in key:
                    value.add_(0.05 * torch.randn_like(value))
        model.save_pretrained(tmp_path / name)
        return tmp_path / name, logits(model)

    return made


def change(folder: Path, **update: Any) -> None:
    """Other entries in adapter_config.json."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | update))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_dora": True},
        {"use_rslora": True, "bias": "all"},
        {"modules_to_save": ["lm_head"]},
        {"task_type": None},
        {"target_modules": ["embed_in", "query_key_value"]},
    ],
    ids=str,
)
def test_logits_are_those_of_peft(
    make: Make, policy: Model, compute: Compute, settings: dict[str, Any], tmp_path: Path
) -> None:
    folder, expected = make(**settings)
    adapted = load("policy", str(folder), compute)
    found = logits(adapted.module)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - logits(policy.module)).abs().max() > 0.05
    assert adapted.module.config.pad_token_id == adapted.tokenizer.pad_token_id
    assert all(value.requires_grad for value in adapted.module.parameters())
    assert adapted.module.name_or_path == str(folder)
    adapted.save(tmp_path / "merged")  # a model like any other
    again = load("policy", tmp_path / "merged", compute)
    assert torch.equal(logits(again.module), found)


def test_the_base_is_found_from_both_places(
    make: Make, policy_folder: Path, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = make()
    change(folder, base_model_name_or_path="beside")
    (folder / "beside").symlink_to(policy_folder)
    torch.testing.assert_close(logits(load("policy", folder, compute).module), expected)
    (folder / "beside").unlink()
    change(folder, base_model_name_or_path=f"./{policy_folder.name}")
    monkeypatch.chdir(policy_folder.parent)
    torch.testing.assert_close(logits(load("policy", folder, compute).module), expected)


def test_an_adapter_from_the_hubs_cache(
    make: Make, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, expected = make()
    commit, cached = "0" * 40, tmp_path / "hub" / "models--someone--adapter"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots").mkdir()
    folder.rename(cached / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    found = load("policy", "someone/adapter", compute, revision="main")
    torch.testing.assert_close(logits(found.module), expected)


def test_the_adapters_own_tokenizer_comes_first(
    make: Make, policy_folder: Path, compute: Compute
) -> None:
    folder, _ = make()
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(folder)
    assert load("policy", folder, compute).tokenizer.chat_template == tokenizer.chat_template
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"tokens up to 512 .* the model embeds 512"):
        load("policy", folder, compute)


def test_a_classifiers_adapter_brings_its_head(make: Make, compute: Compute) -> None:
    auto = AutoModelForSequenceClassification
    folder, expected = make(auto=auto, task_type="SEQ_CLS")
    assert expected.shape == (1, 3)
    found = load("classifier", folder, compute)
    torch.testing.assert_close(logits(found.module), expected, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="no policy: it is an adapter for task_type SEQ_CLS"):
        load("policy", folder, compute)
    with pytest.raises(UserError, match=r"is no classifier: its weights lack score\.weight"):
        load("classifier", make("other")[0], compute)


@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_CLS"])
def test_a_body_is_that_of_the_adapted_model(make: Make, compute: Compute, task: str) -> None:
    auto = {"CAUSAL_LM": AutoModelForCausalLM, "SEQ_CLS": AutoModelForSequenceClassification}[task]
    folder, _ = make(auto=auto, task_type=task)
    whole = load("policy" if task == "CAUSAL_LM" else "classifier", folder, compute)
    body = load("body", folder, compute)
    torch.testing.assert_close(logits(body.module), logits(whole.module.base_model))


def test_adapters_that_cannot_be_merged_are_one_line(
    make: Make, policy_folder: Path, compute: Compute, tmp_path: Path
) -> None:
    folder, _ = make()
    config = (folder / "adapter_config.json").read_text()
    weights = load_file(folder / "adapter_model.safetensors")

    def refused(message: str, **update: Any) -> None:
        change(folder, **update)
        with pytest.raises(UserError, match=message) as caught:
            load("policy", folder, compute, key="aligned")
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(f"aligned: {folder}")
        (folder / "adapter_config.json").write_text(config)

    refused("its base model ./none is not a folder", base_model_name_or_path="./none")
    refused("names no base model", base_model_name_or_path=None)
    refused("names itself as its base", base_model_name_or_path=str(folder))
    refused("of peft_type 'IA3', only LORA", peft_type="IA3")
    refused("init_lora_weights is 'pissa_niter_4'", init_lora_weights="pissa_niter_4")
    refused("sets brand_new, which peft", brand_new=1)
    refused("does not match .*: Target modules", target_modules=["q_proj"])
    refused("does not match .*size mismatch", r=8)
    more = [*SETTINGS["target_modules"], "dense_h_to_4h"]
    refused("it lacks .*dense_h_to_4h.lora_A", target_modules=more)
    nested, _ = make("nested")
    refused("is an adapter itself", base_model_name_or_path=str(nested))

    half = dict(list(sorted(weights.items()))[1:])
    save_file(half, folder / "adapter_model.safetensors")
    refused("does not match its base model .*: it lacks .*lora_A")
    save_file(weights | {"base_model.model.other.lora_A.weight": torch.ones(1)}, nested / "a")
    (nested / "a").rename(folder / "adapter_model.safetensors")
    refused("does not match its base model .*: no place for .*other")
    broken = {key: value * torch.nan for key, value in weights.items()}
    save_file(broken, folder / "adapter_model.safetensors")
    refused("weights .* are not finite")
    (folder / "adapter_model.safetensors").write_bytes(b"\0" * 40)
    refused("adapter cannot be loaded")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    refused("no adapter_model.safetensors but an adapter_model.bin: only safetensors")
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(UserError, match=r"adapter_config\.json is not JSON"):
        load("policy", folder, compute)
    (nested / "model.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="has both an adapter"):
        load("policy", nested, compute)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"lora_bias": True, "target_modules": ["lm_head"]}, "the base layer has no bias"),
        ({"alora_invocation_tokens": [5, 6]}, "aLoRA does not support merging"),
    ],
)
def test_what_peft_cannot_merge_is_one_line(
    make: Make, compute: Compute, settings: dict[str, Any], line: str
) -> None:
    folder, _ = make(**settings)
    with pytest.raises(UserError, match=rf"^aligned: .* cannot be merged into its base .*{line}"):
        load("policy", folder, compute, key="aligned")


def test_tied_embeddings_are_not_changed_on_both_sides(
    make: Make, policy_folder: Path, compute: Compute, tmp_path: Path
) -> None:
    config = AutoConfig.from_pretrained(policy_folder, tie_word_embeddings=True)
    module = AutoModelForCausalLM.from_config(config)
    assert module.lm_head.weight is module.get_input_embeddings().weight
    base = tmp_path / "tied"
    module.save_pretrained(base)
    AutoTokenizer.from_pretrained(policy_folder).save_pretrained(base)
    model = get_peft_model(module, LoraConfig(**SETTINGS | {"target_modules": ["lm_head"]}))
    model.save_pretrained(tmp_path / "adapter")
    change(tmp_path / "adapter", base_model_name_or_path=str(base))
    with pytest.raises(UserError, match="computes something else than beside it"):
        load("policy", tmp_path / "adapter", compute)


def test_only_lora_is_merged(policy_folder: Path, compute: Compute, tmp_path: Path) -> None:
    module = AutoModelForCausalLM.from_pretrained(policy_folder)
    settings = {"target_modules": ["dense_4h_to_h"], "feedforward_modules": ["dense_4h_to_h"]}
    get_peft_model(module, IA3Config(**settings)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="of peft_type 'IA3'"):
        load("policy", tmp_path, compute)


def test_resized_embeddings_are_not_merged(
    policy_folder: Path, compute: Compute, tmp_path: Path
) -> None:
    module = AutoModelForCausalLM.from_pretrained(policy_folder)
    rows = module.get_input_embeddings().weight.shape[0]
    module.resize_token_embeddings(rows + 4)
    get_peft_model(module, LoraConfig(**SETTINGS)).save_pretrained(
        tmp_path, save_embedding_layers=True
    )
    with pytest.raises(UserError, match=rf"brings {rows + 4} rows of .*has {rows}: resize") as line:
        load("policy", tmp_path, compute)
    assert "\n" not in str(line.value)
