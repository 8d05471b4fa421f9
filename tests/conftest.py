"""Tiny models and settings that the tests share; everything is made here, nothing is fetched."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from inverse_rlhf import errors
from inverse_rlhf.data.corpus import generate_comments
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.scratch import train_classifier, train_policy
from inverse_rlhf.params import Params, parse_params, read_yaml
from inverse_rlhf.rewards.card import RewardCard
from tests.browser import Browser, browsing

ROOT = Path(__file__).parent.parent
TINY: dict[str, Any] = {"vocab_size": 512, "hidden_size": 32, "layers": 2, "heads": 2, "epochs": 1}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The pipelines first: of several files at a time the longest must not begin last."""
    items.sort(key=lambda item: "pipeline" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _little_to_collect() -> None:
    """Every trainer collects garbage, half a second of it in all that is imported."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _general_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a stage planned is no advice to another test."""
    monkeypatch.setattr(errors, "_advice", [lambda: errors._GENERAL])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of a module's tests: while it is open no other event loop can run in this thread."""
    with browsing() as opened:
        yield opened


@pytest.fixture(scope="session")
def raw_params() -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(ROOT / "params.yaml")
    content["base_policy"]["scratch"] |= TINY
    content["true_reward"]["scratch"] |= TINY
    content["compute"] |= {"device": "cpu", "batch_size": 8}
    return content


@pytest.fixture(scope="session")
def params(raw_params: dict[str, Any]) -> Params:
    return parse_params(raw_params)


@pytest.fixture(scope="session")
def comments() -> pd.DataFrame:
    frame = generate_comments(400, seed=3)
    return frame.assign(split=["train"] * 360 + ["test"] * 40)


@pytest.fixture(scope="session")
def policy_folder(
    params: Params, comments: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "policy"
    torch.manual_seed(0)
    policy, _ = train_policy(comments, params.base_policy.scratch, params.compute, seed=0)
    policy.save(folder)
    return folder


@pytest.fixture(scope="session")
def classifier_folder(
    params: Params, comments: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("models") / "classifier"
    torch.manual_seed(0)
    model, _ = train_classifier(comments, params.true_reward.scratch, params.compute, seed=0)
    model.save(folder)
    return folder


@pytest.fixture
def policy(policy_folder: Path, params: Params) -> Model:
    return load("policy", policy_folder, params.compute)


@pytest.fixture
def reward_network(policy_folder: Path, params: Params) -> Model:
    torch.manual_seed(1)
    return load("classifier", policy_folder, params.compute, num_labels=1)


@pytest.fixture(scope="session")
def card() -> RewardCard:
    return RewardCard(
        features=["hidden_state"],
        pooling="last",
        mean=0.0,
        std=1.0,
        thresholds={"otsu": 0.1},
        run=1,
        epoch=2,
        valid_discrimination=0.7,
        method="standard",
        loss="hinge",
        trainable="head",
    )
