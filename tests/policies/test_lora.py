"""Policies trained by LoRA: as TRL does it, merged or beside the base, and loaded by anyone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from peft import AutoPeftModelForCausalLM
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.limits import check_settings
from inverse_rlhf.models.lora import lora_config
from inverse_rlhf.models.manifest import write_manifest
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.params import Params, Rlhf
from inverse_rlhf.policies.training import TRAINERS, Score, Trainers, train_on_reward
from inverse_rlhf.policies.trl_fast import _AsEverywhere
from tests.architectures import save_tiny
from tests.policies import test_trl_fast as twins

IDS = torch.arange(3, 19)[None]
Read = Callable[..., Model]
Train = Callable[..., dict[str, float]]


@pytest.fixture
def lora(small: Rlhf) -> Rlhf:
    update = {"lora_rank": 4, "lora_save": "adapter", "lr": 1e-2, "steps": 3}
    return small.model_copy(update=update)


@pytest.fixture
def read(params: Params, policy_folder: Path) -> Read:
    """The policy in a folder, with settings of compute that differ."""

    def loaded(folder: Path | str = policy_folder, **update: Any) -> Model:
        return load("policy", Path(folder), params.compute.model_copy(update=update))

    return loaded


@pytest.fixture
def train(lora: Rlhf, prompts: pd.DataFrame, lengths: Score, tmp_path: Path) -> Train:
    """Trains a policy; what `update` does not hold are arguments of `train_on_reward`."""

    def trained(
        policy: Model, score: Score = lengths, update: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, float]:
        settings, curve = lora.model_copy(update=update), tmp_path / "curve.csv"
        return train_on_reward(prompts, policy, score, settings, seed=0, curve=curve, **more)

    return trained


@pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing:FutureWarning")  # TRL's
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_losses_and_gradients_are_those_of_plain_trl(
    algorithm: str,
    read: Read,
    lora: Rlhf,
    prompts: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of TRL's own class, beside ours, with our adapters, whose B is not 0."""
    theirs = {"rloo": (RLOOTrainer, RLOOConfig), "grpo": (GRPOTrainer, GRPOConfig)}[algorithm]
    monkeypatch.setitem(
        TRAINERS, algorithm, Trainers(theirs[0], TRAINERS[algorithm].fast, theirs[1])
    )

    def ours(*_: Any, **__: Any) -> Any:
        return lora_config(read().module, 4, task="CAUSAL_LM")

    monkeypatch.setattr(twins, "LoraConfig", ours)
    settings = lora.model_copy(update={"algorithm": algorithm, "max_grad_norm": 1e6, "lr": 1e-3})
    fast, plain = (
        twins.run(
            read(),
            prompts["prompt"].tolist(),
            settings,
            tmp_path,
            fast=fast,
            adapter="new",
        )
        for fast in (True, False)
    )
    assert fast.losses == pytest.approx(plain.losses, abs=1e-5)
    assert fast.kl == pytest.approx(plain.kl, abs=1e-6)
    assert all(abs(kl) > 1e-5 for kl in fast.kl)
    for mine, other in zip(fast.gradients, plain.gradients, strict=True):
        assert all("lora_" in name for name in mine)
        assert twins.close(mine, other, share=5e-5) > 1e-3


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2", "llama"])
def test_an_adapter_is_what_plain_libraries_load(
    kind: str,
    read: Read,
    train: Train,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of GPT-2 also: its layers are transposed, and its head is its embedding."""
    monkeypatch.chdir(tmp_path)
    mine = save_tiny(kind, tmp_path / "mine")
    write_manifest(mine, Path("models/base"), key="base_policy.source")
    contents = []
    for state in (1, 2):
        torch.manual_seed(state)  # what was drawn before is of no account
        policy = read("models/base")
        facts = train(policy, out="models/rlhf")
        contents.append({p.name: p.read_bytes() for p in Path("models/rlhf").iterdir()})
    assert facts["final_kl"] > 1e-5
    assert contents[0] == contents[1]
    assert json.loads(contents[0]["adapter_config.json"])["base_model_name_or_path"] == str(mine)
    policy.save("merged")
    base = read("models/base")
    found: list[Any] = [
        policy.module,
        read("models/rlhf").module,
        AutoPeftModelForCausalLM.from_pretrained("models/rlhf"),
        AutoModelForCausalLM.from_pretrained("models/rlhf"),
        AutoModelForCausalLM.from_pretrained("merged"),
    ]
    with torch.no_grad():
        expected, *others = (model.eval()(IDS).logits for model in found)
        assert (base.module(IDS).logits - expected).abs().max() > 1e-3
    for logits in others:
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
    assert AutoTokenizer.from_pretrained("models/rlhf").get_vocab() == base.tokenizer.get_vocab()
    trained = dict(policy.module.named_parameters())
    assert all(value.requires_grad for value in trained.values())
    assert trained.keys() == dict(base.module.named_parameters()).keys()


def test_positions_are_those_of_tokens(
    read: Read, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GPT-2 takes the padding before a prompt for text, unless told; peft hides that it can be."""
    reads: list[Any] = []
    method = "_get_per_token_logps_and_entropies"
    theirs = getattr(_AsEverywhere, method)

    def seen(self: Any, model: Any, ids: Any, mask: Any, keep: int, *args: Any, **more: Any) -> Any:
        found = theirs(self, model, ids, mask, keep, *args, **more)
        reads.append((ids, mask.bool(), keep, found[0].detach()))
        return found

    monkeypatch.setattr(_AsEverywhere, method, seen)
    folder = save_tiny("gpt2", tmp_path / "base")
    train(read(folder, fast=False), update={"steps": 1})
    base = read(folder).module
    assert not all(mask[:, 0].all() for _, mask, *_ in reads)
    for ids, masks, keep, logps in reads:
        for row, shown, found in zip(ids, masks, logps, strict=True):
            text, completion = row[shown], row[-keep:][shown[-keep:]]
            with torch.no_grad():
                alone = base(text[None]).logits[0, -len(completion) - 1 : -1].log_softmax(-1)
            expected = alone.gather(1, completion[:, None])[:, 0]
            torch.testing.assert_close(found[shown[-keep:]], expected, atol=1e-4, rtol=1e-4)


def test_the_reward_rises(policy: Model, train: Train, tmp_path: Path) -> None:
    with torch.no_grad():  # the head is frozen: a fresh one is too small to prefer any token
        policy.module.get_output_embeddings().weight.mul_(10)
    update = {"steps": 12, "batch_size": 5, "generations": 6, "lr": 3e-2, "kl_coef": 0.05}
    train(policy, update=update)
    reward = pd.read_csv(tmp_path / "curve.csv")["reward"]
    assert reward[-3:].mean() > reward[:3].mean() + 0.5


def test_weights_beside_adapters_may_be_smaller_and_end_whole(
    read: Read, train: Train, tmp_path: Path
) -> None:
    """In bfloat16 while adapters are trained; merged there, most of these would be rounded away."""
    policy = read(dtype="bfloat16")
    assert policy.module.dtype == torch.bfloat16
    base = {name: value.float() for name, value in policy.module.state_dict().items()}
    adapter = tmp_path / "adapter"
    train(policy, out=adapter)
    merged = policy.module.state_dict()
    assert {value.dtype for value in merged.values()} == {torch.float32}
    changed = [name for name, value in merged.items() if not torch.equal(value, base[name])]
    added = AutoPeftModelForCausalLM.from_pretrained(adapter).state_dict()
    assert len(changed) == sum("lora_A" in name for name in added) > 0
    assert all(not torch.equal(merged[name], merged[name].bfloat16().float()) for name in changed)


def test_under_autocast_it_is_merged_as_well(read: Read, train: Train) -> None:
    """What the merge is compared with is not rounded as the trainer's model is."""
    policy = read(bf16=True)
    before = {name: value.clone() for name, value in policy.module.state_dict().items()}
    train(policy)
    after = policy.module.state_dict()
    assert after.keys() == before.keys()
    assert any(not torch.equal(value, before[name]) for name, value in after.items())


def test_a_stopped_training_ends_as_one_that_was_not(
    read: Read, train: Train, policy_folder: Path, lengths: Score, tmp_path: Path
) -> None:
    calls = [0]

    def stops(*given: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return lengths(*given)

    def trained(score: Score, folder: Path) -> dict[str, torch.Tensor]:
        policy = read()
        train(policy, score, checkpoints=Checkpoints(folder, 30))
        return dict(policy.module.state_dict())

    whole = trained(lengths, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(stops, tmp_path / "stopped")
    weights = (tmp_path / "stopped/checkpoint-2/trained.safetensors").stat().st_size
    assert weights < (policy_folder / "model.safetensors").stat().st_size
    stopped = trained(stops, tmp_path / "stopped")
    assert calls[0] == 4
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())


@pytest.mark.parametrize(
    ("key", "setting"),
    [("rlhf", {"lora_rank": 2}), ("irl", {"trainable": "lora"})],
)
def test_what_takes_no_adapter_is_refused_before_training(
    key: str, setting: dict[str, Any], params: Params, tmp_path: Path
) -> None:
    policy = load("policy", save_tiny("mamba", tmp_path / "base"), params.compute)
    group = getattr(params, key).model_copy(update=setting)
    with pytest.raises(
        UserError, match=r"of a mamba take no LoRA: .*: train whole weights"
    ) as line:
        check_settings(policy, params.model_copy(update={key: group}))
    assert "\n" not in str(line.value)


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"lora_rank": 4, "trainable_layers": 2}, "set trainable_layers to all, or lora_rank to 0"),
        ({"lora_save": "adapter"}, "lora_save adapter needs a lora_rank above 0"),
    ],
)
def test_settings_that_exclude_each_other(
    update: dict[str, Any], message: str, params: Params
) -> None:
    with pytest.raises(ValueError, match=message):
        Rlhf.model_validate(params.rlhf.model_dump() | update)
