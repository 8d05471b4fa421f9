"""Batches that do not fit in memory are halved, and nothing is lost or done twice."""

import numpy as np
import pandas as pd
import pytest
import torch

from inverse_rlhf.models.batches import Batches
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import encode, map_texts
from inverse_rlhf.params import Params
from inverse_rlhf.policies.sampling import sample_completions

WORDS = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."


def test_a_batch_that_does_not_fit_is_halved(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []

    def work(rows: np.ndarray) -> np.ndarray:
        seen.append(len(rows))
        if len(rows) > 3:
            raise RuntimeError(WORDS)
        return rows

    batches = Batches(16)
    first, second = (batches.run(work, np.arange(10) + start) for start in (0, 10))
    assert np.concatenate(first + second).tolist() == list(range(20))
    assert seen == [10, 8, 4, *(2,) * 10]  # the second time it knows
    assert "compute.batch_size 4 does not fit in memory: going on with 2" in capsys.readouterr().out


def test_what_is_no_lack_of_memory_is_raised() -> None:
    def work(_: np.ndarray) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        Batches(4).run(work, np.arange(4))


def test_not_even_one_row_fits() -> None:
    def work(_: np.ndarray) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    with pytest.raises(RuntimeError, match="No executable batch size"):
        Batches(2).run(work, np.arange(4))


@pytest.fixture
def scarce(policy: Model, monkeypatch: pytest.MonkeyPatch) -> Model:
    """The policy, in a memory that holds three texts at once."""
    forward = policy.module.base_model.forward

    def few(input_ids: torch.Tensor, **settings: object) -> object:
        if len(input_ids) > 3:
            raise RuntimeError(WORDS)
        return forward(input_ids=input_ids, **settings)

    monkeypatch.setattr(policy.module.base_model, "forward", few)
    return policy


def test_texts_are_read_as_they_are_where_memory_suffices(
    policy: Model, params: Params, request: pytest.FixtureRequest
) -> None:
    texts = [f"{word} and more of it" for word in ("one", "two", "a third", "four", "five", "six")]
    rows = encode(texts, policy)

    def read() -> np.ndarray:
        return map_texts(
            lambda batch: policy.module.base_model(**batch).last_hidden_state[:, 0],
            rows,
            policy,
        )

    prompts = pd.DataFrame({"prompt_id": range(6), "prompt": texts})
    pairs = params.pairs.model_copy(update={"samples": 1, "max_new_tokens": 9})

    def write() -> list[str]:
        found = sample_completions(prompts, policy, pairs, seed=0, name="base")
        return found["completion"].tolist()

    values, completions = read(), write()
    request.getfixturevalue("scarce")
    np.testing.assert_allclose(read(), values, rtol=1e-5, atol=1e-6)
    assert write() == completions
