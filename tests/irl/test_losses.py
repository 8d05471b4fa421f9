"""Losses by hand, and the registry that params are checked against."""

from typing import Any

import numpy as np
import pytest
import torch

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.heads import fit_heads
from inverse_rlhf.irl.losses import (
    LOSSES,
    Loss,
    constrained,
    discrimination,
    head_penalty,
    pair_loss,
)
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Irl, parse_params

OF_MARGINS = [name for name, loss in LOSSES.items() if not loss.needs_policies]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("max_margin", [4.0, -3.0]),
        ("hinge", [3.0, 0.0]),
        ("logistic", [np.log1p(np.exp(4.0)), np.log1p(np.exp(-6.0))]),
        ("squared", [9.0, 4.0]),
    ],
)
def test_losses_by_hand(short: Irl, loss: str, expected: list[float]) -> None:
    settings = short.model_copy(update={"loss": loss, "margin": 1.0, "temperature": 0.5})
    found = pair_loss(torch.tensor([-2.0, 3.0]), settings)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_which_losses_are_penalised_and_which_constrained(short: Irl) -> None:
    weight = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    hinge = short.model_copy(update={"loss": "hinge", "l2": 0.1})
    torch.testing.assert_close(head_penalty(weight, hinge), torch.tensor([2.5, 0.025]))
    assert head_penalty(weight, short).abs().sum() == 0
    assert constrained(weight, hinge) is weight
    torch.testing.assert_close(constrained(weight, short), torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


@pytest.mark.parametrize("loss", OF_MARGINS)
def test_every_loss_has_a_gradient(short: Irl, loss: str) -> None:
    settings = short.model_copy(update={"loss": loss, "margin": 1.3, "temperature": 0.7})
    delta = torch.linspace(-3, 3, 24, dtype=torch.float64, requires_grad=True)  # no kink among them
    assert torch.autograd.gradcheck(lambda margins: pair_loss(margins, settings), delta)
    pair_loss(delta, settings).sum().backward()
    assert delta.grad is not None
    assert (delta.grad[delta < 0] < 0).all()  # a pair the wrong way round is pulled right
    head = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda weight: head_penalty(weight, settings), head)


@pytest.mark.parametrize("loss", OF_MARGINS)
def test_every_loss_is_convex_and_bounded_below_or_held(short: Irl, loss: str) -> None:
    settings = short.model_copy(update={"loss": loss})
    values = pair_loss(torch.linspace(-1e3, 1e3, 2001, dtype=torch.float64), settings)
    assert (values.diff().diff() >= -1e-9).all()
    assert LOSSES[loss].bounded == (values.min() < 0).item()


def test_discrimination_by_hand() -> None:
    delta = torch.tensor([[1.0, -1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
    assert discrimination(delta).tolist() == [0.5, 0.0]  # a tie is no preference


def _with_loss(raw_params: dict[str, Any], loss: str) -> dict[str, Any]:
    return raw_params | {"irl": raw_params["irl"] | {"loss": loss}}


def test_a_new_loss_is_a_line_in_the_registry(
    raw_params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"^irl\.loss is 'exponential' in params\.yaml: it must be"):
        parse_params(_with_loss(raw_params, "exponential"))
    monkeypatch.setitem(LOSSES, "exponential", Loss(lambda d, params: torch.exp(-d)))
    for loss in [*OF_MARGINS, "exponential"]:
        assert parse_params(_with_loss(raw_params, loss)).irl.loss == loss
    settings = parse_params(_with_loss(raw_params, "exponential")).irl
    delta = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    delta[:, 1] += 2.0
    heads = fit_heads(delta, delta, [Run(0, "fit", 0)], settings)
    assert heads.valid_discrimination.max() > 0.95
    assert heads.weight[0].argmax() == 1


def test_a_loss_that_needs_policies_is_known_and_none_of_margins(
    raw_params: dict[str, Any], short: Irl
) -> None:
    settings = _with_loss(raw_params, "log_ratio")
    settings["irl"] |= {"solver": "exact"}
    assert parse_params(settings).irl.needs_policies
    assert not short.needs_policies
    with pytest.raises(AssertionError, match="log_ratio is no loss of margins"):
        pair_loss(torch.ones(2), short.model_copy(update={"loss": "log_ratio"}))


def test_an_unknown_loss_is_one_line_that_names_the_known_ones(raw_params: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        parse_params(_with_loss(raw_params, "huber"))
    known = "max_margin, hinge, logistic, squared or log_ratio"
    assert str(caught.value) == f"irl.loss is 'huber' in params.yaml: it must be {known}"
