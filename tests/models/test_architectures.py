"""Real architectures, tiny and random, through what the stages need of a base policy.

Each is trained on, sampled, read and turned into a reward that other libraries score alike; or it
is refused in one line when it is loaded, before any training.
"""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS,
)

from inverse_rlhf.data.tables import paired, whole_texts
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.policy_metrics import policy_report
from inverse_rlhf.evaluation.scoring import read_policies, score_texts
from inverse_rlhf.features.hidden_state import head_of
from inverse_rlhf.irl.body import check_body, load_body
from inverse_rlhf.irl.fit import fit_rewards
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.limits import check_settings
from inverse_rlhf.models.prompt_room import leave_out_long
from inverse_rlhf.params import NewTokens, Params, Rollouts
from inverse_rlhf.policies.likelihood import log_ratios
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.policies.training import Score, of_whole_texts, standardise, train_on_reward
from inverse_rlhf.rewards.classifier import ClassifierReward
from inverse_rlhf.rewards.recovered import load_irl_reward
from tests.architectures import save_tiny, shared_tokenizer, tiny_config

PASS = (
    "bloom codegen cohere deepseek_v3 falcon gemma gemma2 gemma3_text glm gpt2 gpt_neo gpt_neox "
    "gptj granite granitemoe jamba llama mamba mamba2 minimax mistral mixtral mpt nemotron olmo2 "
    "olmoe opt persimmon phi phi3 qwen2 qwen2_moe qwen3 recurrent_gemma smollm3 stablelm "
    "starcoder2 xglm"
)
# Of these it is only tried that they are loaded, and that their bodies are read.
LOAD = (
    "afmoe apertus arcee bamba biogpt bitnet cohere2 ctrl cwm deepseek_v2 diffllama ernie4_5 "
    "exaone4 falcon_mamba flex_olmo gemma3n_text gemma4_text glm4 gpt_bigcode gpt_oss "
    "granitemoehybrid helium hunyuan_v1_dense jais2 jetmoe lfm2 ministral "
    "modernbert-decoder nanochat olmo olmo3 olmo_hybrid openai-gpt phimoe qwen3_5_text qwen3_moe "
    "qwen3_next seed_oss vaultgemma zamba2"
)
REFUSED = {
    "bart": "says something else of a text when padding stands before it",
    "bert": "reads in both directions",
    "bert-generation": "reads in both directions",
    "cpmant": "reads in both directions",
    "electra": "reads in both directions",
    "llama4_text": "does not say which part of it is the body",
    "roberta": "reads in both directions",
    "rwkv": "says something else of a text when padding stands before it",
    "xlm": "reads in both directions",
    "xlstm": "cannot complete a text",
}
PROMPTS = pd.DataFrame(
    {"prompt_id": range(3), "prompt": ["About the map", "you are", "see the table please:"]}
)


@pytest.fixture(scope="module")
def few_pairs() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    splits = ["irl"] * 12 + ["valid"] * 8 + ["test"] * 8
    count = len(splits)
    draw = generator.choice
    return pd.DataFrame(
        {
            "prompt_id": range(count),
            "prompt": [f"About {word}:" for word in draw(["the map", "table", "a draft"], count)],
            "sample": 0,
            "base_completion": [f" you fool {w}" for w in draw(["see", "that please"], count)],
            "aligned_completion": [f" please a friend {w}" for w in draw(["see", "list"], count)],
            "split": splits,
        }
    )


@pytest.mark.parametrize("kind", PASS.split())
def test_an_architecture_goes_through_all_stages(
    kind: str, few_pairs: pd.DataFrame, params: Params, tmp_path: Path
) -> None:
    folder = save_tiny(kind, tmp_path / "base")
    policy = load("policy", folder, params.compute, key="base_policy.source")
    _check_room(policy, folder, params)
    check_settings(policy, params)
    check_body(params.irl, params.compute, folder)
    reward = _check_true_reward(kind, params, tmp_path / "true_reward")
    _check_samples(policy, params)
    aligned = _check_training(reward, params, tmp_path)
    _check_reward(kind, {"trainable": "last_k"}, few_pairs, params, tmp_path)
    _check_evaluation(policy, aligned, params, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"trainable": "head"}, {"trainable": "all"}, {"pooling": "mean"}, {"blocks": 1}],
    ids=str,
)
@pytest.mark.parametrize("kind", ["granite", "gpt2"])
def test_a_reward_of_any_setting_is_read_alike(
    kind: str, changes: dict[str, Any], few_pairs: pd.DataFrame, params: Params, tmp_path: Path
) -> None:
    save_tiny(kind, tmp_path / "base")
    _check_reward(kind, changes, few_pairs, params, tmp_path)


