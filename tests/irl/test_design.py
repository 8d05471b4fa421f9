"""What a linear reward weighs: columns of every kind, alike in size, learnt from fitted texts."""

from typing import Any

import numpy as np
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.features.text import TEXT_FEATURES
from inverse_rlhf.irl.design import Design, build_design
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Irl, Params

TEXTS = [f"{word} you {other}" for word in ("please", "see", "a map", "thanks") for other in "abc"]
FITTED = np.arange(len(TEXTS)) < 8


@pytest.fixture
def design_of(reward_network: Model, irl: Irl, params: Params) -> Any:
    def design(features: list[str], min_texts: int = 1) -> Design:
        ngram = irl.ngram.model_copy(update={"min_texts": min_texts})
        settings = irl.model_copy(update={"features": features, "ngram": ngram})
        return build_design(TEXTS, FITTED, reward_network, settings, params.parts)

    return design


def test_one_kind_stays_as_it_is(design_of: Any, reward_network: Model) -> None:
    design = design_of(["hidden_state"])
    expected = hidden_states(TEXTS, reward_network, pooling="last")
    np.testing.assert_array_equal(design.matrix, expected)
    assert design.hidden == expected.shape[1]
    assert design.text_reward(np.ones(design.hidden)) is None


def test_kinds_side_by_side_are_alike_in_spread(design_of: Any) -> None:
    design = design_of(["ngram", "hidden_state", "length_target"])
    texts = [len(feature.names) for feature in design.text_features]
    ends = np.cumsum([design.hidden, *texts])
    assert ends[-1] == design.matrix.shape[1]
    for columns in np.split(design.matrix[FITTED].astype(np.float64), ends[:-1], axis=1):
        assert columns.var(axis=0).sum() == pytest.approx(1, rel=1e-5)
    weight = np.random.default_rng(0).normal(size=ends[-1])
    raw = design.raw(weight)
    reward = design.text_reward(raw)
    assert reward is not None
    found = reward.score(TEXTS)
    expected = design.matrix[:, design.hidden :] @ weight[design.hidden :]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_objectives_are_in_units_of_their_spread(design_of: Any) -> None:
    design = design_of(["objectives"])
    stds = design.matrix[FITTED].astype(np.float64).std(axis=0)
    assert (np.isclose(stds, 1, rtol=1e-5) | (stds == 0)).all()
    assert (stds > 0).sum() >= 3
    weight = np.random.default_rng(0).normal(size=len(stds))
    reward = design.text_reward(design.raw(weight))
    assert reward is not None
    np.testing.assert_allclose(reward.score(TEXTS), design.matrix @ weight, rtol=1e-4, atol=1e-5)


def test_ngrams_are_those_of_fitted_texts(design_of: Any) -> None:
    (ngrams,) = design_of(["ngram"]).text_features
    assert "map" in ngrams.names
    assert "thanks" not in ngrams.names


@pytest.mark.parametrize("kind", TEXT_FEATURES)
def test_only_ngrams_are_told_to_lower_min_texts(design_of: Any, kind: str) -> None:
    if kind == "ngram":
        with pytest.raises(UserError, match=r"irl\.ngram: .*: lower min_texts"):
            design_of([kind], min_texts=1000)
    else:
        columns = len(OBJECTIVES) if kind == "objectives" else 1
        assert design_of([kind], min_texts=1000).matrix.shape == (len(TEXTS), columns)


def test_an_unknown_kind_is_a_bug_that_names_it(design_of: Any) -> None:
    with pytest.raises(KeyError, match="forgotten"):
        design_of(["forgotten"], min_texts=1000)
