"""Text features by hand, and the registry that params and rewards find them in."""

import json
from typing import Any

import numpy as np
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.features import text
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.features.text import (
    NAMED,
    TEXT_FEATURES,
    NamedKind,
    NGrams,
    TextFeature,
    fit_feature,
    named_feature,
    restore,
    stacked,
)
from inverse_rlhf.params import Params, Parts, parse_params

TEXTS = ["You are a fool, please go.", "What a lovely, good map!", "the map and the list", "Please"]
PARTS = Parts(length_target=5, keyword="please")


def column(kind: str, texts: list[str], parts: Parts = PARTS) -> list[float]:
    """A named feature of texts."""
    return named_feature(kind, parts).transform(texts).toarray().ravel().tolist()


def test_text_features_by_hand() -> None:
    assert column("keyword", TEXTS) == [1, 0, 0, 1]
    lengths = column("length_target", ["", "one two three four five", "a b c d e f g h i j"])
    assert lengths == [-1, 0, -1]
    assert column("length", ["", "a b c"]) == [0, pytest.approx(np.log(4))]
    assert column("questions", ["Why?"]) == [10]
    sentiment = column("sentiment", TEXTS)
    assert sentiment[1] > 0.5 > 0 > sentiment[0]


def test_keyword_is_a_whole_word_in_any_case() -> None:
    assert column("keyword", ["PLEASE!", "pleased", "un-please", "displease", ""]) == [
        1,
        0,
        1,
        0,
        0,
    ]


@pytest.mark.parametrize("kind", TEXT_FEATURES)
def test_every_kind_is_restored_from_its_state(kind: str, params: Params) -> None:
    ngram = params.irl.ngram.model_copy(update={"min_texts": 1})
    feature = fit_feature(kind, TEXTS, ngram, PARTS)
    assert isinstance(feature, TextFeature)
    state = json.loads(json.dumps(feature.state()))
    assert state["kind"] == kind
    again, unseen = restore(state), [*TEXTS, "a fool of a map, unseen"]
    assert type(again) is type(feature)
    assert again.names == feature.names
    assert again.state() == feature.state()
    found = feature.transform(unseen)
    assert found.shape == (5, len(feature.names))
    assert found.dtype == np.float64
    np.testing.assert_allclose(again.transform(unseen).toarray(), found.toarray(), rtol=1e-12)


def test_named_kinds_have_one_column_and_need_no_texts() -> None:
    assert list(TEXT_FEATURES) == ["ngram", "objectives", *NAMED]
    assert list(NAMED) == ["length_target", "keyword", *OBJECTIVES]
    for kind in NAMED:
        assert named_feature(kind, PARTS).names == [kind]
    parts = Parts(length_target=2, keyword="map")
    features: list[TextFeature] = [
        named_feature(kind, parts) for kind in ("length_target", "keyword")
    ]
    found = stacked(features, ["a map", "one two three"]).toarray()
    np.testing.assert_allclose(found, [[0, 1], [-0.5, 0]])


def test_ngrams_that_are_too_rare_are_one_line(params: Params) -> None:
    ngram = params.irl.ngram.model_copy(update={"min_texts": 5})
    with pytest.raises(UserError, match=r"irl\.ngram: .*: lower min_texts"):
        NGrams.fit(TEXTS, ngram)
    for kind in NAMED:
        assert fit_feature(kind, TEXTS, ngram, PARTS).names == [kind]


def test_an_unknown_kind_is_never_taken_for_ngrams(params: Params) -> None:
    ngram = params.irl.ngram.model_copy(update={"min_texts": 5})
    with pytest.raises(KeyError, match="forgotten"):
        fit_feature("forgotten", TEXTS, ngram, PARTS)
    with pytest.raises(KeyError, match="ngram"):
        named_feature("ngram", PARTS)
    with pytest.raises(KeyError, match="objectives"):
        named_feature("objectives", PARTS)
    with pytest.raises(ValueError, match="forgotten is no text feature"):
        restore({"kind": "forgotten"})
    with pytest.raises(ValueError, match="forgotten is no objective"):
        restore({"kind": "objectives", "names": ["length", "forgotten"]})


def _with_features(raw_params: dict[str, Any], features: list[str]) -> dict[str, Any]:
    return raw_params | {"irl": raw_params["irl"] | {"features": features}}


def _with_part(raw_params: dict[str, Any], part: str) -> dict[str, Any]:
    true = raw_params["true_reward"]
    return raw_params | {"true_reward": true | {"weights": true["weights"] | {part: 2.0}}}


def test_a_new_kind_is_a_line_in_the_registry(
    raw_params: dict[str, Any], params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"^irl\.features\.0 is 'shout' in params\.yaml: it must"):
        parse_params(_with_features(raw_params, ["shout"]))
    with pytest.raises(UserError, match=r"true_reward\.weights\.shout"):
        parse_params(_with_part(raw_params, "shout"))
    shout = NamedKind(lambda text, _: sum(map(str.isupper, text)) / max(1, len(text)))
    monkeypatch.setitem(NAMED, "shout", shout)
    monkeypatch.setattr(text, "TEXT_FEATURES", ("ngram", "objectives", *NAMED))
    for kind in ("hidden_state", *text.TEXT_FEATURES):
        assert parse_params(_with_features(raw_params, [kind])).irl.features == [kind]
    both = ["hidden_state", "shout"]
    assert parse_params(_with_features(raw_params, both)).irl.features == both
    assert parse_params(_with_part(raw_params, "shout")).true_reward.planted["shout"] == 2.0
    feature = fit_feature("shout", TEXTS, params.irl.ngram, PARTS)
    assert restore(feature.state()).transform(["AAbb"]).toarray().tolist() == [[0.5]]


def test_an_unknown_kind_is_one_line_that_names_the_known_ones(raw_params: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        parse_params(_with_features(raw_params, ["ngram", "joy"]))
    known = "hidden_state, ngram, objectives, length_target, keyword, length or another of"
    assert str(caught.value) == (
        f"irl.features.1 is 'joy' in params.yaml: it must be {known} "
        "TEXT_FEATURES in features/text.py"
    )


def test_objectives_are_one_block_or_named_alone(params: Params) -> None:
    block = fit_feature("objectives", TEXTS, params.irl.ngram, PARTS)
    assert block.names == list(OBJECTIVES)
    side_by_side = stacked([named_feature(name, PARTS) for name in OBJECTIVES], TEXTS)
    np.testing.assert_array_equal(block.transform(TEXTS).toarray(), side_by_side.toarray())