def _check_samples(policy: Model, params: Params) -> None:
    """Greedy texts are those of `generate` by itself, and likelihoods are numbers."""
    short = {"samples": 1, "min_new_tokens": 2, "max_new_tokens": 5}
    settings = params.pairs.model_copy(update=short | {"decoding": "greedy"})
    found = sample_completions(PROMPTS, policy, settings, seed=0, name="base")
    heads = []
    for prompt, ids in zip(PROMPTS["prompt"], found["ids"], strict=True):
        encoded = policy.tokenizer(prompt, return_tensors="pt")
        heads.append(encoded["input_ids"][0].tolist())
        alone = policy.module.generate(
            **encoded, do_sample=False, min_new_tokens=2, max_new_tokens=5
        )
        assert alone[0, len(heads[-1]) :].tolist() == list(ids)
    sampled = sample_completions(
        PROMPTS, policy, params.pairs.model_copy(update=short), seed=0, name="base"
    )
    ratio = log_ratios(heads, sampled["ids"].tolist(), policy, policy)
    assert (ratio == 0).all()


def _check_room(policy: Model, folder: Path, params: Params) -> None:
    """A prompt beyond the context is left out, where there is a limit."""
    own = params.base_policy.model_copy(update={"source": str(folder)})
    few = Rollouts(max_new_tokens=5, batch_size=3), NewTokens(max_new_tokens=5)
    table = pd.DataFrame({"prompt": ["you are", "see the map"] * 5 + ["x" * 200], "split": "irl"})
    kept, long = leave_out_long(table, PROMPTS, own, *few)
    assert len(kept) + long == len(table)
    assert long == (policy.max_tokens < 200)


def _check_true_reward(kind: str, params: Params, folder: Path) -> ClassifierReward:
    """Log-odds are those of plain transformers, text by text; of an architecture without a
    classifier GPT-NeoX's stand in.
    """
    kind = kind if kind in CLASSIFIERS else "gpt_neox"
    torch.manual_seed(0)
    config = tiny_config(kind, num_labels=2)
    module = AutoModelForSequenceClassification.from_config(config).eval()
    module.score.weight.data.normal_()
    module.save_pretrained(folder)
    shared_tokenizer().save_pretrained(folder)
    texts = PROMPTS["prompt"].tolist()
    with torch.no_grad():
        plain = [
            module(**shared_tokenizer()(text, return_tensors="pt")).logits[0] for text in texts
        ]
    expected = [(clean - toxic).item() for clean, toxic in plain]
    reward = ClassifierReward(load("classifier", folder, params.compute), params.true_reward)
    np.testing.assert_allclose(reward.score(texts), expected, atol=1e-3)
    return reward


def _train(
    params: Params, path: Path, name: str, score: Score, lr: float
) -> tuple[Model, dict[str, float]]:
    """One step from the base policy; it is saved under the name."""
    settings = params.rlhf.model_copy(
        update={"steps": 1, "batch_size": 3, "generations": 2, "lr": lr, "warmup_steps": 0}
        | {"min_new_tokens": 2, "max_new_tokens": 5, "trainable_layers": 1}
    )
    policy = load("policy", path / "base", params.compute)
    facts = train_on_reward(PROMPTS, policy, score, settings, seed=0, curve=path / f"{name}.csv")
    policy.save(path / name)
    assert np.isfinite(facts["final_entropy"])
    return policy, facts


def _check_training(reward: ClassifierReward, params: Params, path: Path) -> Model:
    """One step of next to no length: the policy is its own reference."""
    score = standardise(of_whole_texts(reward.score), PROMPTS["prompt"].tolist(), [" a", "", " b"])
    policy, facts = _train(params, path, "aligned", score, 1e-9)
    assert abs(facts["final_kl"]) < 1e-3
    return policy


