"""The report: labels of other objectives, planted weights, candidates without runs."""

import numpy as np
import pandas as pd
import pytest
from inverse_rlhf.measures.agreement import compare
from inverse_rlhf.report import (
    Candidate,
    Rewards,
    human_truth,
    reward_report,
    single_rewards,
    true_cut,
    weight_report,
)
from inverse_rlhf.text_features import Keyword, Length, LinearTextReward, NGrams

from inverse_rlhf.params import Params, Weights
from inverse_rlhf.rewards import IrlReward, RewardCard

TOXICITY = Weights(toxicity=1, sentiment=0, length=0, keyword=0)
TWO = Weights(toxicity=0, sentiment=0, length=2, keyword=-1)


def test_cut_is_zero_for_toxicity_and_found_for_other_parts() -> None:
    rewards = np.array([3.0, 3.1, 3.2, 7.0, 7.1])
    scores = pd.DataFrame({"source": "base", "true_reward": rewards})
    assert true_cut(scores, TOXICITY) == 0
    assert 3.2 < true_cut(scores, TWO) < 7


def test_planted_and_recovered_weights(params: Params, card: RewardCard) -> None:
    text = LinearTextReward([Length(20), Keyword("map")], np.array([6.0, -2.7]))
    reward = IrlReward(None, text, params.compute, card)
    found = weight_report(reward, TWO)["weights"]
    assert found["planted"]["ratio"] == {"length": 1, "keyword": -0.5}
    assert found["recovered"]["ratio"]["keyword"] == pytest.approx(-0.45)
    assert weight_report(reward, TOXICITY) == {}
    turned = LinearTextReward([Length(20), Keyword("map")], np.array([-6.0, 2.7]))
    found = weight_report(IrlReward(None, turned, params.compute, card), TWO)["weights"]
    assert found["recovered"]["ratio"] == {"length": -1, "keyword": pytest.approx(0.45)}
    length_is_zero = LinearTextReward([Length(20), Keyword("map")], np.array([0.0, -2.7]))
    found = weight_report(IrlReward(None, length_is_zero, params.compute, card), TWO)["weights"]
    assert found["recovered"] == {"weight": {"length": 0.0, "keyword": -2.7}}
    ngrams = NGrams.fit(["keyword length"] * 3, params.irl.ngram)
    words = LinearTextReward([ngrams], np.ones(len(ngrams.names)))
    assert weight_report(IrlReward(None, words, params.compute, card), TWO) == {}


def test_single_rewards_and_their_threshold() -> None:
    pairs = pd.DataFrame(
        {
            "prompt_id": [0, 1, 2, 3],
            "sample": 0,
            "split": ["valid", "valid", "test", "test"],
            "base_completion": [" a", " a b c d", " a b", " a b c"],
            "aligned_completion": [" a b c d", " a b c", " a", " a b c d e"],
        }
    )
    keys = pd.concat([pairs.assign(source=source) for source in ("base", "aligned")])
    index = pd.MultiIndex.from_frame(keys[["split", "source", "prompt_id", "sample"]])
    table = pd.DataFrame({"nll": 4.0, "own_nll": 3.0}, index=index).sort_index()
    found = single_rewards(pairs, {"rlhf": table})
    assert (found["log_ratio"] == 1).all()
    assert (found["base_loglik"] == -4).all()
    length = Candidate.of_series(found["length"], "otsu")
    np.testing.assert_array_equal(length.rewards[0], [[2, 1], [3, 5]])
    assert 1 < length.thresholds[0] < 4
    assert Candidate.of_series(found["length"], "median").thresholds == [2.5]
    assert Candidate.of_series(found["length"], "midpoint").thresholds == [3.0]
    assert Candidate.of_series(found["length"], "human_median").thresholds == [2.5]
    human = pd.Series(9.0, pd.MultiIndex.from_tuples([("valid", "human", 0, 0)], names=index.names))
    both = pd.concat([found["length"], human]).sort_index()
    assert Candidate.of_series(both, "human_median").thresholds == [9.0]


