"""The texts of the report are chosen by rule."""

from inverse_rlhf.evaluation.shown import SHOWN, choose
from inverse_rlhf.params import Params
from inverse_rlhf.rewards.card import RewardCard
from tests.show.reports import results


def test_texts_are_chosen_by_rule(params: Params, card: RewardCard) -> None:
    found = results(params.model_dump(), card)
    shown = choose(found.scores, found.disagreements, found.margins)
    assert set(shown.beside["source"]) == {"base", "aligned", "rerl"}
    assert len(shown.beside) == 3 * SHOWN // 2
    best, worst = shown.best["irl_reward"], shown.worst["irl_reward"]
    assert best.is_monotonic_decreasing
    assert worst.is_monotonic_increasing
    both = found.scores[found.scores["source"].isin(["base", "aligned"])]["irl_reward"]
    assert best.iloc[0] == both.max()
    assert worst.iloc[0] == both.min()
    assert (shown.against["margin"] < 0).all()
    assert not shown.rows().duplicated(["prompt_id", "sample", "source"]).any()
