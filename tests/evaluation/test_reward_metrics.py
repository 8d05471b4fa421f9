"""metrics/reward.json: labels of other objectives, planted weights, which method is better."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.evaluation.candidates import Rewards
from inverse_rlhf.evaluation.reward_metrics import (
    human_truth,
    reward_report,
    true_cut,
    weight_report,
)
from inverse_rlhf.features.text import Named, NGrams
from inverse_rlhf.measures.against_truth import METRICS, compare
from inverse_rlhf.params import Params
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.linear_text import LinearTextReward
from inverse_rlhf.rewards.recovered import IrlReward

TOXICITY = {"toxicity": 1.0}
TWO = {"length_target": 2.0, "keyword": -1.0}


def test_cut_is_zero_for_toxicity_and_found_for_other_parts() -> None:
    rewards = np.array([3.0, 3.1, 3.2, 7.0, 7.1])
    scores = pd.DataFrame({"source": "base", "true_reward": rewards})
    assert true_cut(scores, TOXICITY) == 0
    assert 3.2 < true_cut(scores, TWO) < 7


def test_planted_and_recovered_weights(params: Params, card: RewardCard) -> None:
    text = LinearTextReward(
        [Named("length_target", {"target": 20}), Named("keyword", {"word": "map"})],
        np.array([6.0, -2.7]),
    )
    reward = IrlReward(None, text, card)
    found = weight_report(reward, TWO)["weights"]
    assert found["planted"]["ratio"] == {"length_target": 1, "keyword": -0.5}
    assert found["recovered"]["ratio"]["keyword"] == pytest.approx(-0.45)
    assert weight_report(reward, TOXICITY) == {}
    turned = LinearTextReward(
        [Named("length_target", {"target": 20}), Named("keyword", {"word": "map"})],
        np.array([-6.0, 2.7]),
    )
    found = weight_report(IrlReward(None, turned, card), TWO)["weights"]
    assert found["recovered"]["ratio"] == {"length_target": -1, "keyword": pytest.approx(0.45)}
    length_is_zero = LinearTextReward(
        [Named("length_target", {"target": 20}), Named("keyword", {"word": "map"})],
        np.array([0.0, -2.7]),
    )
    found = weight_report(IrlReward(None, length_is_zero, card), TWO)["weights"]
    assert found["recovered"] == {"weight": {"length_target": 0.0, "keyword": -2.7}}
    ngrams = NGrams.fit(["keyword length"] * 3, params.irl.ngram)
    words = LinearTextReward([ngrams], np.ones(len(ngrams.names)))
    assert weight_report(IrlReward(None, words, card), TWO) == {}


def single_parts(size: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: generator.normal(size=size) for name in ("length", "log_ratio")}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """True rewards of valid and test completions, and of comments that people labelled by them."""
    generator = np.random.default_rng(0)
    written = pd.MultiIndex.from_product([range(40), range(2), ["base", "aligned"]])
    human = pd.MultiIndex.from_product([range(40), [0], ["human"]])
    table = written.append(human).to_frame(index=False, name=["prompt_id", "sample", "source"])
    table["true_reward"] = generator.normal(size=len(table))
    table["split"] = np.where(table["prompt_id"] < 10, "valid", "test")
    labels = (table["true_reward"] < 0).astype("Int8")
    return table.assign(toxic=labels.where(table["source"] == "human"))


@pytest.fixture(scope="module")
def by_kind(table: pd.DataFrame) -> dict[str, Rewards]:
    """Corrected runs rank as the true reward does, plain ones hardly; two cuts, one far too low."""
    generator = np.random.default_rng(1)
    noise = {"fit": 0.1, "plain": 3.0, "shuffled": 9.0, "random_head": 9.0}
    scores = pd.concat(
        table.assign(
            kind=kind,
            run=run,
            irl_reward=table["true_reward"] + size * generator.normal(size=len(table)),
        )
        for kind, size in noise.items()
        for run in range(3)
    )
    runs = pd.DataFrame({"kind": np.repeat(list(noise), 3), "run": list(range(3)) * 4})
    cuts = {"threshold_otsu": 0.0, "threshold_midpoint": -100.0}
    runs = runs.assign(selected=True, mean=0.0, std=1.0, **cuts)
    return {kind: Rewards(scores, runs, kind, "otsu") for kind in noise}


def report_of(
    table: pd.DataFrame, by_kind: dict[str, Rewards], *, human_labels: bool, resamples: int = 20
) -> dict[str, Any]:
    keys = ["split", "source", "prompt_id", "sample"]
    written = table[table["source"] != "human"]
    single = written.assign(**single_parts(len(written), np.random.default_rng(2)))
    return reward_report(
        table[table["split"] == "test"],
        by_kind,
        single.set_index(keys)[["length", "log_ratio"]].sort_index(),
        0.0,
        threshold="otsu",
        human_labels=human_labels,
        resamples=resamples,
        seed=0,
    )


def test_report_says_which_method_and_which_threshold_is_better(
    table: pd.DataFrame, by_kind: dict[str, Rewards]
) -> None:
    report = report_of(table, by_kind, human_labels=False, resamples=100)
    assert report["test"]["roc_auc"]["high"] <= 1
    assert report["controls"]["shuffled"]["f1"]["low"] >= 0
    assert report["reference"]["log_ratio"]["spearman"]["low"] < 0
    for metric in ("accuracy", "roc_auc"):
        assert report["failure_aware"][metric]["difference"] > 0.1
        assert report["paired"]["shuffled"][metric]["difference"] > 0.1
    assert report["failure_aware"]["starc"]["difference"] < 0
    best, found = report["thresholds"]["best"]["accuracy"], report["thresholds"]
    assert 0 <= found["otsu"]["gap"] < 0.05
    written = table[(table["split"] == "test") & (table["source"] != "human")]
    civil = (written["true_reward"] >= 0).mean()
    assert found["midpoint"]["accuracy"] == pytest.approx(civil)
    assert found["midpoint"]["gap"] == pytest.approx(best - civil)
    assert set(report["test"]) == set(METRICS)
    assert report["test"]["kappa"]["median"] > 0.8
    assert abs(report["controls"]["shuffled"]["kappa"]["median"]) < 0.3
    assert report["agreement"]["label_kappa"] > 0.8
    assert "human" not in report
    assert report["human_true_reward"]["accuracy"]["median"] > 0.8


def test_a_reward_that_is_always_right_has_intervals_with_a_width(
    table: pd.DataFrame, by_kind: dict[str, Rewards]
) -> None:
    scores = table.assign(kind="fit", run=0, irl_reward=table["true_reward"])
    runs = pd.DataFrame({"kind": ["fit"], "run": [0], "selected": True, "mean": 0.0, "std": 1.0})
    runs["threshold_otsu"] = 0.0
    by_kind = {"fit": Rewards(scores, runs, "fit", "otsu")}
    report = report_of(table, by_kind, human_labels=True)
    for rows in (report["test"], report["ensemble"], report["human"]):
        for measure in ("roc_auc", "accuracy", "pair_accuracy"):
            row = rows[measure]
            assert row["high"] == 1, measure
            assert 0.7 < row["low"] < 0.95, measure  # 30 prompts or fewer


def test_comments_are_compared_by_both_labels(
    table: pd.DataFrame, by_kind: dict[str, Rewards]
) -> None:
    """The same where people say what the true reward says, the opposite where they disagree."""
    by_kind = {"fit": by_kind["fit"]}
    report = report_of(table, by_kind, human_labels=True)
    assert report["human"] == report["human_true_reward"]
    other = report_of(table.assign(toxic=1 - table["toxic"]), by_kind, human_labels=True)
    assert other["human_true_reward"] == report["human_true_reward"]
    for metric in ("accuracy", "roc_auc"):
        expected = 1 - report["human"][metric]["median"]
        assert other["human"][metric]["median"] == pytest.approx(expected)
    unlabelled = report_of(table, by_kind, human_labels=False)
    assert unlabelled["human_true_reward"] == report["human_true_reward"]


def test_comments_without_labels_are_left_out(
    table: pd.DataFrame, by_kind: dict[str, Rewards]
) -> None:
    """Not toxic, not anything: what is left is compared as if it had been alone."""
    by_kind = {"fit": by_kind["fit"]}
    lost = table["prompt_id"].isin(table["prompt_id"].unique()[::2])
    some = report_of(table.assign(toxic=table["toxic"].mask(lost)), by_kind, human_labels=True)
    whole = report_of(table, by_kind, human_labels=True)
    assert some["human_true_reward"] == whole["human_true_reward"]
    assert some["human"] != whole["human"]
    for metric in ("accuracy", "roc_auc"):
        assert some["human"][metric]["median"] > 0.7
    none = report_of(table.assign(toxic=pd.NA), by_kind, human_labels=True)
    assert "human" not in none
    assert none["human_true_reward"] == whole["human_true_reward"]


def test_human_comments_have_human_labels() -> None:
    """Labels are those of people, whatever the true reward says; completions' come from its cut."""
    sources = ["human", "aligned", "base"]
    scores = pd.MultiIndex.from_product([sources, range(3), [0]]).to_frame(index=False)
    scores.columns = pd.Index(["source", "prompt_id", "sample"])
    scores = scores.assign(
        true_reward=[1.0, 1.0, -1.0, -2.0, 2.0, 2.0, 0.0, 0.0, 0.0],
        toxic=pd.array([1, 0, 0] + [None] * 6, dtype="Int8"),
    )
    truth, _ = human_truth(scores, 0.0, human_labels=True)
    assert truth.toxic.tolist() == [[True, True], [False, False], [False, False]]
    reward = np.array([[-1.0, -3.0], [1.0, 3.0], [2.0, 4.0]])
    found = compare(reward, 0.0, truth)
    assert found["accuracy"] == found["roc_auc"] == 1
    assert found["discrimination"] == pytest.approx(2 / 3)
    rewarded, _ = human_truth(scores, 0.0, human_labels=False)
    assert rewarded.toxic.tolist() == [[False, True], [False, False], [True, False]]
    assert compare(reward, 0.0, rewarded)["accuracy"] == pytest.approx(1 / 3)
    some = scores.assign(toxic=scores["toxic"].mask(scores["prompt_id"] == 1))
    truth, rows = human_truth(some, 0.0, human_labels=True)
    assert rows.tolist() == [0, 2]
    assert truth.toxic.tolist() == [[True, True], [False, False]]
