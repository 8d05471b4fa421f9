"""Completions and likelihoods go on from their last finished batch, with the same bytes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.models import reading
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Pairs, Params
from inverse_rlhf.policies import sampling
from inverse_rlhf.policies.likelihood import likelihood_table, log_ratios
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.shards import Shards

PROMPTS = pd.DataFrame(
    {"prompt_id": range(10), "prompt": [f"you are {'very ' * n}nice" for n in range(10)]}
)


class Killed(BaseException):
    """As a signal is."""


@pytest.fixture
def short(params: Params) -> Pairs:
    return params.pairs.model_copy(update={"samples": 2, "min_new_tokens": 1, "max_new_tokens": 4})


def killed_at(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: int
) -> Callable[[], int]:
    """Have a function of a module end the process at a call; how often it was called."""
    function, count = getattr(module, name), 0

    def counted(*args: Any, **settings: Any) -> Any:
        nonlocal count
        if count == calls:
            raise Killed
        count += 1
        return function(*args, **settings)

    monkeypatch.setattr(module, name, counted)
    return lambda: count


def test_completions_go_on(
    policy: Model, short: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty in batches of eight: two are kept, and one is made anew."""

    def sample(seed: int = 0, name: str = "base", **update: int) -> pd.DataFrame:
        settings = short.model_copy(update=update)
        return sample_completions(PROMPTS, policy, settings, seed=seed, name=name, kept=tmp_path)

    whole = sample_completions(PROMPTS, policy, short, seed=0, name="base")
    with monkeypatch.context() as patch:
        killed_at(patch, sampling, "_generate", 2)
        with pytest.raises(Killed):
            sample()
    with monkeypatch.context() as patch:
        count = killed_at(patch, sampling, "_generate", 99)
        pd.testing.assert_frame_equal(sample(), whole)
        assert count() == 1
        sample()
        assert count() == 1
        for number, other in enumerate([{"seed": 1}, {"name": "rerl"}, {"max_new_tokens": 3}]):
            sample(**other)  # type: ignore[arg-type]
            assert count() == 4 + 3 * number


def test_likelihoods_go_on(
    policy: Model, short: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = sample_completions(PROMPTS, policy, short, seed=0, name="base")
    rows = rows.merge(PROMPTS).assign(split="test", source="base")
    heads = [[1, 2, 3]] * len(rows)

    def table(kept: Path | None) -> np.ndarray:
        return likelihood_table(rows, policy, policy, kept=kept).to_numpy()

    def ratios(kept: Path | None) -> np.ndarray:
        return log_ratios(heads, rows["ids"].tolist(), policy, policy, kept=kept)

    for read in (table, ratios):
        whole = read(None)
        with monkeypatch.context() as patch:
            killed_at(patch, reading, "pad", 2)
            with pytest.raises(Killed):
                read(tmp_path)
        with monkeypatch.context() as patch:
            count = killed_at(patch, reading, "pad", 99)
            np.testing.assert_array_equal(read(tmp_path), whole)
            once = count()
            np.testing.assert_array_equal(read(None), whole)
            assert count() - once == once + 2


def test_another_policys_likelihoods_are_not_taken(
    policy: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = killed_at(monkeypatch, reading, "pad", 99)
    log_ratios([[1, 2]], [[3]], policy, policy, kept=tmp_path)
    policy.module.name_or_path = "another"
    log_ratios([[1, 2]], [[3]], policy, policy, kept=tmp_path)
    assert count() == 2


ARRAYS = [np.arange(6).reshape(2, 3), np.array([], dtype=np.float32)]


def test_a_part_is_kept(tmp_path: Path) -> None:
    Shards(tmp_path, "a").part(0, lambda: ARRAYS)
    found = Shards(tmp_path, "a").part(0, list)
    assert [array.dtype for array in found] == [array.dtype for array in ARRAYS]
    assert all(np.array_equal(*both) for both in zip(found, ARRAYS, strict=True))
    assert Shards(tmp_path, "a").part(1, list) == []
    assert Shards(tmp_path, "b").part(0, list) == []
    assert Shards(None, "a").part(0, list) == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "another's", "renumbered"])
def test_a_damaged_part_is_none(tmp_path: Path, damage: str) -> None:
    Shards(tmp_path, "a").part(0, lambda: ARRAYS)
    Shards(tmp_path, "b").part(0, lambda: [])
    [path] = (path for path in tmp_path.glob("*/0.safetensors") if path.stat().st_size > 250)
    whole = path.read_bytes()
    [other] = (each for each in tmp_path.glob("*/0.safetensors") if each != path)
    if damage == "renumbered":
        path.rename(path.with_name("1.safetensors"))
    elif damage == "another's":
        path.rename(other)
    else:
        path.write_bytes(whole[:-9] if damage == "cut" else whole[:-9] + b"\1" + whole[-8:])
    name, number = {"another's": ("b", 0), "renumbered": ("a", 1)}.get(damage, ("a", 0))
    assert Shards(tmp_path, name).part(number, lambda: [np.array([5])])[0].tolist() == [5]
