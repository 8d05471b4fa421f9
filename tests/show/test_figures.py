"""Figures: all written, the same bytes twice, and no crash where a class or a label is missing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.show.figures import confusion_points, draw_figures, roc_points


@pytest.fixture
def scores() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    true = generator.normal(size=200)
    return pd.DataFrame(
        {
            "source": np.repeat(["base", "aligned", "rerl", "human"], 50),
            "true_reward": true,
            "irl_reward": true + generator.normal(size=200),
            "toxic": pd.array([None] * 150 + [0, 1] * 24 + [None] * 2, dtype="Int8"),
        }
    )


@pytest.fixture
def runs() -> pd.DataFrame:
    rows = [
        {
            "run": run,
            "kind": kind,
            "epoch": epoch,
            "loss": 1 / epoch,
            "valid_discrimination": 0.5 + 0.1 * epoch,
            "selected": epoch == 2,
        }
        for run in range(3)
        for kind in ("fit", "shuffled")
        for epoch in (1, 2)
    ]
    return pd.DataFrame(rows)


def draw(
    scores: pd.DataFrame,
    runs: pd.DataFrame,
    card: RewardCard,
    folder: Path,
    *,
    control: bool = True,
) -> dict[str, bytes]:
    rate = {"toxicity_rate": 0.4, "toxicity_rate_low": 0.3, "toxicity_rate_high": 0.5}
    curve = pd.DataFrame(
        {name: [1.0, 2.0, 3.0] for name in ("step", "reward", "kl", "length", "entropy")}
    )
    policies = dict.fromkeys(("base", "rlhf", "rerl"), rate)
    row = {"roc_auc": {"value": 0.9, "median": 0.9, "low": 0.8, "high": 0.95}}
    rewards = {"runs": 3, "true_threshold": 0.0, "test": row, "ensemble": row}
    rewards |= {"reference": {"log_ratio": row}, "controls": {"shuffled": row, "length": {}}}
    index = pd.MultiIndex.from_product([range(3), range(3)], names=["run", "other_run"])
    correlations = pd.DataFrame({"spearman": 1.0}, index=index).reset_index()
    curves = {"rlhf": curve, "rerl": curve}
    generator = np.random.default_rng(1)
    margins = {"recovered": generator.normal(1, 1, 90), "shuffled": generator.normal(0, 1, 270)}
    margins = {name: margins[name] for name in margins if control or name == "recovered"}
    cuts = {"threshold": card.thresholds["otsu"], "cut": 0.0}
    known = (scores, runs, rewards, policies, curves, correlations, margins)
    draw_figures(*known, card.run, folder, **cuts)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_all_figures_the_same_twice(
    scores: pd.DataFrame, runs: pd.DataFrame, card: RewardCard, tmp_path: Path
) -> None:
    first = draw(scores, runs, card, tmp_path / "one")
    assert len(first) == 9
    assert all(len(content) > 5000 and content[:4] == b"\x89PNG" for content in first.values())
    assert first == draw(scores, runs, card, tmp_path / "two")


def test_one_class_is_drawn(
    scores: pd.DataFrame, runs: pd.DataFrame, card: RewardCard, tmp_path: Path
) -> None:
    civil = scores.assign(true_reward=scores["true_reward"].abs() + 1)
    assert len(draw(civil, runs, card, tmp_path / "one", control=False)) == 9
    assert roc_points(civil, 0.0).empty


def test_points_by_hand() -> None:
    scores = pd.DataFrame(
        {
            "source": ["base", "base", "aligned", "human"],
            "true_reward": [-1.0, 2.0, 3.0, 4.0],
            "irl_reward": [-5.0, -1.0, 1.0, 0.0],
        }
    )
    points = confusion_points(scores, 0.0, 0.0)
    assert points["actual"].tolist() == ["toxic", "non-toxic", "non-toxic"]
    assert points["predicted"].tolist() == ["toxic", "toxic", "non-toxic"]
    roc = roc_points(scores, 0.0)
    assert roc.iloc[-1].tolist() == [1.0, 1.0]
    assert roc["true_positive_rate"][roc["false_positive_rate"] == 0].max() == 1
