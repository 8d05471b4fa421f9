"""A weighted sum of text features is read back as it was written."""

import numpy as np
import pytest

from inverse_rlhf.features.objectives import Objectives
from inverse_rlhf.features.text import NGrams, named_feature
from inverse_rlhf.params import Params, Parts
from inverse_rlhf.rewards.linear_text import LinearTextReward

TEXTS = ["You are a fool, please go.", "What a lovely, good map!", "the map and the list", "Please"]
PARTS = Parts(length_target=7, keyword="map")


def test_json_holds_the_whole_reward(params: Params) -> None:
    settings = params.irl.ngram.model_copy(update={"min_texts": 1})
    ngrams = NGrams.fit(TEXTS, settings)
    named = [named_feature(kind, PARTS) for kind in ("sentiment", "length_target", "keyword")]
    weight = np.random.default_rng(0).normal(size=len(ngrams.names) + 3)
    reward = LinearTextReward([ngrams, *named], weight)
    again = LinearTextReward.from_json(reward.to_json())
    unseen = [*TEXTS, "a fool of a map, unseen"]
    np.testing.assert_allclose(again.score(unseen), reward.score(unseen), rtol=1e-12)
    sentiment, length, keyword = weight[-3:]
    assert reward.part_weights() == {
        "sentiment": sentiment,
        "length_target": length,
        "keyword": keyword,
    }
    assert again.part_weights() == reward.part_weights()


def test_part_weights_are_those_of_objectives_too() -> None:
    features = [named_feature("keyword", PARTS), Objectives(["length", "bold"])]
    reward = LinearTextReward([*features, named_feature("bold", PARTS)], np.arange(1.0, 5))
    assert reward.part_weights() == {"keyword": 1, "length": 2, "bold": 3 + 4}
    again = LinearTextReward.from_json(reward.to_json())
    assert again.part_weights() == reward.part_weights()
    np.testing.assert_array_equal(again.score(TEXTS), reward.score(TEXTS))


def test_weights_of_other_features_are_refused() -> None:
    written = LinearTextReward([named_feature("sentiment", PARTS)], np.ones(2)).to_json()
    with pytest.raises(ValueError, match="its weights do not match its features"):
        LinearTextReward.from_json(written)
