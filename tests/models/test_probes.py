"""When two readings are one."""

import torch

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.probes import alike, first_tokens


def test_alike_but_for_rounding_of_what_is_large() -> None:
    expected = torch.tensor([[0.0, 1000.0]])
    assert alike(expected + 0.9, expected)
    assert not alike(expected + 1.1, expected)
    assert not alike(torch.tensor([0.0, 0.002]), torch.zeros(2))


def test_what_is_no_number_is_like_nothing() -> None:
    broken = torch.tensor([torch.nan, 1.0])
    assert not alike(broken, torch.ones(2))
    assert not alike(torch.ones(2), broken)
    assert not alike(broken, broken)


def test_the_first_tokens_are_embedded(policy: Model) -> None:
    ids = first_tokens(policy.module)
    assert ids.shape == (1, 16)
    policy.module.resize_token_embeddings(5)
    assert first_tokens(policy.module).tolist() == [[0, 1, 2, 3, 4]]
