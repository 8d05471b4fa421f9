"""Losses and fits: cases by hand, and together = one by one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from inverse_rlhf.irl.linear import fit_heads, pair_margins
from inverse_rlhf.irl.selection import discrimination
from inverse_rlhf.irl.thresholds import thresholds
from scipy.optimize import minimize
from transformers import (
    AutoModelForSequenceClassification,
    BloomConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.features import by_length, encode, hidden_states, pad
from inverse_rlhf.irl.fit import FittedRewards, fit_rewards
from inverse_rlhf.irl.losses import constrained, head_penalty, pair_loss
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.runs import Run, plan_runs
from inverse_rlhf.models import blocks
from inverse_rlhf.params import Bayes, Irl, Params
from inverse_rlhf.rewards import load_irl_reward


@pytest.fixture
def irl(params: Params) -> Irl:
    return params.irl.model_copy(
        update={"runs": 4, "control_runs": 2, "epochs": 3, "batch_size": 8, "loss": "max_margin"}
    )


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("max_margin", [4.0, -3.0]),
        ("hinge", [3.0, 0.0]),
        ("logistic", [np.log1p(np.exp(4.0)), np.log1p(np.exp(-6.0))]),
        ("squared", [9.0, 4.0]),
    ],
)
def test_losses_by_hand(irl: Irl, loss: str, expected: list[float]) -> None:
    settings = irl.model_copy(update={"loss": loss, "margin": 1.0, "temperature": 0.5})
    found = pair_loss(torch.tensor([-2.0, 3.0]), settings)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_which_losses_are_penalised_and_which_constrained(irl: Irl) -> None:
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    hinge = irl.model_copy(update={"loss": "hinge", "l2": 0.1})
    torch.testing.assert_close(head_penalty(weight, hinge), torch.tensor([2.5, 0.025]))
    assert head_penalty(weight, irl).abs().sum() == 0
    assert constrained(weight, hinge) is weight
    torch.testing.assert_close(constrained(weight, irl), torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


def separable(pairs: int = 60, features: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    delta = torch.randn(pairs, features, generator=generator)
    delta[:, 0] = delta[:, 0].abs() + 0.5
    return delta


@pytest.mark.parametrize("runs", [1, 3])
def test_margins_read_in_place_are_those_of_copied_rows(runs: int) -> None:
    generator = torch.Generator().manual_seed(3)
    deltas = torch.randn(20, 7, generator=generator, dtype=torch.float64)
    rows = torch.randint(20, (runs, 20), generator=generator)  # some twice, in no order
    head = torch.randn(runs, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    expected = torch.einsum("rf,rbf->rb", head, deltas[rows])
    torch.testing.assert_close(pair_margins(head, deltas, rows), expected)
    assert torch.autograd.gradcheck(lambda weight: pair_margins(weight, deltas, rows), head)


def test_heads_together_are_heads_one_by_one(irl: Irl) -> None:
    delta = separable()
    runs = [run for run in plan_runs(irl, seed=7) if run.kind != "random_head"]
    together = fit_heads(delta, delta[:20], runs, irl)
    for index, run in enumerate(runs):
        alone = fit_heads(delta, delta[:20], [run], irl)
        torch.testing.assert_close(together.weight[index], alone.weight[0])
        assert together.epoch[index] == alone.epoch[0]
        torch.testing.assert_close(together.loss[index], alone.loss[0])


def test_max_margin_solution_does_not_depend_on_the_seed(irl: Irl) -> None:
    settings = irl.model_copy(
        update={"epochs": 200, "bootstrap": False, "lr": 0.01, "batch_size": 60}
    )
    delta = torch.randn(60, 6, generator=torch.Generator().manual_seed(5)) + 0.3
    gaps = delta.double().numpy()
    heads = fit_heads(delta, delta, plan_runs(settings, seed=0)[:4], settings)
    assert heads.weight.norm(dim=1).max() <= 1 + 1e-6
    optimum = minimize(
        lambda w: -np.minimum(gaps @ w, 2 * gaps @ w).mean(),
        gaps.mean(0) / 10,
        constraints={"type": "ineq", "fun": lambda w: 1 - w @ w},
    ).fun
    np.testing.assert_allclose(heads.loss[:, -1], optimum, atol=2e-3)


def test_shuffled_runs_learn_nothing(irl: Irl) -> None:
    settings = irl.model_copy(update={"epochs": 20})
    delta = separable(400, 3)
    fits = [Run(number, kind, 1) for kind in ("fit", "shuffled") for number in range(6)]
    heads = fit_heads(delta, delta, fits, settings)
    found = discrimination(heads.weight @ delta.T)
    assert found[:6].min() > 0.95
    assert abs(found[6:].mean() - 0.5) < 0.35
    signs = Run(0, "shuffled", 1).signs(401, 3)
    assert (signs == -1).sum() == 200


def test_heads_are_fitted_on_the_resample(irl: Irl) -> None:
    delta, run = separable(60, 3), [Run(0, "fit", 3)]
    whole = irl.model_copy(update={"bootstrap": False})
    drawn = delta[run[0].resample(60, irl)]
    resampled = fit_heads(delta, delta, run, irl)
    assert not torch.allclose(resampled.weight, fit_heads(delta, delta, run, whole).weight)
    torch.testing.assert_close(resampled.weight, fit_heads(drawn, delta, run, whole).weight)


def test_runs_differ_and_repeat(irl: Irl) -> None:
    first, second = Run(0, "fit", 3), Run(1, "fit", 3)
    assert not torch.equal(first.resample(50, irl), second.resample(50, irl))
    assert torch.equal(first.orders(9, irl), Run(0, "fit", 3).orders(9, irl))
    assert torch.equal(
        first.resample(5, irl.model_copy(update={"bootstrap": False})), torch.arange(5)
    )


@pytest.fixture
def pairs() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    rows = []
    for prompt in range(60):
        word = generator.choice(["map", "table", "list"])
        rows.append(
            {
                "prompt_id": prompt,
                "prompt": f"About the {word}:",
                "sample": 0,
                "base_completion": f" you are a fool. Get lost {prompt}.",
                "aligned_completion": f" you are a gem. Thanks for all {prompt}.",
                "split": "irl" if prompt < 30 else "valid" if prompt < 45 else "test",
            }
        )
    return pd.DataFrame(rows)


@pytest.fixture
def prompts(pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs.assign(human_completion=" it is fine.")[
        ["prompt_id", "prompt", "human_completion", "split"]
    ]


def fit(
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    body: Any,
    settings: Irl,
    params: Params,
    folder: Path,
    seed: int = 0,
) -> FittedRewards:
    return fit_rewards(
        pairs,
        prompts,
        body,
        settings,
        params.parts,
        params.compute,
        seed=seed,
        store=folder / "runs",
    )


@pytest.mark.parametrize(
    ("trainable", "pooling"),
    [("head", "last"), ("head", "mean"), ("last_k", "last"), ("all", "last")],
)
def test_fit_saves_what_it_scored(
    trainable: str,
    pooling: str,
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    reward_network: Any,
    irl: Irl,
    params: Params,
    tmp_path: Path,
) -> None:
    settings = irl.model_copy(update={"trainable": trainable, "pooling": pooling, "lr": 1e-3})
    fitted = fit(pairs, prompts, reward_network, settings, params, tmp_path)
    assert len(fitted.runs) == (4 + 2) * 3 + 2
    chosen = fitted.runs[fitted.runs["selected"]]
    assert len(chosen) == 8
    best = fitted.runs.groupby(["kind", "run"])["valid_discrimination"].transform("max")
    assert (fitted.runs["valid_discrimination"] == best)[fitted.runs["selected"]].all()
    if trainable != "head":
        assert chosen[chosen["kind"] == "fit"]["valid_discrimination"].median() == 1
    fitted.reward.save(tmp_path / "reward")
    loaded = load_irl_reward(tmp_path / "reward", params.compute)
    test = pairs[pairs["split"] == "test"]
    own = fitted.scores[
        (fitted.scores["run"] == fitted.reward.card.run) & (fitted.scores["kind"] == "fit")
    ]
    of = {key: rows.to_numpy(float) for key, rows in own.groupby(["split", "source"])["irl_reward"]}
    human = np.concatenate([of["irl", "human"], of["valid", "human"]])
    cuts = thresholds(of["valid", "base"], of["valid", "aligned"], human)
    assert loaded.card.thresholds == pytest.approx(cuts)
    scores = loaded.score((test["prompt"] + test["aligned_completion"]).tolist())
    np.testing.assert_allclose(scores, of["test", "aligned"], atol=1e-5)
    standard = loaded.standardised(["a text"])
    raw = loaded.score(["a text"])
    np.testing.assert_allclose(standard, (raw - loaded.card.mean) / loaded.card.std, rtol=1e-5)


def _both(pairs: pd.DataFrame) -> list[str]:
    return [
        *(pairs["prompt"] + pairs["aligned_completion"]),
        *(pairs["prompt"] + pairs["base_completion"]),
    ]


def test_frozen_parts_stay(
    reward_network: Any, pairs: pd.DataFrame, irl: Irl, params: Params
) -> None:
    model, tokenizer = reward_network
    before = {name: value.clone() for name, value in model.state_dict().items()}
    settings = irl.model_copy(update={"trainable": "last_k", "last_k": 1})
    network = RewardNetwork(model, tokenizer, _both(pairs), settings, params.compute)
    rows = np.stack([np.arange(60), np.arange(60, 120)], axis=1)
    network.fit(Pairs(rows[:40], rows[40:]), Run(0, "fit", 0))
    changed = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert "score.weight" in changed
    assert any("layers.1." in name for name in changed)
    assert not any("layers.0." in name or "embed" in name for name in changed)


@pytest.mark.parametrize(
    "config",
    [
        GPTNeoXConfig(intermediate_size=32),
        GPT2Config(),  # adds positions to whatever it is given
        LlamaConfig(intermediate_size=32),
        BloomConfig(),  # its blocks give tuples
    ],
    ids=lambda config: config.model_type,
)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_frozen_blocks_are_read_once_and_change_nothing(
    config: Any, pooling: str, reward_network: Any, irl: Irl, params: Params
) -> None:
    tokenizer = reward_network[1]
    config.update(
        dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=3, num_labels=1)
        | dict(num_attention_heads=2, num_key_value_heads=2, pad_token_id=tokenizer.pad_token_id)
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    texts = ["one", "a much longer text about a map and a table", "two words", "three of them"]
    batch = pad(encode(texts, model, tokenizer), range(4), tokenizer, model.device)
    settings = irl.model_copy(update={"trainable": "last_k", "last_k": 1, "pooling": pooling})
    network = RewardNetwork(model, tokenizer, texts, settings, params.compute)
    assert network.frozen is not None
    calls: list[int] = []
    first, last = blocks(model)[0], blocks(model)[-1]
    for child in first.children():
        child.register_forward_hook(lambda *_: calls.append(1))
    found = network.rewards_of_rows(np.arange(4))
    found.sum().backward()
    gradients = [parameter.grad for parameter in last.parameters()]
    model.zero_grad()
    assert not calls
    np.testing.assert_allclose(network.score(), found.detach(), atol=1e-5)
    network.frozen = None
    expected = network.rewards(batch | {"row": torch.arange(4)})
    assert calls
    expected.sum().backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    for gradient, parameter in zip(gradients, last.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)


def test_padding_and_order_do_not_matter(reward_network: Any, params: Params) -> None:
    model, tokenizer = reward_network
    texts = ["one", "a much longer text about a map and a table", "two words"]
    for pooling in ("last", "mean"):
        together = hidden_states(texts, model, tokenizer, params.compute, pooling=pooling)
        for index, text in enumerate(texts):
            alone = hidden_states([text], model, tokenizer, params.compute, pooling=pooling)
            np.testing.assert_allclose(together[index], alone[0], atol=1e-5)


def test_batches_hold_every_text_once_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=500)
    batches = list(by_length([[0] * length for length in lengths], batch_size=100))
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert max(map(len, batches)) <= 100
    read = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert read <= 1.15 * lengths.sum()
    assert [len(rows) for rows in by_length([[0]] * 5, batch_size=2)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            lambda pairs: pairs.assign(base_completion=pairs["aligned_completion"]),
            {},
            "wrote the same",
        ),
        (
            lambda pairs: pairs,
            {"method": "bayes", "bayes": Bayes(prior_std=1.0, rounds=1000)},
            r"irl\.bayes\.rounds is 1000 for 30 pairs",
        ),
    ],
)
def test_what_cannot_be_fitted_is_one_line(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    settings: dict[str, Any],
    message: str,
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    reward_network: Any,
    irl: Irl,
    params: Params,
    tmp_path: Path,
) -> None:
    changed = irl.model_copy(update=settings)
    with pytest.raises(UserError, match=message):
        fit(change(pairs), prompts, reward_network, changed, params, tmp_path)
