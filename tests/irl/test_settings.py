"""Settings of the fits that do not go together are refused before any work."""

from typing import Any

import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import parse_params


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainable": "all", "features": ["ngram"]}, "features ['ngram'] needs trainable: head"),
        ({"trainable": "all", "solver": "exact"}, "solver exact needs trainable: head"),
        ({"reward": 50}, "reward is run 50"),
        ({"features": ["ngram", "ngram"]}, "features names one kind twice"),
        ({"features": []}, "irl.features is []"),
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
