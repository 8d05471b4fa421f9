"""Settings of the fits that do not go together are refused before any work."""

from typing import Any

import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import parse_params

WHITE_BOX = {"loss": "log_ratio", "solver": "exact"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainable": "all", "features": ["ngram"]}, "features ['ngram'] needs trainable: head"),
        ({"trainable": "all", "solver": "exact"}, "solver exact needs trainable: head"),
        ({"reward": 50}, "reward is run 50"),
        ({"features": ["ngram", "ngram"]}, "features names one kind twice"),
        ({"features": []}, "irl.features is []"),
        ({"loss": "log_ratio"}, "loss log_ratio needs solver: exact"),
        (WHITE_BOX | {"method": "bayes"}, "loss log_ratio needs method: standard"),
        (WHITE_BOX | {"l2": 0.0}, "loss log_ratio needs an l2 above 0"),
        ({"loss": "log_ratio", "trainable": "all"}, "loss log_ratio needs solver: exact"),
        ({"body": "none"}, "features name hidden_state, but body is none"),
        ({"body": "an/encoder", "trainable": "all"}, "trainable all needs body: base"),
        ({"body": "an/encoder", "trainable": "last_k"}, "trainable last_k needs body: base"),
        ({"body": "an/encoder", "blocks": 2}, "blocks 2 needs body: base"),
        ({"body": ""}, "irl.body is ''"),
        ({"threshold": "otsu"}, "irl.threshold in params.yaml is not a known key"),
    ],
)
def test_settings_that_do_not_fit_together(
    raw_params: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    content = raw_params | {"irl": raw_params["irl"] | changes}
    with pytest.raises(UserError) as caught:
        parse_params(content)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        WHITE_BOX,
        WHITE_BOX | {"features": ["ngram"], "body": "none"},
        {"body": "none", "features": ["ngram"], "blocks": 1},
        {"body": "an/encoder", "pooling": "mean", "features": ["hidden_state", "ngram"]},
    ],
    ids=str,
)
def test_settings_that_fit_together(raw_params: dict[str, Any], changes: dict[str, Any]) -> None:
    found = parse_params(raw_params | {"irl": raw_params["irl"] | changes}).irl
    assert found.model_dump(include=set(changes)) == changes
