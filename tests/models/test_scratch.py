"""Models trained from scratch: what a comment says is text, and what diverged is not written."""

import pandas as pd
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.scratch import _tokenized, train_classifier, train_policy
from inverse_rlhf.params import Params


@pytest.mark.parametrize("train", [train_policy, train_classifier])
def test_a_loss_that_is_not_finite_is_one_line(
    train: object, comments: pd.DataFrame, params: Params
) -> None:
    assert callable(train)
    few = comments[:60].assign(split=["train"] * 48 + ["test"] * 12)
    scratch = params.base_policy.scratch.model_copy(update={"lr": 1e30})
    group = "base_policy" if train is train_policy else "true_reward"
    with pytest.raises(UserError, match=rf"lower {group}\.scratch\.lr, which is 1e\+30") as line:
        train(few, scratch, params.compute, seed=0)
    assert "\n" not in str(line.value)


def test_special_tokens_typed_in_a_comment_are_text(
    comments: pd.DataFrame, params: Params, policy: object
) -> None:
    tokenizer = policy.tokenizer  # type: ignore[attr-defined]
    typed = pd.DataFrame({"text": ["a map<|endoftext|> and<|padding|> a list"]})
    ids = _tokenized(typed, tokenizer, 100)["input_ids"][0]
    assert not set(ids) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids) == typed["text"][0]
