"""From comments to prompts: sampling, cutting, and splits that share no prompt text."""

import re

import numpy as np
import pandas as pd

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Data

HELD_OUT = ("valid", "test")


def sample_comments(comments: pd.DataFrame, params: Data, *, seed: int) -> pd.DataFrame:
    """Sample `data.comments` comments with `data.toxic_share` toxic ones, cut to `data.max_words`.

    Args:
        comments: columns text, toxic; distinct texts.

    Returns:
        The same columns in random order; texts are distinct after the cut, too.

    Raises:
        UserError: the source holds fewer comments than asked for.
    """
    comments = comments.sample(frac=1, random_state=seed)
    comments = comments.assign(text=[_first_words(t, params.max_words) for t in comments["text"]])
    comments = comments.drop_duplicates("text", ignore_index=True)
    wanted = params.comments
    if params.toxic_share is None:
        if wanted is not None and wanted > len(comments):
            raise _too_few("comments", wanted, len(comments))
        return comments[: wanted or len(comments)]
    return _with_share(comments, params.toxic_share, wanted)


def _with_share(comments: pd.DataFrame, share: float, wanted: int | None) -> pd.DataFrame:
    toxic = comments["toxic"] == 1
    available = int(min(toxic.sum() / share, (~toxic).sum() / (1 - share)))
    size = wanted or available
    n_toxic = round(size * share)
    rank = comments.groupby("toxic").cumcount()
    chosen = comments[rank < np.where(toxic, n_toxic, size - n_toxic)]
    if len(chosen) < size:
        raise _too_few(f"comments of which {share:.0%} are toxic", size, available)
    return chosen.reset_index(drop=True)


def _too_few(what: str, wanted: int, available: int) -> UserError:
    return UserError(
        f"data.comments is {wanted}, but the source holds {available} distinct {what}: "
        "lower data.comments or change data.toxic_share"
    )


def split_prompts(
    comments: pd.DataFrame, params: Data, *, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make prompts of the comments' first words and share them out to the splits.

    All comments that begin with the same prompt go one way: the comments behind `valid` and `test`
    prompts are held out of every training; `rl` and `irl` prompts come from training comments.

    Args:
        comments: columns text, toxic; distinct texts.

    Returns:
        comments (comment_id, text, toxic, split: train, valid or test) and prompts (prompt_id,
        prompt, human_completion, toxic, split: rl, irl, valid or test), one prompt a distinct text.

    Raises:
        UserError: fewer distinct prompts than the splits need, or nothing left to train on.
    """
    cuts = [_cut(text, params.prompt_words) for text in comments["text"]]
    prompt = pd.Series([text[:cut] for text, cut in zip(comments["text"], cuts, strict=True)])
    rest = pd.Series([text[cut:] for text, cut in zip(comments["text"], cuts, strict=True)])
    candidates = comments.assign(prompt=prompt, human_completion=rest)[rest.str.strip() != ""]
    candidates = candidates.drop_duplicates("prompt").sample(frac=1, random_state=seed)
    sizes = {name: getattr(params.splits, name) for name in ("valid", "test", "rl", "irl")}
    needed = sum(sizes.values())
    if needed > len(candidates):
        raise UserError(
            f"data.splits need {needed} prompts, but the comments give {len(candidates)} distinct "
            f"prompts of {params.prompt_words} words: lower data.splits or raise data.prompt_words"
        )
    prompts = candidates[:needed].copy()
    prompts["split"] = np.repeat(list(sizes), list(sizes.values()))
    prompts["prompt_id"] = np.arange(needed)
    held_out = prompts[prompts["split"].isin(HELD_OUT)].set_index("prompt")["split"]
    split = prompt.map(held_out).fillna("train").to_numpy()
    if (split == "train").sum() < 2 or comments["toxic"][split == "train"].nunique() < 2:
        raise UserError("data.splits leave no comments of both labels to train on: lower them")
    return comments.assign(comment_id=np.arange(len(comments)), split=split), prompts


def _cut(text: str, words: int) -> int:
    """Where the first `words` words of `text` end, in characters."""
    end = 0
    for index, match in enumerate(re.finditer(r"\S+", text), start=1):
        end = match.end()
        if index == words:
            break
    return end


def _first_words(text: str, words: int) -> str:
    return text[: _cut(text, words)]
