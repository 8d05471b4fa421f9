"""Rewards trained by LoRA: adapters and a head a run, merged into a plain model for the chosen."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from inverse_rlhf.data.tables import whole_texts
from inverse_rlhf.irl.fit import FittedRewards
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Irl, Params
from inverse_rlhf.rewards.recovered import load_irl_reward
from tests.architectures import save_tiny

ROWS = np.arange(40).reshape(20, 2)


@pytest.fixture
def lora(short: Irl) -> Irl:
    update = {"trainable": "lora", "lora_rank": 4, "lr": 1e-2, "loss": "logistic", "epochs": 4}
    return short.model_copy(update=update)


def network_of(model: Model, pairs: pd.DataFrame, settings: Irl) -> RewardNetwork:
    rows = pairs[:20].loc[pairs.index[:20].repeat(2)]
    sides = ["aligned_completion", "base_completion"] * 20
    ends = [row[side] for (_, row), side in zip(rows.iterrows(), sides, strict=True)]
    return RewardNetwork(model, whole_texts(rows["prompt"], ends), settings)


@pytest.mark.parametrize("kind", ["gpt_neox", "gpt2"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_merged_it_is_what_it_was_beside_the_base(
    kind: str, pooling: str, params: Params, pairs: pd.DataFrame, lora: Irl, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    folder = save_tiny(kind, tmp_path / "base")
    as_read = {"last": "classifier", "mean": "body"}[pooling]
    options = {"num_labels": 1} if as_read == "classifier" else {}
    model = load(as_read, folder, params.compute, **options)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    network = network_of(model, pairs, lora.model_copy(update={"pooling": pooling}))
    fit = network.fit(Pairs(ROWS[:14], ROWS[14:]), Run(0, "fit", 0))
    assert fit.loss[-1] < fit.loss[0] - 0.05
    assert all("lora_" in name or name == "score.weight" for name in fit.state)
    scores, head = network.score(), network.head().detach()
    network.merge()
    merged = model.module.state_dict()
    assert merged.keys() == before.keys()
    changed = {name for name, value in merged.items() if not value.equal(before[name])}
    assert any("mlp" in name for name in changed)
    assert not any("emb" in name or "wte" in name for name in changed)
    plain = network_of(
        model, pairs, lora.model_copy(update={"trainable": "all", "pooling": pooling})
    )
    if plain.own_head is not None:
        plain.set_state({"score.weight": head})
    np.testing.assert_allclose(plain.score(), scores, atol=1e-5)


def test_a_run_is_the_same_after_others(
    reward_network: Model, pairs: pd.DataFrame, lora: Irl
) -> None:
    network = network_of(reward_network, pairs, lora.model_copy(update={"epochs": 2}))
    split = Pairs(ROWS[:14], ROWS[14:])
    first, other, again = (network.fit(split, Run(number, "fit", 0)) for number in (0, 1, 0))
    assert first.loss == again.loss
    assert all(value.equal(again.state[name]) for name, value in first.state.items())
    of_a = [name for name in first.state if "lora_A" in name]
    assert of_a
    assert not any(torch.allclose(first.state[name], other.state[name], atol=1e-3) for name in of_a)


def test_plain_transformers_loads_the_reward(
    fit_in: Callable[..., FittedRewards], pairs: pd.DataFrame, lora: Irl, tmp_path: Path
) -> None:
    settings = lora.model_copy(update={"runs": 2, "control_runs": 1, "epochs": 2, "lr": 2e-2})
    fitted = fit_in("runs", settings)
    assert fitted.facts["valid_discrimination"]["fit"]["median"] > 0.9
    assert fitted.curve()["loss"].iloc[-1] < fitted.curve()["loss"].iloc[0]
    fitted.reward.save(tmp_path / "reward")
    own = load_irl_reward(tmp_path / "reward", fitted.reward.body.compute)  # type: ignore[union-attr]
    number = fitted.facts["reward"]
    kept = next((tmp_path / "runs").rglob(f"fit-{number}.safetensors"))
    with safe_open(kept, "pt") as file:
        names = {name for name in file.keys() if name.startswith("state.")}  # noqa: SIM118
    assert all("lora_" in name or name == "state.score.weight" for name in names)
    valid = pairs[pairs["split"] != "irl"]
    texts = whole_texts(valid["prompt"], valid["aligned_completion"])
    scores = fitted.scores[
        (fitted.scores["kind"] == "fit")
        & (fitted.scores["run"] == number)
        & (fitted.scores["source"] == "aligned")
    ]
    found = scores.sort_values("prompt_id")["irl_reward"].to_numpy()
    np.testing.assert_allclose(own.score(texts), found, atol=1e-5)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    with torch.no_grad():
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        plain = model(**batch).logits[:, 0].numpy()
    np.testing.assert_allclose(plain, found, atol=1e-5)
