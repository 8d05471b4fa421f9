"""The policies and both rewards asked once, as `evaluate` does, while every reading is counted."""

import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

from inverse_rlhf.data.tables import both_policies, completions_of, paired
from inverse_rlhf.evaluation import scoring
from inverse_rlhf.evaluation.explain import explain_by_ngrams
from inverse_rlhf.evaluation.occlusion import word_credits
from inverse_rlhf.evaluation.scoring import PolicyReadings, Scored, read_policies, score_texts
from inverse_rlhf.models import checkpoints
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Pairs, Params
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.recovered import IrlReward, load_irl_reward
from tests.written import written_pairs

POLICIES = ("base", "rlhf", "rerl")
WORDS = ("map", "list", "page", "draft", "note", "link")


@dataclass
class Spy:
    """Which folders are loaded, and which texts each of the models reads.

    Attributes:
        loaded: how often, by the folder's name.
        read: how often, by the folder's name and the text's token ids; what a policy reads while it
            writes is not counted.
    """

    loaded: Counter[str] = field(default_factory=Counter)
    read: dict[str, Counter[tuple[int, ...]]] = field(default_factory=lambda: defaultdict(Counter))
    writing: bool = False

    def load(self, kind: Any, source: Any, *args: Any, **options: Any) -> Model:
        model = load(kind, source, *args, **options)
        name = Path(source).name
        self.loaded[name] += 1

        def note(_: Any, args: tuple[Any, ...], batch: dict[str, Any]) -> None:
            if not self.writing:
                ids = batch["input_ids"] if "input_ids" in batch else args[0]
                rows = zip(ids, batch["attention_mask"].bool(), strict=True)
                self.read[name].update(tuple(row[kept].tolist()) for row, kept in rows)

        model.module.base_model.register_forward_pre_hook(note, with_kwargs=True)
        return model

    def write(self, *args: Any, **options: Any) -> pd.DataFrame:
        self.writing = True
        try:
            return self.sample_completions(*args, **options)
        finally:
            self.writing = False

    sample_completions: Callable[..., pd.DataFrame] = scoring.sample_completions

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Be called wherever a module of the library calls `load`."""
        for name, module in list(sys.modules.items()):
            library = name.startswith("inverse_rlhf.") and module is not checkpoints
            if library and getattr(module, "load", None) is load:
                patch.setattr(module, "load", self.load)
        patch.setattr(scoring, "sample_completions", self.write)


@dataclass
class World:
    """What was asked and answered."""

    pairs: pd.DataFrame
    prompts: pd.DataFrame
    folders: dict[str, Path]
    settings: Pairs
    read: PolicyReadings
    scored: Scored
    credits: pd.DataFrame
    spy: Spy


@pytest.fixture(scope="session")
def folders(
    policy_folder: Path,
    classifier_folder: Path,
    params: Params,
    card: RewardCard,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    """Three policies that differ a little, and the two rewards."""
    root = tmp_path_factory.mktemp("evaluated")
    torch.manual_seed(2)
    for name in POLICIES:
        policy = load("policy", policy_folder, params.compute)
        with torch.no_grad():
            for weight in policy.module.parameters():
                weight += (name != "base") * 0.02 * torch.randn_like(weight)
        policy.save(root / name)
    load("classifier", classifier_folder, params.compute).save(root / "true_reward")
    body = load("classifier", policy_folder, params.compute, num_labels=1)
    IrlReward(body, None, card).save(root / "irl_reward")
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="session")
def prompts() -> pd.DataFrame:
    splits = ["irl"] * 6 + ["valid"] * 3 + ["test"] * 4
    return pd.DataFrame(
        {
            "prompt_id": np.arange(len(splits)) + 10,
            "prompt": [f"About the {WORDS[n % 6]} number {n}" for n in range(len(splits))],
            "human_completion": [f" you said {n} things" for n in range(len(splits))],
            "toxic": pd.array([0, 1] * 6 + [0], dtype="int8"),
            "split": splits,
        }
    )


@pytest.fixture(scope="session")
def pairs(prompts: pd.DataFrame, policy_folder: Path) -> pd.DataFrame:
    """Two samples a prompt; in the first test prompt both policies wrote the same once, and one of
    them the same twice in the second.
    """
    rows = prompts[["prompt_id"]].merge(pd.DataFrame({"sample": [0, 1]}), how="cross")
    sides = [
        rows.assign(
            completion=[
                f" the {WORDS[(row.prompt_id + shift) % 6]} of {name} is {row.sample} pages long"
                for row in rows.itertuples()
            ]
        )
        for shift, name in enumerate(("base", "aligned"))
    ]
    table = paired(prompts[["prompt_id", "prompt", "split"]], *sides)
    first, second = np.flatnonzero(table["split"] == "test")[[0, 2]]
    table.loc[first, "aligned_completion"] = table.loc[first, "base_completion"]
    table.loc[second + 1, "base_completion"] = table.loc[second, "base_completion"]
    return written_pairs(table, AutoTokenizer.from_pretrained(policy_folder))


@pytest.fixture(scope="session")
def world(
    params: Params, folders: dict[str, Path], prompts: pd.DataFrame, pairs: pd.DataFrame
) -> World:
    settings = params.pairs.model_copy(update={"min_new_tokens": 4, "max_new_tokens": 12})
    far = pd.DataFrame(
        {"prompt_id": [0, 1, 2], "prompt": ["A tweet of two", "word " * 400, "Another tweet"]}
    )
    own = dict(zip(("base", "aligned", "rerl"), (folders[p] for p in POLICIES), strict=True))
    test, spy = prompts[prompts["split"] == "test"], Spy()
    with pytest.MonkeyPatch.context() as patch:
        spy.watch(patch)
        read = read_policies(pairs, test, far, own, settings, params.compute, seed=0)
        irl_reward = load_irl_reward(folders["irl_reward"], params.compute)
        scored = score_texts(
            read, irl_reward, folders["true_reward"], params.true_reward, params.parts
        )
        explain_by_ngrams(scored.scores, pairs, scored.irl_reward, seed=0)
        credits = word_credits(both_policies(scored.scores), scored.irl_reward)
        scored.paths.token_credits()
    return World(pairs, prompts, own, settings, read, scored, credits, spy)


@pytest.fixture(scope="session")
def held_out(pairs: pd.DataFrame) -> pd.DataFrame:
    """The completions of the held-out pairs."""
    return completions_of(pairs[pairs["split"] != "irl"])
