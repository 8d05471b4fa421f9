"""Figures show what the tables say, cut nothing off and name every line."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inverse_rlhf.show.drawing import write_figures
from inverse_rlhf.show.figures import (
    FIGURES,
    Measured,
    captions,
    confusion_points,
    draw_figures,
    reliability,
    rewards_since_start,
    roc_points,
)

ALWAYS = set(FIGURES) - {"weights", "calibration"}


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


def correlations(between: float, count: int = 3) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([range(count)] * 2, names=["run", "other_run"])
    matrix = np.where(np.eye(count) == 1, 1.0, between)
    return pd.DataFrame({"spearman": matrix.ravel()}, index=index).reset_index()


def auc(value: float, low: float, high: float) -> dict[str, Any]:
    return {"roc_auc": {"value": value, "median": value, "low": low, "high": high}}


def curve(start: float) -> pd.DataFrame:
    steps = np.arange(1.0, 41.0)
    return pd.DataFrame(
        {"step": steps, "reward": start + steps / 40, "kl": steps, "length": 20.0, "entropy": 1.0}
    )


def measured(**others: Any) -> Measured:
    rate = {"toxicity_rate": 0.4, "toxicity_rate_low": 0.3, "toxicity_rate_high": 0.5}
    generator = np.random.default_rng(1)
    rewards = {
        "runs": 3,
        "test": auc(0.9, 0.8, 0.95),
        "ensemble": auc(0.9, 0.8, 0.95),
        "reference": {"log_ratio": auc(0.7, 0.6, 0.8)},
        "controls": {"shuffled": auc(0.5, 0.45, 0.6), "length": {}},
    }
    known: dict[str, Any] = {
        "scores": scores(),
        "runs": runs(),
        "rewards": rewards,
        "planted": ["toxicity"],
        "policies": dict.fromkeys(("rerl", "base", "rlhf"), rate),
        "curves": {"rlhf": curve(5.0), "rerl": curve(-3.0)},
        "correlations": correlations(0.95),
        "margins": {"recovered": generator.normal(1, 1, 90), "shuffled": generator.normal(size=90)},
        "ngrams": pd.DataFrame(
            {"ngram": ["a fool", "b", "$x$ & <y>"], "weight": [-2.0, 0.5, 1.0], "texts": 9}
        ),
        "ngrams_r2": 0.5,
        "exported": 1,
        "threshold": 0.1,
        "cut": 0.0,
        "labels": ("toxic", "non-toxic"),
    }
    return Measured(**(known | others))


def legend(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def labels(ticks: Any) -> list[str]:
    return [label.get_text() for label in ticks]


@pytest.fixture(scope="module")
def drawn() -> dict[str, Figure]:
    return draw_figures(measured())


def test_all_are_written_and_the_same_twice(tmp_path: Path) -> None:
    for name in ("one", "two"):
        figures = draw_figures(measured(preferences=np.array([0.9, 0.2, 0.6])))
        assert set(figures) == ALWAYS | {"calibration"}
        write_figures(figures, captions("toxic"), tmp_path / name, tmp_path / f"{name}-svg")
    written = {path.name for path in tmp_path.glob("one*/*")}
    assert written == {f"{name}.{kind}" for name in figures for kind in ("png", "svg")}
    for folder in ("", "-svg"):
        for path in (tmp_path / f"one{folder}").iterdir():
            assert path.read_bytes() == (tmp_path / f"two{folder}" / path.name).read_bytes()


def test_rewards_begin_at_zero_and_every_line_is_named(drawn: dict[str, Figure]) -> None:
    reward, *others = drawn["policy_training"].axes
    for line in reward.get_lines()[:2]:
        assert line.get_ydata()[0] == 0
        assert line.get_ydata()[-1] == pytest.approx(39 / 40)
    assert others[0].get_lines()[0].get_ydata()[0] == 1.0  # KL as it is
    for axes in (reward, *others):
        assert legend(axes) == ["aligned, true reward", "rerl, recovered reward"]
        lines = axes.get_lines()[:2]
        assert lines[0].get_linestyle() != lines[1].get_linestyle()
        assert lines[0].get_marker() != lines[1].get_marker()


def test_rises_are_from_each_rewards_own_first_step() -> None:
    curves = {
        "rlhf": pd.DataFrame({"step": [1, 2, 3], "reward": [5.0, 5.5, 6.5]}),
        "rerl": pd.DataFrame({"step": [1, 2], "reward": [-1.0, 1.0]}),
    }
    rises = rewards_since_start(curves)
    expected = {"step": [1, 2, 3], "aligned": [0.0, 0.5, 1.5], "rerl": [0.0, 2.0, np.nan]}
    pd.testing.assert_frame_equal(rises, pd.DataFrame(expected))


@pytest.mark.parametrize(("low", "start"), [(0.45, 0.4), (0.1, 0.08), (0.0, 0.0)])
def test_the_axis_of_roc_auc_cuts_no_interval(low: float, start: float) -> None:
    rewards = measured().rewards
    rewards["controls"] = {"shuffled": auc(0.5, low, 0.6), "random_head": auc(0.99, 0.9, 1.0)}
    axes = draw_figures(measured(rewards=rewards))["candidates"].axes[0]
    assert axes.get_xlim() == pytest.approx((start, 1.0))
    assert labels(axes.get_yticklabels()) == [
        "recovered, median of 3 runs",
        "recovered, mean of all runs",
        "log-ratio of the two policies",
        "shuffled sides",
        "random weights",
    ]
    assert "0.990" in {text.get_text() for text in axes.texts}


def test_runs_that_are_alike_are_counted_others_are_a_matrix(drawn: dict[str, Figure]) -> None:
    (histogram,) = drawn["runs"].axes
    assert sum(bar.get_height() for bar in histogram.patches) == 3  # pairs of three runs
    assert histogram.get_xlim() == (0.95, 1)
    assert "lowest 0.950" in histogram.get_title(loc="left")
    for table, expected in ((correlations(0.85), 0.85), (correlations(0.95, 1), 1.0)):
        matrix, bar = draw_figures(measured(correlations=table))["runs"].axes
        assert matrix.images[0].get_array().min() == expected
        assert bar.get_ylabel() == "Spearman correlation"
    unknown = draw_figures(measured(correlations=correlations(np.nan)))["runs"].axes[0]
    assert unknown.get_title(loc="left") == "Runs against each other"
    equal = draw_figures(measured(correlations=correlations(1.0)))["runs"].axes[0]
    assert sum(bar.get_height() for bar in equal.patches) == 3


def test_within_a_class_are_its_texts_only(drawn: dict[str, Figure]) -> None:
    test = scores().iloc[:100]
    toxic = test["true_reward"] < 0
    for axes, kept in zip(drawn["within_class"].axes, (toxic, ~toxic), strict=True):
        points = np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])
        points = points[np.isfinite(points).all(axis=1)]
        expected = test.loc[kept, ["true_reward", "irl_reward"]].to_numpy()
        np.testing.assert_allclose(np.sort(points, axis=0), np.sort(expected, axis=0))
        assert f"{kept.sum()} texts" in axes.get_title(loc="left")
        assert {"base", "aligned"} <= set(legend(axes))


def test_fits_name_their_kinds_and_an_ensemble_has_no_run(drawn: dict[str, Figure]) -> None:
    def names(figure: Figure) -> list[str]:
        return [text.get_text() for text in figure.legends[0].get_texts()]

    kinds = ["other runs", "shuffled sides", "chance"]
    assert names(drawn["irl_training"]) == ["exported run", *kinds]
    assert names(draw_figures(measured(exported=None))["irl_training"]) == kinds


def test_words_by_weight(drawn: dict[str, Figure]) -> None:
    axes = drawn["ngrams"].axes[0]
    assert labels(axes.get_yticklabels()) == ["$x$ & <y>", "b", "a fool"]
    assert [bar.get_width() for bar in axes.patches] == [1.0, 0.5, -2.0]
    assert legend(axes) == ["rewarded", "penalised"]
    none = draw_figures(measured(ngrams=measured().ngrams.head(0)))["ngrams"].axes[0]
    assert "No word" in none.get_title(loc="left")


def test_parts_are_compared_where_both_rewards_have_them() -> None:
    def beside(toxicity: float, length: float) -> dict[str, dict[str, float]]:
        found = {"toxicity": toxicity, "length": length}
        return {"weight": found, "ratio": {k: v / abs(toxicity) for k, v in found.items()}}

    weights = {"planted": beside(-2.0, 1.0), "recovered": beside(-8.0, 2.0)}
    known = {"rewards": measured().rewards | {"weights": weights}}
    axes = draw_figures(measured(**known, planted=["toxicity", "length"]))["weights"]
    assert [bar.get_width() for bar in axes.axes[0].patches] == [-1.0, 0.5, -1.0, 0.25]
    assert legend(axes.axes[0]) == ["planted", "recovered"]


def test_reliability_by_hand() -> None:
    table = reliability(np.array([0.95, 0.05, 0.91, 0.55, 0.5]))
    assert table["pairs"].tolist() == [2, 3]
    assert table["predicted"].tolist() == pytest.approx([0.525, (0.95 + 0.95 + 0.91) / 3])
    assert table["observed"].tolist() == pytest.approx([0.75, 2 / 3])  # a tie is half right
    assert (table["low"] <= table["observed"]).all()
    assert (table["observed"] <= table["high"]).all()


def test_calibration_shows_all_bins() -> None:
    preferences = np.random.default_rng(0).uniform(size=300)
    axes = draw_figures(measured(preferences=preferences))["calibration"].axes[0]
    table = reliability(preferences)
    found = np.asarray(axes.get_lines()[0].get_ydata(), dtype=float)
    np.testing.assert_allclose(found, table["observed"])
    assert axes.get_ylim()[0] < table["low"].min()
    assert set(legend(axes)) == {"test pairs, 95 % intervals", "as predicted"}


def test_policies_in_one_order(drawn: dict[str, Figure]) -> None:
    axes = drawn["toxicity"].axes[0]
    assert labels(axes.get_xticklabels()) == ["base", "aligned", "rerl"]
    assert axes.get_ylim()[0] == 0


def test_one_class_and_no_control_are_drawn() -> None:
    civil = scores().assign(true_reward=scores()["true_reward"].abs() + 1)
    margins = {"recovered": np.ones(9)}
    fits = runs().query("kind == 'fit'")
    assert set(draw_figures(measured(scores=civil, margins=margins, runs=fits))) == ALWAYS
    assert roc_points(civil, 0.0).empty


def test_points_by_hand() -> None:
    table = pd.DataFrame(
        {
            "source": ["base", "base", "aligned", "human"],
            "true_reward": [-1.0, 2.0, 3.0, 4.0],
            "irl_reward": [-5.0, -1.0, 1.0, 0.0],
        }
    )
    points = confusion_points(table, 0.0, 0.0, ("toxic", "non-toxic"))
    assert points["actual"].tolist() == ["toxic", "non-toxic", "non-toxic"]
    assert points["predicted"].tolist() == ["toxic", "toxic", "non-toxic"]
    roc = roc_points(table, 0.0)
    assert roc.iloc[-1].tolist() == [1.0, 1.0]
    assert roc["true_positive_rate"][roc["false_positive_rate"] == 0].max() == 1