def _check_evaluation(base: Model, aligned: Model, params: Params, path: Path) -> None:
    """The policy that is trained on the recovered reward, and what is said of all three."""
    reward, compute = load_irl_reward(path / "reward", params.compute), params.compute
    _train(params, path, "rerl", of_whole_texts(reward.standardised), 1e-3)
    settings = params.pairs.model_copy(
        update={"samples": 1, "min_new_tokens": 2, "max_new_tokens": 5}
    )
    sides = [
        sample_completions(PROMPTS, policy, settings, seed=0, name=name)
        for name, policy in (("base", base), ("aligned", aligned))
    ]
    prompts = PROMPTS.assign(
        human_completion=" it is fine.",
        toxic=pd.array([0, 1, 0], dtype="Int8"),
        split="test",
    )
    folders = {name: path / name for name in ("base", "aligned", "rerl")}
    read = read_policies(
        paired(prompts[["prompt_id", "prompt", "split"]], *sides),
        prompts,
        PROMPTS,
        folders,
        settings,
        compute,
        seed=0,
    )
    scored = score_texts(read, reward, path / "true_reward", params.true_reward, params.parts)
    report = policy_report(scored, read, resamples=100, seed=0)
    assert abs(report["rlhf"]["kl_to_base"]) < 1e-3
    assert report["rerl"]["kl_to_base"] > -1e-3
    numbers = [value for policy in report.values() for value in policy.values()]
    assert np.isfinite([value for value in numbers if isinstance(value, float)]).all()
    assert set(report["rerl"]["transfer"]) == set(report["base"]["transfer"])
    # What was loaded again says of the base policy's texts what the base policy does.
    said = read.likelihoods["aligned"]
    np.testing.assert_allclose(said["own_nll"], said["nll"], atol=1e-3)
    texts = whole_texts(scored.scores["prompt"], scored.scores["completion"])
    np.testing.assert_allclose(scored.scores["irl_reward"], reward.score(texts), atol=1e-4)


def _check_reward(
    kind: str, changes: dict[str, Any], pairs: pd.DataFrame, params: Params, path: Path
) -> None:
    """A reward of the policy's body, read from its folder, scores as it was fitted, in any batch
    and in transformers.
    """
    few = {"runs": 1, "control_runs": 1, "epochs": 1, "batch_size": 12}
    settings = params.irl.model_copy(update=few | changes)
    prompts = pairs.assign(human_completion=" it is fine.")
    fitted = fit_rewards(
        pairs,
        prompts[["prompt_id", "prompt", "human_completion", "split"]],
        load_body(settings, params.compute, path / "base"),
        settings,
        params.parts,
        params.compute,
        seed=0,
        store=path / "runs",
    )
    fitted.reward.save(path / "reward")
    loaded = load_irl_reward(path / "reward", params.compute)
    whole = kind in CLASSIFIERS and settings.pooling == "last"
    assert loaded.reading.body == ("sequence_classifier" if whole else "body")
    assert (path / "reward/head.safetensors").exists() != whole
    texts = (pairs["prompt"] + pairs["aligned_completion"]).tolist()
    found = loaded.score(texts)
    assert np.ptp(found) > 1e-3
    own = fitted.scores[(fitted.scores["kind"] == "fit") & (fitted.scores["split"] == "test")]
    own = own.loc[own["source"] == "aligned", "irl_reward"]
    np.testing.assert_allclose(found[-8:], own, atol=1e-4)
    np.testing.assert_allclose(found[:3], [loaded.score([t])[0] for t in texts[:3]], atol=1e-4)
    for side in ("right", "left") if whole else ():
        scores = _as_elsewhere(path / "reward", texts[:4], side)
        np.testing.assert_allclose(scores, found[:4], atol=1e-4)


@torch.no_grad()
def _as_elsewhere(path: Path, texts: list[str], side: str) -> np.ndarray:
    """Scores in plain transformers.

    Where positions are learned, they are given beside texts padded on the left, as `generate` gives
    them: a model by itself counts the padding.
    """
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    batch = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
    if side == "left" and "position_ids" in inspect.signature(model.forward).parameters:
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    scores: np.ndarray = model(**batch).logits[:, 0].numpy()
    return scores


@pytest.mark.parametrize("kind", LOAD.split())
def test_an_architecture_is_loaded_and_its_body_read(
    kind: str, params: Params, tmp_path: Path
) -> None:
    folder = save_tiny(kind, tmp_path)
    load("policy", folder, params.compute, key="base_policy.source")
    check_body(params.irl, params.compute, folder)
    body = load_body(params.irl, params.compute, folder)
    assert body is not None
    if kind not in CLASSIFIERS:
        assert head_of(body.module) is None


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_policy_is_refused_when_it_is_loaded(
    kind: str, params: Params, tmp_path: Path
) -> None:
    folder = save_tiny(kind, tmp_path)
    with pytest.raises(UserError, match=rf"is no policy: (a {kind}|\w+) {REFUSED[kind]}") as line:
        load("policy", folder, params.compute, key="base_policy.source")
    assert str(line.value).startswith("base_policy.source: ")
    assert "\n" not in str(line.value)