def test_report_says_which_method_and_which_threshold_is_better() -> None:
    """Corrected runs rank as the true reward does, plain ones hardly; two cuts, one far too low."""
    generator = np.random.default_rng(0)
    table = pd.MultiIndex.from_product(
        [range(40), range(2), ["base", "aligned"]], names=["prompt_id", "sample", "source"]
    ).to_frame(index=False)
    table["true_reward"] = generator.normal(size=len(table))
    table["split"] = np.where(table["prompt_id"] < 10, "valid", "test")
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
    cuts = {"threshold": 0.0, "threshold_otsu": 0.0, "threshold_midpoint": -100.0}
    runs = runs.assign(selected=True, mean=0.0, std=1.0, **cuts)
    keys = ["split", "source", "prompt_id", "sample"]
    single = table.assign(
        **{name: generator.normal(size=len(table)) for name in ("length", "log_ratio")}
    )
    report = reward_report(
        table[table["split"] == "test"],
        {kind: Rewards(scores, runs, kind) for kind in noise},
        single.set_index(keys)[["length", "log_ratio"]].sort_index(),
        0.0,
        threshold="otsu",
        human_labels=False,
        resamples=100,
        seed=0,
    )
    assert report["test"]["roc_auc"]["high"] <= 1
    assert report["controls"]["shuffled"]["f1"]["low"] >= 0
    assert report["reference"]["log_ratio"]["spearman"]["low"] < 0
    for metric in ("accuracy", "roc_auc"):
        assert report["failure_aware"][metric]["difference"] > 0.1
        assert report["paired"]["shuffled"][metric]["difference"] > 0.1
    assert report["failure_aware"]["starc"]["difference"] < 0
    best, found = report["thresholds"]["best"]["accuracy"], report["thresholds"]
    assert 0 <= found["otsu"]["gap"] < 0.05
    civil = (table.loc[table["split"] == "test", "true_reward"] >= 0).mean()
    assert found["midpoint"]["accuracy"] == pytest.approx(civil)
    assert found["midpoint"]["gap"] == pytest.approx(best - civil)


def test_ensemble_and_spread_by_hand() -> None:
    """The first run counts in other units than the second: each is standardised before the mean."""
    keys = {"split": "test", "source": "base", "prompt_id": [0, 1], "sample": 0}
    first = pd.DataFrame(keys | {"kind": "fit", "run": 0, "irl_reward": [100.0, 300.0]})
    second = pd.DataFrame(keys | {"kind": "fit", "run": 1, "irl_reward": [1.0, -1.0]})
    runs = pd.DataFrame({"kind": "fit", "run": [0, 1], "selected": True, "threshold": 0.0})
    runs = runs.assign(mean=[100.0, 0.0], std=[100.0, 1.0])
    rewards = Rewards(pd.concat([first, second]), runs, "fit")
    assert rewards.ensemble.tolist() == [0.5, 0.5]
    assert rewards.spread.tolist() == [0.5, 1.5]


def test_human_comments_have_human_labels() -> None:
    """Labels are those of people, whatever the true reward says; completions' come from its cut."""
    sources = ["human", "aligned", "base"]
    scores = pd.MultiIndex.from_product([sources, range(3), [0]]).to_frame(index=False)
    scores.columns = pd.Index(["source", "prompt_id", "sample"])
    scores = scores.assign(
        true_reward=[1.0, 1.0, -1.0, -2.0, 2.0, 2.0, 0.0, 0.0, 0.0],
        toxic=pd.array([1, 0, 0] + [None] * 6, dtype="Int8"),
    )
    truth = human_truth(scores, 0.0)
    assert truth.toxic.tolist() == [[True, True], [False, False], [False, False]]
    reward = np.array([[-1.0, -3.0], [1.0, 3.0], [2.0, 4.0]])
    found = compare(reward, 0.0, truth)
    assert found["accuracy"] == found["roc_auc"] == 1
    assert found["discrimination"] == pytest.approx(2 / 3)
