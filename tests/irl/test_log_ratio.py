"""Rewards regressed on what both policies say: exact where they can be, and controlled."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import Ridge

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.fit import FittedRewards
from inverse_rlhf.irl.log_ratio import Teacher, make_teacher, within_prompts
from inverse_rlhf.irl.runs import Kind, Run
from inverse_rlhf.irl.teacher import pair_log_ratios
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Irl, Params
from inverse_rlhf.rewards.recovered import load_irl_reward
from tests.written import written_pairs

PROMPTS = np.repeat(np.arange(40), 2)
DRAW = np.random.default_rng(0)
FEATURES = DRAW.normal(size=(80, 2, 5)) + DRAW.normal(size=(40, 1, 5))[PROMPTS]
WEIGHT = np.array([1.0, -2.0, 0.0, 0.5, 3.0])
OFFSETS = DRAW.normal(size=(40, 1))[PROMPTS]


@pytest.fixture
def white(irl: Irl) -> Irl:
    return irl.model_copy(update={"loss": "log_ratio", "solver": "exact", "l2": 1e-9})


def teacher(noise: float = 0.0) -> Teacher:
    targets = FEATURES @ WEIGHT + OFFSETS + noise * DRAW.normal(size=(80, 2))
    return make_teacher(FEATURES, targets, PROMPTS)


def valid() -> torch.Tensor:
    return torch.from_numpy(FEATURES[:, 0] - FEATURES[:, 1]).float()


def test_centred_by_hand() -> None:
    values = np.array([[1.0, 2.0], [3.0, 6.0], [7.0, 9.0]])
    expected = [[-2.0, -1.0], [0.0, 3.0], [-1.0, 1.0]]
    np.testing.assert_allclose(within_prompts(values, np.array([5, 5, 2])), expected)
    twice = within_prompts(np.stack([values, -values], axis=2), np.array([5, 5, 2]))
    np.testing.assert_allclose(twice[..., 1], -np.array(expected))


def test_a_linear_reward_is_found_whatever_the_prompts_offsets(white: Irl) -> None:
    runs = [Run(number, "fit", 0) for number in range(3)]
    heads = teacher().heads(valid(), runs, white)
    np.testing.assert_allclose(heads.weight, np.tile(WEIGHT, (3, 1)), atol=1e-4)
    assert heads.loss.max() < 1e-9
    expected = (FEATURES @ WEIGHT @ [1, -1] > 0).mean()
    np.testing.assert_allclose(heads.valid_discrimination, expected)
    assert heads.epoch.tolist() == [1, 1, 1]


@pytest.mark.parametrize("kind", ["fit", "shuffled"])
def test_runs_are_ridge_regressions_on_their_resamples(white: Irl, kind: Kind) -> None:
    settings, run = white.model_copy(update={"l2": 0.1}), Run(1, kind, 7)
    known = teacher(noise=1.0)
    rows = run.resample(80, settings).numpy()
    targets = known.log_ratios.copy()
    swapped = run.signs(80, 3).numpy() < 0
    targets[swapped] = targets[swapped][:, ::-1]
    assert swapped.sum() == (40 if kind == "shuffled" else 0)
    x, y = known.features[rows].reshape(-1, 5), targets[rows].ravel()
    expected = Ridge(alpha=0.1 * len(y), fit_intercept=False).fit(x, y).coef_
    heads = known.heads(valid(), [run], settings)
    np.testing.assert_allclose(heads.weight[0], expected, rtol=1e-5, atol=1e-6)
    assert heads.loss.item() == pytest.approx(((x @ expected - y) ** 2).mean(), rel=1e-5)


def test_random_heads_are_not_fitted(white: Irl) -> None:
    run = Run(0, "random_head", 0)
    heads = teacher().heads(valid(), [run], white)
    np.testing.assert_array_equal(heads.weight[0], run.initial_head(5))
    assert heads.loss.item() > 1


@pytest.fixture
def policies(policy: Model) -> tuple[Model, Model]:
    """An aligned and a base policy."""
    aligned = Model(copy.deepcopy(policy.module), policy.tokenizer, policy.compute)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in aligned.module.parameters():
            value += 0.02 * torch.randn(value.shape, generator=generator)
    return aligned, policy


def test_log_ratios_by_hand(pairs: pd.DataFrame, policies: tuple[Model, Model]) -> None:
    table = pairs[pairs["split"] == "irl"].iloc[::-1].reset_index(drop=True)
    table = written_pairs(table, policies[0].tokenizer)
    found = pair_log_ratios(table, *policies)
    assert found.shape == (50, 2)
    for row in (0, 31):
        for column, side in enumerate(("aligned", "base")):
            expected = _log_ratio(table.loc[row], side, policies)
            assert found[row, column] == pytest.approx(expected, abs=1e-3)
    same = pair_log_ratios(table, policies[1], policies[1])
    assert not same.any()


def _log_ratio(row: pd.Series, side: str, policies: tuple[Model, Model]) -> float:
    """log p of a completion that ended, token by token, of the first policy less the second."""
    tokenizer = policies[0].tokenizer
    head = tokenizer(row["prompt"])["input_ids"]
    tail = tokenizer(row[f"{side}_completion"], add_special_tokens=False)["input_ids"]
    ids = torch.tensor([[*head, *tail, tokenizer.eos_token_id]])
    logs = []
    for policy in policies:
        log = policy.module(ids).logits.log_softmax(-1)[0, :-1]
        logs.append(log.gather(1, ids[0, 1:, None])[len(head) - 1 :].sum().item())
    return logs[0] - logs[1]


def test_policies_that_are_not_finite_are_one_line(
    pairs: pd.DataFrame, policies: tuple[Model, Model]
) -> None:
    with torch.no_grad():
        policies[0].module.get_output_embeddings().weight.fill_(torch.nan)
    with pytest.raises(UserError, match="are not finite"):
        pair_log_ratios(written_pairs(pairs, policies[0].tokenizer), *policies)


def test_whole_fit_is_saved_as_it_scored(
    pairs: pd.DataFrame,
    fit_in: Callable[..., FittedRewards],
    white: Irl,
    params: Params,
    tmp_path: Path,
) -> None:
    irl_pairs = pairs[pairs["split"] == "irl"]
    sides = irl_pairs[["aligned_completion", "base_completion"]]
    ratios = sides.map(lambda text: 2.0 * ("friend" in text)).to_numpy()
    settings = white.model_copy(update={"features": ["hidden_state", "ngram"], "l2": 1e-3})
    fitted = fit_in("runs", settings, log_ratios=ratios)
    kinds = fitted.runs["kind"].value_counts().to_dict()
    assert kinds == {"fit": 3, "shuffled": 2, "random_head": 2}
    fitted.reward.save(tmp_path / "reward")
    reward = load_irl_reward(tmp_path / "reward", params.compute)
    start = "About the map: please, you are a"
    plain, friend = reward.score([f"{start} gem, see the list.", f"{start} friend, see the list."])
    assert friend > plain
    test = pairs[pairs["split"] == "test"]
    own = fitted.scores[(fitted.scores["kind"] == "fit") & (fitted.scores["source"] == "aligned")]
    own = own[(own["split"] == "test") & (own["run"] == fitted.facts["reward"])]
    found = reward.score((test["prompt"] + test["aligned_completion"]).tolist())
    np.testing.assert_allclose(found, own["irl_reward"], atol=1e-4)


def test_it_does_not_go_without_log_ratios(
    fit_in: Callable[..., FittedRewards], white: Irl
) -> None:
    with pytest.raises(AssertionError, match="log_ratio needs both policies"):
        fit_in("runs", white)
