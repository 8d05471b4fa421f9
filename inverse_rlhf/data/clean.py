"""What is left out of anyone's texts and comments, and how much of it there is."""

import unicodedata

import pandas as pd

# White space, line and page breaks, control and format characters such as the zero-width space,
# and marks, which show nothing without a character before them.
_UNSEEN = {"Zs", "Zl", "Zp", "Cc", "Cf", "Mn", "Me"}
# The blank of Braille, and letters of Hangul that hold a place.
_BLANK = {"\u2800", "\u115f", "\u1160", "\u3164", "\uffa0"}


def shows(text: str) -> bool:
    """Whether a text has a character that can be seen."""
    return any(
        unicodedata.category(character) not in _UNSEEN and character not in _BLANK
        for character in text
    )


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_damaged(text: str) -> bool:
    """Whether a text has characters that no comment has: halves of surrogate pairs, or NUL."""
    return "\0" in text or not is_unicode(text)


def distinct(comments: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """Each text once. One that has both labels is left out altogether: neither can be trusted.

    Args:
        comments: columns text and toxic.

    Returns:
        The first row of each text, in the same order, and the rows left out by kind:
        left_out_contradictory, left_out_repeated.
    """
    contradictory = comments.groupby("text")["toxic"].transform("nunique") > 1
    repeated = comments.duplicated("text") & ~contradictory
    counts = {
        "left_out_contradictory": int(contradictory.sum()),
        "left_out_repeated": int(repeated.sum()),
    }
    return comments[~(contradictory | repeated)].reset_index(drop=True), counts
