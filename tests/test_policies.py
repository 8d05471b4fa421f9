"""Sampling, likelihoods, the two rewards and policy training on tiny real models."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from inverse_rlhf.decoding import decode, draw_tokens, random_keys
from inverse_rlhf.likelihood import likelihood_table
from inverse_rlhf.policy_gradient import (
    CURVE,
    _places,
    _Rloo,
    _Unpadded,
    standardise,
    train_on_reward,
)
from inverse_rlhf.sampling import sample_completions
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    FalconH1Config,
    GenerationConfig,
    MambaConfig,
    MistralConfig,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from inverse_rlhf import decoding
from inverse_rlhf.errors import UserError
from inverse_rlhf.models import load
from inverse_rlhf.params import Params
from inverse_rlhf.rewards import ClassifierReward

PROMPTS = pd.DataFrame(
    {
        "prompt_id": [4, 9, 11, 30, 31],
        "prompt": ["About", "On Monday's", "I read the", "Your", "As"],
    }
)


def sampled(
    policy: Any, params: Params, prompts: pd.DataFrame = PROMPTS, seed: int = 0, **update: Any
) -> pd.DataFrame:
    batch = update.pop("batch_size", 8)
    settings = params.pairs.model_copy(update={"max_new_tokens": 12, "min_new_tokens": 3} | update)
    compute = params.compute.model_copy(update={"batch_size": batch})
    frame = sample_completions(prompts, *policy, settings, compute, seed=seed, name="test")
    return frame.sort_values(["prompt_id", "sample"], ignore_index=True)


def test_batch_and_order_do_not_change_the_text(policy: Any, params: Params) -> None:
    together = sampled(policy, params)
    pd.testing.assert_frame_equal(together, sampled(policy, params, batch_size=1))
    pd.testing.assert_frame_equal(together, sampled(policy, params, PROMPTS[::-1]))
    some = sampled(policy, params, PROMPTS[2:3])
    assert (
        some["completion"].tolist() == together["completion"][together["prompt_id"] == 11].tolist()
    )


def test_seeds_and_samples_differ(policy: Any, params: Params) -> None:
    first = sampled(policy, params)
    assert first["completion"].tolist() != sampled(policy, params, seed=1)["completion"].tolist()
    per_prompt = first.groupby("prompt_id")["completion"].nunique()
    assert (per_prompt > 1).any()


def test_greedy_takes_the_mode(policy: Any, params: Params) -> None:
    model, tokenizer = policy
    text = sampled(policy, params, decoding="greedy", samples=1, max_new_tokens=3)["completion"][0]
    ids = tokenizer("About", return_tensors="pt")["input_ids"]
    for _ in range(3):
        logits = model(ids).logits[0, -1]
        logits[model.config.eos_token_id] = -torch.inf
        ids = torch.cat([ids, logits.argmax().view(1, 1)], dim=1)
    assert text == tokenizer.decode(ids[0])[len("About") :]


def test_tokens_are_drawn_from_the_softmax() -> None:
    scores = torch.tensor([2.0, -torch.inf, 1.0, 0.0, -3.0, -torch.inf])
    keys = torch.arange(100_000, dtype=torch.int32)
    chosen, again = (draw_tokens(scores.expand(len(keys), -1), keys, place) for place in (5, 6))
    shares = torch.bincount(chosen, minlength=6) / len(chosen)
    torch.testing.assert_close(shares, scores.softmax(0), atol=0.006, rtol=0)
    assert set(chosen.tolist()) == {0, 2, 3, 4}
    independent = float((scores.softmax(0) ** 2).sum())
    assert float((chosen == again).float().mean()) == pytest.approx(independent, abs=0.01)


def test_rare_tokens_are_drawn_as_often_as_they_should() -> None:
    scores = torch.zeros(20_000, 5_000)
    keys = random_keys(len(scores))
    chosen = draw_tokens(scores, keys, 0)
    assert chosen.unique().numel() == pytest.approx(5_000 * (1 - np.exp(-4)), rel=0.01)


@pytest.mark.parametrize("sample", [True, False])
def test_a_finished_completion_leaves_the_batch(
    policy: Any, monkeypatch: pytest.MonkeyPatch, sample: bool
) -> None:
    model, tokenizer = policy
    config = GenerationConfig(
        do_sample=sample,
        top_k=0,
        min_new_tokens=2,
        max_new_tokens=20,
        eos_token_id=list(range(1, 512, 3)),  # many, so that completions end early
        pad_token_id=tokenizer.pad_token_id,
    )
    texts = [f"{start} {end}" for start in PROMPTS["prompt"] for end in ("", "the other day")]
    batch = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    keys = torch.arange(len(texts), dtype=torch.int32)
    rows: list[int] = []
    forward = type(model).forward

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        rows.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", counted)
    decoded = partial(
        model.generate, **batch, generation_config=config, custom_generate=decode, keys=keys
    )
    found = decoded()
    assert rows[0] == len(texts) > rows[-1]
    monkeypatch.setattr(decoding, "_can_drop", lambda *_: False)
    torch.testing.assert_close(found, decoded())
    assert rows[-1] == len(texts)
    if not sample:
        torch.testing.assert_close(found, model.generate(**batch, generation_config=config))


SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 5,
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
KINDS = {
    "recurrent": MambaConfig(**SMALL, state_size=8),
    "sliding_window": MistralConfig(**SMALL, **HEADS, sliding_window=6),
    "hybrid": FalconH1Config(
        **SMALL, **HEADS, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8
    ),
}


@pytest.mark.parametrize("settings", [{}, {"repetition_penalty": 1.5}])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_policy_decodes_as_transformers_does(
    kind: str, settings: dict[str, float]
) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(KINDS[kind]).eval()
    prompts = torch.randint(10, 40, (30, 6))
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=20,
        eos_token_id=list(range(2, 40, 3)),
        pad_token_id=0,
        **settings,
    )
    generate = partial(
        model.generate, prompts, attention_mask=torch.ones_like(prompts), generation_config=config
    )
    torch.testing.assert_close(generate(custom_generate=decode), generate())


def test_how_a_policys_folder_decodes_is_not_ours(
    policy: Any, params: Params, tmp_path: Path
) -> None:
    model, tokenizer = policy
    own = {"num_beams": 3, "min_p": 0.9, "repetition_penalty": 5.0, "eos_token_id": [0, 5]}
    GenerationConfig(**own, do_sample=True).save_pretrained(tmp_path)
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    save_file(dict(model.state_dict()), tmp_path / "model.safetensors", {"format": "pt"})
    found, _ = load("policy", tmp_path, params.compute)
    assert found.generation_config.eos_token_id == [0, 5]
    model.generation_config.eos_token_id = [0, 5]
    pd.testing.assert_frame_equal(
        sampled((found, tokenizer), params), sampled((model, tokenizer), params)
    )


@pytest.mark.parametrize("decoding", [{"do_sample": True}, {"do_sample": False}])
def test_nan_is_never_decoded(policy: Any, decoding: dict[str, bool]) -> None:
    model, _ = policy
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = float("nan")
    config = GenerationConfig(max_new_tokens=3, pad_token_id=0, **decoding)
    with pytest.raises(FloatingPointError, match="not finite"):
        model.generate(torch.full((2, 3), 5), generation_config=config, custom_generate=decode)


def test_rows_are_found_in_another_order() -> None:
    rows = torch.randint(0, 3, (200, 4), generator=torch.Generator().manual_seed(0))  # some equal
    shuffled = rows[torch.randperm(200, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(rows[_places(shuffled, rows)], shuffled)
    with pytest.raises(IndexError):
        rows[_places(shuffled + 9, rows)]


def test_prompt_too_long_is_one_line(policy: Any, params: Params) -> None:
    long = pd.DataFrame({"prompt_id": [7], "prompt": ["word " * 200]})
    with pytest.raises(UserError, match="prompt 7 has"):
        sampled(policy, params, long)


def test_likelihoods_are_the_naive_ones(policy: Any, params: Params) -> None:
    base, tokenizer = policy
    other, _ = load("policy", Path(base.name_or_path), params.compute)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    prompts, completions = (
        ["About", "On Monday's map"],
        [" the table.", " you are a fool. Get lost!"],
    )
    rows = pd.DataFrame({"prompt": prompts, "completion": completions, "prompt_id": [0, 1]})
    rows = rows.assign(split="test", source="base", sample=0)
    limit = len(tokenizer(completions[1])["input_ids"])  # the second one was cut there
    compare = partial(likelihood_table, max_new_tokens=limit)
    found = compare(rows, other, base, tokenizer, params.compute)
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        head, tail = (tokenizer(text)["input_ids"] for text in (prompt, completion))
        end = [tokenizer.eos_token_id] * (len(tail) < limit)
        ids = torch.tensor([head + tail + end])
        with torch.no_grad():
            p, q = (model(ids).logits[0].log_softmax(-1) for model in (other, base))
        kl = nll = own_nll = 0.0
        for position in range(len(head), ids.shape[1]):
            before = position - 1
            kl += float((p[before].exp() * (p[before] - q[before])).sum())
            nll -= float(q[before, ids[0, position]])
            own_nll -= float(p[before, ids[0, position]])
        row = found.loc[("test", "base", index, 0)]
        assert row["kl"] == pytest.approx(kl, rel=1e-3)
        assert row["nll"] == pytest.approx(nll, rel=1e-4)
        assert row["own_nll"] == pytest.approx(own_nll, rel=1e-4)
        assert (row["tokens"], row["positions"]) == (len(tail), len(tail + end))
    same = compare(rows, base, base, tokenizer, params.compute)
    np.testing.assert_allclose(same["kl"], 0, atol=1e-5)


@pytest.mark.parametrize(("labels", "toxic"), [(1, 1), (2, 1), (2, 0), (3, 2)])
def test_log_odds_by_hand(classifier_folder: Path, params: Params, labels: int, toxic: int) -> None:
    _, tokenizer = load("classifier", classifier_folder, params.compute)
    torch.manual_seed(2)
    config = RobertaConfig(
        vocab_size=512,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    model = RobertaForSequenceClassification(config).eval()
    reward = ClassifierReward(model, tokenizer, params.compute, toxic_label=toxic)
    logits = model(**tokenizer("a text", return_tensors="pt")).logits[0]
    p = logits.sigmoid()[0] if labels == 1 else logits.softmax(0)[toxic]
    expected = torch.log(1 - p) - torch.log(p)
    np.testing.assert_allclose(reward.score(["a text"]), [expected.item()], rtol=1e-4)
    with pytest.raises(UserError, match="toxic_label"):
        ClassifierReward(model, tokenizer, params.compute, toxic_label=7)


def test_scores_keep_the_order(classifier_folder: Path, params: Params) -> None:
    reward = ClassifierReward(
        *load("classifier", classifier_folder, params.compute), params.compute, toxic_label=1
    )
    texts = [f"{'word ' * (n % 7)}text {n}" for n in range(20)]
    alone = np.concatenate([reward.score([text]) for text in texts])
    np.testing.assert_allclose(reward.score(texts), alone, atol=1e-5)
    assert reward.score(texts).dtype == np.float32


def train(policy: Any, params: Params, score: Any, curve: Path, **update: Any) -> dict[str, float]:
    small = {
        "steps": 2,
        "batch_size": 4,
        "generations": 2,
        "max_new_tokens": 8,
        "min_new_tokens": 2,
        "warmup_steps": 0,
        "lr": 1e-3,
    }
    settings = params.rlhf.model_copy(update=small | update)
    return train_on_reward(PROMPTS, *policy, score, settings, params.compute, seed=0, curve=curve)


def test_standardised_reward_has_unit_spread() -> None:
    texts = ["e" * n for n in range(9)]
    values = standardise(lengths, texts)(texts)
    assert values.mean() == pytest.approx(0, abs=1e-6)
    assert values.std() == pytest.approx(1, abs=1e-6)


def lengths(texts: list[str]) -> np.ndarray:
    return np.array([text.count("e") for text in texts], dtype=np.float32)


@pytest.mark.parametrize(
    "update",
    [{"algorithm": "rloo"}, {"algorithm": "grpo"}, {"iterations": 2, "gradient_accumulation": 2}],
)
def test_training_moves_the_policy(
    policy: Any, params: Params, tmp_path: Path, update: dict[str, Any]
) -> None:
    before = {name: value.clone() for name, value in policy[0].state_dict().items()}
    facts = train(policy, params, lengths, tmp_path / "curve.csv", **update)
    assert any(
        not torch.equal(value, before[name]) for name, value in policy[0].state_dict().items()
    )
    curve = pd.read_csv(tmp_path / "curve.csv")
    assert list(curve.columns) == CURVE
    assert curve["step"].max() == 3 - update.get("iterations", 1)  # a row a rollout batch
    assert facts["final_length"] > 0


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_rollouts_read_without_padding_are_those_of_trl(
    policy: Any,
    params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    algorithm: str,
) -> None:
    ours, padding = _Unpadded._get_per_token_logps_and_entropies, []

    def both(
        self: Any, model: Any, ids: Any, mask: Any, keep: int, *size: int, **settings: Any
    ) -> Any:
        found = ours(self, model, ids, mask, keep, *size, **settings)
        settings.pop("batch_size", None)
        padded = super(_Unpadded, self)._get_per_token_logps_and_entropies(  # type: ignore[misc]
            model, ids, mask, keep, **settings
        )
        seen = mask[:, -keep:].bool()
        for mine, theirs in zip(found[:2], padded[:2], strict=True):
            assert (mine is None) == (theirs is None)
            if mine is not None:
                assert (mine[~seen] == 0).all()
                torch.testing.assert_close(mine[seen], theirs[seen], rtol=1e-4, atol=1e-5)
        if found[0].requires_grad:
            weight = model.get_output_embeddings().weight
            for loss in (lambda values: values.square(), torch.exp):
                mine, theirs = (
                    torch.autograd.grad(loss(values[0][seen]).sum(), weight, retain_graph=True)[0]
                    for values in (found, padded)
                )
                torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
        padding.append(1 - mask.float().mean().item())
        return found

    monkeypatch.setattr(_Unpadded, "_get_per_token_logps_and_entropies", both)
    train(policy, params, lengths, tmp_path / "curve.csv", algorithm=algorithm, max_new_tokens=30)
    assert len(padding) >= 4
    assert max(padding) > 0.15


@pytest.mark.parametrize(
    ("update", "saved"),
    [({}, 2), ({"gradient_accumulation": 2}, 0), ({"iterations": 2}, 0)],
)
def test_rollouts_are_read_once_where_they_are_used_once(
    params: Params,
    policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    update: dict[str, Any],
    saved: int,
) -> None:
    method = "_get_per_token_logps_and_entropies"
    read, reads, weights = getattr(_Unpadded, method), [0], []

    def counted(self: Any, model: Any, *args: Any, **settings: Any) -> Any:
        reads[-1] += model is self.model
        return read(self, model, *args, **settings)

    monkeypatch.setattr(_Unpadded, method, counted)
    for once in (True, False):
        if not once:  # as TRL does
            monkeypatch.delattr(_Rloo, method)
        policy = load("policy", policy_folder, params.compute)
        train(policy, params, lengths, tmp_path / "curve.csv", **update)
        weights.append(torch.nn.utils.parameters_to_vector(policy[0].parameters()).detach())
        reads.append(0)
    assert reads[1] - reads[0] == saved
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)


def test_without_a_penalty_there_is_no_kl(policy: Any, params: Params, tmp_path: Path) -> None:
    facts = train(policy, params, lengths, tmp_path / "curve.csv", kl_coef=0.0)
    assert "final_kl" not in facts
    assert "final_reward" in facts
    assert pd.read_csv(tmp_path / "curve.csv")["kl"].isna().all()


def test_frozen_blocks_stay(policy: Any, params: Params, tmp_path: Path) -> None:
    model = policy[0]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(policy, params, lengths, tmp_path / "curve.csv", trainable_layers=1)
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert any("layers.1." in name for name in changed)
    assert not any("layers.0." in name or "embed_in" in name for name in changed)


def test_broken_rewards_and_divergence_stop(policy: Any, params: Params, tmp_path: Path) -> None:
    curve = tmp_path / "curve.csv"
    with pytest.raises(UserError, match="the reward model is broken"):
        train(policy, params, lambda texts: np.full(len(texts), np.nan), curve)
    with pytest.raises(UserError, match="diverged"):
        train(policy, params, lengths, curve, lr=0.5, max_kl=0.01, steps=20)
    with pytest.raises(UserError, match="diverged"):
        train(policy, params, lengths, curve, lr=1e9, max_kl=1e30, steps=20)
    assert "generate" not in vars(policy[0])
    assert list(tmp_path.iterdir()) == []
