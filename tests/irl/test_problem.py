"""Every text is there once, pairs are found among them, and hopeless ones are refused."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl.problem import Problem, all_texts
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Bayes, Irl, Params


def test_pairs_are_rows_of_the_texts(
    pairs: pd.DataFrame, prompts: pd.DataFrame, reward_network: Model, irl: Irl, params: Params
) -> None:
    texts = all_texts(pairs, prompts)
    problem = Problem(texts, reward_network, irl, params.parts, params.compute, seed=0)
    for split, part in pairs.groupby("split"):
        aligned, base = problem.pairs(str(split)).T
        found = texts["text"].to_numpy()
        assert found[aligned].tolist() == (part["prompt"] + part["aligned_completion"]).tolist()
        assert found[base].tolist() == (part["prompt"] + part["base_completion"]).tolist()
    human = texts[texts["source"] == "human"]
    assert human["text"].tolist() == (prompts["prompt"] + prompts["human_completion"]).tolist()
    assert len(texts) == 3 * len(pairs)
    fitted = texts[texts["fitted"]]
    assert set(fitted["split"]) == {"irl"}
    assert fitted["source"].value_counts().to_dict() == {"base": 50, "aligned": 50}


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            lambda pairs: pairs.assign(base_completion=pairs["aligned_completion"]),
            {},
            "wrote the same",
        ),
        (
            lambda pairs: pairs,
            {"method": "bayes", "bayes": Bayes(prior_std=1.0, rounds=1000)},
            r"irl\.bayes\.rounds is 1000 for 50 pairs",
        ),
    ],
)
def test_what_cannot_be_fitted_is_one_line(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    settings: dict[str, Any],
    message: str,
    pairs: pd.DataFrame,
    fit_in: Callable[..., Any],
    short: Irl,
) -> None:
    changed = short.model_copy(update=settings)
    with pytest.raises(UserError, match=message):
        fit_in("runs", changed, change(pairs))
