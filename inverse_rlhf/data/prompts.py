"""From comments to prompts: sampling, cutting, and splits that share no prompt text."""

import re

import numpy as np
import pandas as pd

from inverse_rlhf.data.clean import distinct, shows
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Data

HELD_OUT = ("valid", "test")


def sample_comments(comments: pd.DataFrame, params: Data, *, seed: int) -> pd.DataFrame:
    """Sample `data.comments` comments with `data.toxic_share` toxic ones, cut to `data.max_words`.

    Args:
        comments: columns text, toxic and maybe prompt; distinct texts.

    Returns:
        The same columns in random order; texts are distinct after the cut, too. The counts in
        `attrs["facts"]` grow by what is left out then; see `read_comments`.

    Raises:
        UserError: the source holds fewer comments than asked for.
    """
    facts = comments.attrs.get("facts", {})
    comments = comments.sample(frac=1, random_state=seed)
    comments = comments.assign(text=[_first_words(t, params.max_words) for t in comments["text"]])
    comments, counts = distinct(comments)
    wanted = params.comments
    if params.toxic_share is not None:
        sampled = _with_share(comments, params.toxic_share, wanted)
    elif wanted is not None and wanted > len(comments):
        raise _too_few("comments", wanted, len(comments))
    else:
        sampled = comments[: wanted or len(comments)]
    sampled.attrs["facts"] = facts | {key: facts.get(key, 0) + counts[key] for key in counts}
    return sampled


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
    """Share out the comments' prompts, given or their first words, to the splits.

    All comments of the same prompt go one way: the comments behind `valid` and `test` prompts are
    held out of every training; `rl` and `irl` prompts come from training comments.
    A comment gives a prompt where both the prompt and what follows it show something.

    Args:
        comments: columns text, toxic, and prompt where prompts are given; distinct texts.

    Returns:
        comments (comment_id, text, toxic, split: train, valid or test) and prompts (prompt_id,
        prompt, human_completion, toxic, split: rl, irl, valid or test), one prompt a distinct text.

    Raises:
        UserError: fewer distinct prompts than the splits need, or comments of one label only to
            train on or in the split test, on which classifiers are measured.
    """
    if params.prompt_column is None:
        cuts = [_cut(text, params.prompt_words) for text in comments["text"]]
    else:
        cuts = comments["prompt"].map(len).tolist()
    prompt = pd.Series([text[:cut] for text, cut in zip(comments["text"], cuts, strict=True)])
    rest = pd.Series([text[cut:] for text, cut in zip(comments["text"], cuts, strict=True)])
    candidates = comments.assign(prompt=prompt, human_completion=rest)[
        prompt.map(shows) & rest.map(shows)
    ]
    short = len(comments) - len(candidates)
    candidates = candidates.drop_duplicates("prompt").sample(frac=1, random_state=seed)
    sizes = {name: getattr(params.splits, name) for name in ("valid", "test", "rl", "irl")}
    needed = sum(sizes.values())
    if needed > len(candidates):
        kind, keys = f" of {params.prompt_words} words", "data.prompt_words or data.max_words"
        if params.prompt_column is not None:
            kind, keys = f" in column {params.prompt_column!r}", "data.max_words"
        raise UserError(
            f"data.splits need {needed} prompts, but the {len(comments)} comments give "
            f"{len(candidates)} distinct prompts{kind} ({short} comments "
            "have no word after it; words are what white space parts): lower data.splits, "
            f"or change {keys}"
        )
    prompts = candidates[:needed].copy()
    prompts["split"] = np.repeat(list(sizes), list(sizes.values()))
    prompts["prompt_id"] = np.arange(needed)
    held_out = prompts[prompts["split"].isin(HELD_OUT)].set_index("prompt")["split"]
    split = prompt.map(held_out).fillna("train").to_numpy()
    if params.label_column is not None:
        _need_both_labels(comments["toxic"][split == "train"], "to train on", "lower data.splits")
        _need_both_labels(
            comments["toxic"][split == "test"],
            "behind the prompts of data.splits.test",
            "raise it, or bring data.toxic_share nearer to 0.5",
        )
    return comments.assign(comment_id=np.arange(len(comments)), split=split), prompts


def _need_both_labels(toxic: "pd.Series[int]", what: str, advice: str) -> None:
    of_each = [int((toxic == label).sum()) for label in (1, 0)]
    if not all(of_each):
        raise UserError(
            f"of the {len(toxic)} comments {what}, {of_each[0]} are toxic and {of_each[1]} are "
            f"not, and some of both are needed: {advice}"
        )


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
