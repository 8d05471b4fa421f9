"""Margins where it is known what they are."""

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.evaluation.candidates import Rewards
from inverse_rlhf.evaluation.margins import beside_control, extreme_pairs, margin_table
from inverse_rlhf.evaluation.tables import MARGINS
from inverse_rlhf.parquet import read_table, write_table

PAIRS = pd.DataFrame(
    {
        "prompt_id": [0, 0, 1, 1, 2, 2],
        "prompt": ["a", "a", "b", "b", "c", "c"],
        "sample": [0, 1, 0, 1, 0, 1],
        "base_completion": [f" base {n}" for n in range(6)],
        "aligned_completion": [f" aligned {n}" for n in range(6)],
        "split": ["irl", "irl", "test", "test", "test", "test"],
    }
)
KEYS = pd.DataFrame({"prompt_id": [1, 1, 2, 2], "sample": [0, 1, 0, 1], "split": "test"})
BASE, ALIGNED = [0.0, 1.0, 2.0, 3.0], [4.0, 0.0, 8.0, 3.0]


def of_run(run: int, scale: float, kind: str = "fit") -> pd.DataFrame:
    """A run whose rewards are `scale` times the exported ones, less the first pair's where odd."""
    sides = [
        KEYS.assign(source=source, irl_reward=scale * np.array(values))
        for source, values in (("base", BASE), ("aligned", ALIGNED))
    ]
    return pd.concat(sides).assign(run=run, kind=kind)


@pytest.fixture
def by_kind() -> dict[str, Rewards]:
    scores = pd.concat([of_run(0, 2.0), of_run(1, -3.0), of_run(0, 1.0, "shuffled")])
    runs = pd.DataFrame({"kind": ["fit", "fit", "shuffled"], "run": [0, 1, 0], "selected": True})
    runs = runs.assign(mean=5.0, std=[2.0, 1.0, 0.5], threshold_otsu=0.0)
    return {kind: Rewards(scores, runs, kind, "otsu") for kind in ("fit", "shuffled")}


@pytest.fixture
def margins(by_kind: dict[str, Rewards]) -> pd.DataFrame:
    sides = [
        KEYS.assign(source=source, irl_reward=np.float32(values))
        for source, values in (("aligned", ALIGNED), ("base", BASE), ("rerl", BASE))
    ]
    scores = pd.concat(sides, ignore_index=True).astype({"source": "category"})
    return margin_table(scores, PAIRS, by_kind["fit"], 2.0)


def test_margins_by_hand(margins: pd.DataFrame, tmp_path: pytest.TempPathFactory) -> None:
    """Aligned minus base is 4, -1, 6, 0, of the runs once and minus thrice that."""
    write_table(margins, f"{tmp_path}/margins.parquet", MARGINS)
    read = read_table(f"{tmp_path}/margins.parquet", MARGINS)
    assert read["margin"].tolist() == [-0.5, 0.0, 2.0, 3.0]
    assert read["margin_std"].tolist() == [2.0, 0.0, 8.0, 12.0]
    assert read["prompt_id"].tolist() == [1, 2, 1, 2]
    assert read["sample"].tolist() == [1, 1, 0, 0]
    assert read["base_completion"].tolist() == [f" base {n}" for n in (3, 5, 2, 4)]
    assert read["aligned_completion"].tolist() == [f" aligned {n}" for n in (3, 5, 2, 4)]


def test_extreme_pairs(margins: pd.DataFrame) -> None:
    found = extreme_pairs(margins, count=2)
    row = {"prompt": "c", "base": " base 4", "aligned": " aligned 4", "margin": 3.0}
    assert found["best_pairs"][0] == row
    assert [row["margin"] for row in found["best_pairs"]] == [3.0, 2.0]
    assert [row["margin"] for row in found["worst_pairs"]] == [-0.5, 0.0]
    assert len(extreme_pairs(margins, count=9)["best_pairs"]) == 4


def test_margins_beside_the_control(margins: pd.DataFrame, by_kind: dict[str, Rewards]) -> None:
    found = beside_control(margins, by_kind)
    assert found["recovered"].tolist() == [-0.5, 0.0, 2.0, 3.0]
    assert found["shuffled"].tolist() == [8.0, -2.0, 12.0, 0.0]
    assert list(beside_control(margins, {"fit": by_kind["fit"]})) == ["recovered"]


def test_preferences_are_means_of_each_runs_chances(by_kind: dict[str, Rewards]) -> None:
    """Of differences as they are: 2 and -3 times those of the exported reward."""
    differences = np.array(ALIGNED) - BASE
    chances = [1 / (1 + np.exp(-scale * differences)) for scale in (2.0, -3.0)]
    found = by_kind["fit"].test_preferences()
    np.testing.assert_allclose(found, np.mean(chances, axis=0))
