"""Prompts beyond a policy's context are known before there is a policy, token by token."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.prompt_room import check_transfer, leave_out_long
from inverse_rlhf.models.reading import fits_context
from inverse_rlhf.params import NewTokens, Params, PolicyContext, Rollouts, ScratchTokens

LINK = "http://example.org/" + "/".join(f"a{n}-x{7 * n % 31}" for n in range(60))
RLHF, PAIRS = Rollouts(max_new_tokens=30, batch_size=4), NewTokens(max_new_tokens=48)


def prompts(*long: str, split: str = "irl") -> pd.DataFrame:
    """Four prompts of rl and ten of irl, and some that are long."""
    texts = [f"The word {n} is" for n in range(14)] + list(long)
    splits = ["rl"] * 4 + ["irl"] * 10 + [split] * len(long)
    return pd.DataFrame({"prompt_id": range(len(texts)), "prompt": texts, "split": splits})


def context(params: Params, **changes: Any) -> PolicyContext:
    scratch = ScratchTokens(vocab_size=512, max_tokens=params.base_policy.scratch.max_tokens)
    given = {"source": "scratch", "revision": None, "trust_remote_code": False, "scratch": scratch}
    return PolicyContext(**given | changes)


def test_a_policy_from_scratch(params: Params, comments: pd.DataFrame, policy: Model) -> None:
    fine = " ".join(["the"] * 40)  # more bytes than tokens are left, but not more tokens
    assert len(fine) > 128 - 48
    table = prompts(LINK, fine)
    kept, left_out = leave_out_long(table, comments, context(params), RLHF, PAIRS)
    assert left_out == 1
    assert kept["prompt"].tolist() == [*table["prompt"][:14], fine]
    assert kept["prompt_id"].tolist() == list(range(15))
    # The policy that is trained on these comments counts the same tokens.
    assert fits_context(table["prompt"].tolist(), policy, 48).sum() == 15


def test_each_split_by_its_own_completions(
    params: Params, comments: pd.DataFrame, policy: Model
) -> None:
    long = ["the " * n + "end" for n in range(120)]
    for split, new in (("rl", 30), ("irl", 48)):
        kept, _ = leave_out_long(
            prompts(*long, split=split), comments, context(params), RLHF, PAIRS
        )
        assert len(kept) == 14 + fits_context(long, policy, new).sum()
        assert 14 + 60 < len(kept) < 14 + 120


def test_a_policy_of_the_users(
    params: Params, comments: pd.DataFrame, policy_folder: Path, tmp_path: Path
) -> None:
    base = context(params, source=str(policy_folder))
    kept, left_out = leave_out_long(prompts(LINK), comments, base, RLHF, PAIRS)
    assert (len(kept), left_out) == (14, 1)
    with pytest.raises(UserError, match=r"^base_policy\.source: .* is not a folder"):
        leave_out_long(prompts(), comments, context(params, source=f"{tmp_path}/none"), RLHF, PAIRS)


def test_too_few_are_left(params: Params, comments: pd.DataFrame) -> None:
    table = prompts()
    table.loc[table["split"] == "irl", "prompt"] = [f"{LINK}{n}" for n in range(10)]
    with pytest.raises(
        UserError, match=r"of the 10 prompts of data\.splits\.irl, 0 leave room .* of 128 tokens"
    ):
        leave_out_long(table, comments, context(params), RLHF, PAIRS)
    few = Rollouts(max_new_tokens=30, batch_size=5)
    with pytest.raises(UserError, match=r"of the 4 prompts of data\.splits\.rl, 4 leave .* 5 are"):
        leave_out_long(prompts(), comments, context(params), few, PAIRS)


def test_transfer_prompts(params: Params, comments: pd.DataFrame) -> None:
    table = pd.DataFrame({"prompt_id": [0, 1], "prompt": ["one", LINK]})
    assert check_transfer(table, comments, context(params), PAIRS) == 1
    with pytest.raises(
        UserError, match=r"evaluate\.transfer_prompts: none of the 1 prompts leaves"
    ):
        check_transfer(table[1:], comments, context(params), PAIRS)
