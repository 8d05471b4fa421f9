"""Corrections of a first reward: which pairs they see, what they mend, what bounds them."""

from typing import Any

import pytest
import torch

from inverse_rlhf.irl import failure_aware
from inverse_rlhf.irl.failure_aware import correct_heads, find_failures
from inverse_rlhf.irl.heads import Heads, fit_heads, pair_margins
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Irl


def first_reward(*weight: float) -> Heads:
    """A head that a correction is added to, after one epoch."""
    epoch = torch.ones(1, dtype=torch.int64)
    return Heads(torch.tensor([weight]), epoch, torch.zeros(1, 1), torch.zeros(1, 1))


def test_failures_by_hand() -> None:
    margins = torch.tensor([[3.0, -2.0, 0.1, 1.0, -0.5]])
    failures = find_failures(margins, torch.arange(5)[None], tied=0.1)
    assert failures.order[0].tolist() == [1, 4, 2, 3, 0]
    assert failures.count.tolist() == [3]
    assert failures.base.std(dim=1).item() == pytest.approx(1)
    resampled = find_failures(margins, torch.tensor([[0, 3, 4, 4, 0]]), tied=0.1)
    assert resampled.order[0].tolist() == [4, 4, 3, 0, 0]
    assert resampled.count.tolist() == [2]
    assert resampled.base[0, 1] * resampled.scale[0] == pytest.approx(-2)


def test_curriculum_goes_from_clear_to_subtle_failures(
    irl: Irl, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[set[int]] = []

    def gather(weight: Any, deltas: Any, batch: Any) -> Any:
        shown.append(set(batch[0].tolist()))
        return pair_margins(weight, deltas, batch)

    monkeypatch.setattr(failure_aware, "pair_margins", gather)
    settings = irl.failure_aware.model_copy(update={"epochs": 2, "tied": 0.0})
    new = {"failure_aware": settings, "batch_size": 1000, "bootstrap": False}
    params = irl.model_copy(update=new)
    delta = torch.cat([torch.linspace(-4, -1, 4), torch.full((96,), 2.0)])[:, None]
    correct_heads(first_reward(1.0), delta, delta, [Run(0, "fit", 0)], params)
    assert shown == [{0, 1}, {0, 1, 2, 3}]


def test_correction_mends_what_the_first_reward_gets_wrong(irl: Irl) -> None:
    """Two kinds of pairs; a first reward that knows one axis only."""
    generator = torch.Generator().manual_seed(2)
    delta = 0.05 * torch.randn(300, 2, generator=generator)
    delta[:200, 0] += 1.0
    delta[200:, 1] += 1.0
    delta[200:, 0] -= 0.1
    runs = [Run(0, "fit", 0)]
    blind = fit_heads(delta[:200], delta, runs, irl.model_copy(update={"epochs": 2}))
    blind.weight[0] = torch.tensor([1.0, 0.0])
    corrected = correct_heads(blind, delta, delta, runs, irl)
    before = (delta @ blind.weight[0] > 0).float().mean()
    after = (delta @ corrected.weight[0] > 0).float().mean()
    assert before < 0.75
    assert after == 1
    assert corrected.loss.shape[1] == 2 + irl.failure_aware.epochs
    assert corrected.epoch.item() > 2


def test_correction_of_a_shuffled_run_sees_the_swapped_pairs(irl: Irl) -> None:
    """Half of the pairs the other way round: the second axis teaches nothing."""
    delta = 0.1 * torch.randn(2000, 2, generator=torch.Generator().manual_seed(4))
    delta[:, 1] += 1.0
    found = {}
    for kind in ("fit", "shuffled"):
        corrected = correct_heads(first_reward(1.0, 0.0), delta, delta, [Run(0, kind, 0)], irl)
        found[kind] = corrected.loss[0, -1].item()
    assert found["fit"] < 0.1
    assert found["shuffled"] > 1


def test_correction_is_bounded_and_needs_failures(irl: Irl) -> None:
    """Pairs differ in two features; the second alone says what the first gets wrong."""
    new = {"method": "failure_aware", "lr": 0.1, "batch_size": 100, "bootstrap": False}
    settings = irl.model_copy(update=new)
    generator = torch.Generator().manual_seed(0)
    train = torch.stack([torch.randn(400, generator=generator) + 1, torch.ones(400)], 1)
    runs = [Run(0, "fit", 0)]
    first = first_reward(1.0, 0.0)
    head = correct_heads(first, train, train, runs, settings).weight[0]
    start = first.weight[0] / (train @ first.weight[0]).std()
    assert head[1] > 0.1
    assert (head - start).norm() <= settings.failure_aware.bound * start.norm() * 1.001
    wrong = torch.stack([train[:, 0].abs(), -train[:, 1]], 1)
    unhelped = correct_heads(first, train, wrong, runs, settings)
    torch.testing.assert_close(unhelped.weight, first.weight, rtol=0, atol=0)
    assert unhelped.epoch.tolist() == first.epoch.tolist()
    right = train[train[:, 0] > 0.5]
    right[0, 0] = 5.0
    kept = correct_heads(first, right, right, runs, settings).weight[0]
    assert kept[1] == 0
