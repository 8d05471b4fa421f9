"""Cells as prompts and answers: nothing is lost, nothing is read in two ways."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverse_rlhf.data.dialogues import (
    ROLES,
    Cell,
    UnreadableError,
    answer_text,
    is_written_messages,
    led,
    messages_of,
    parted,
    prompt_text,
    read_cell,
)

ASSISTANT = ("assistant", "yes")
QUESTION = (("user", "Is it?"),)


def dialogue(*turns: str) -> str:
    roles = ("Human", "Assistant")
    return "".join(f"\n\n{roles[i % 2]}: {turn}" for i, turn in enumerate(turns))


def test_cells() -> None:
    assert read_cell(" a\n") == " a\n"
    assert read_cell("") == ""
    user = {"role": "user", "content": "Is it?", "name": None}
    parts = {"role": "user", "content": [{"type": "text", "text": "Is "}, {"text": "it?"}]}
    arrays = np.array([{"role": "user", "content": np.array(parts["content"], object)}], object)
    for messages in ([user], (user,), np.array([user], object), [parts], arrays):
        assert read_cell(messages) == QUESTION


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (None, "is null"),
        (float("nan"), "is null"),
        (5, "is 5, not a text or a list"),
        (np.int64(5), "is 5, not a text"),
        (True, "is True, not a text"),
        ({"text": "a"}, r"is \{'text': 'a'\}, not a text"),
        ([], "is a list without messages"),
        (["a"], "has a message with 'a': role and content are needed"),
        (
            [{"from": "human", "value": "a"}],
            "the keys 'from', 'value': role and content are needed",
        ),
        ([{"role": "gpt", "content": "a"}], "of role 'gpt': roles are system"),
        ([{"role": "user", "content": None}], "with content None, not a text"),
        ([{"role": "user", "content": [{"type": "image"}]}], "a part that is no text"),
        ("a\ud800", "is not valid UTF-8 at character 1"),
        ([{"role": "user", "content": "\udfff"}], "is not valid UTF-8 at character 0"),
    ],
)
def test_unreadable_cells(cell: Any, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        read_cell(cell)


def test_messages_written_as_texts() -> None:
    for text in (
        '[{"role": "user", "content": "Is it?"}]',
        " [ {'content' : 'a', 'role': 'user'}]",
    ):
        assert is_written_messages(text)
    assert messages_of('[{"role": "user", "content": "Is it?"}]') == QUESTION
    for text in ("[{'role': 'user'}]", '[{"role": "user", "content": 1}]', '[{"role"', "a", "[1]"):
        assert messages_of(text) == text


def test_prompts_and_answers_as_texts() -> None:
    assert prompt_text("a") == prompt_text((("user", "a"),)) == "a"
    assert prompt_text((("system", "s"), ("user", "a"))) == "system: s\n\nuser: a"
    assert answer_text((ASSISTANT, ("assistant", "and"))) == "yes\n\nand"
    with pytest.raises(UnreadableError, match="of role 'user' in an answer"):
        answer_text((ASSISTANT, ("user", "a")))


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(ROLES),
        st.text("\n :", max_size=3)
        | st.sampled_from(["\n\nuser: b", "a\n\n user: b", "a\n\n  user: b", "a", "a\n", "\n"]),
    ),
    min_size=2,
    max_size=3,
).map(tuple)


@given(MESSAGES, MESSAGES)
def test_different_dialogues_are_different_prompts(one: Cell, other: Cell) -> None:
    assert (prompt_text(one) == prompt_text(other)) == (one == other)


def test_answers_that_repeat_the_prompts_messages() -> None:
    assert led("Is it?", "yes") == led("Is it?", (ASSISTANT,)) == ("Is it?", "yes")
    for prompt in ("Is it?", QUESTION):
        assert led(prompt, (*QUESTION, ASSISTANT)) == ("Is it?", "yes")
    whole = (("system", "Be brief."), *QUESTION, ASSISTANT)
    assert led("Is it?", whole) == ("system: Be brief.\n\nuser: Is it?", "yes")
    with pytest.raises(
        UnreadableError, match=r"begins with .* 'user', 'Is it\?', and .* 'Was it\?'"
    ):
        led("Was it?", (*QUESTION, ASSISTANT))
    with pytest.raises(UnreadableError, match="ends in a message of role 'user'"):
        led("Is it?", QUESTION)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("The sky is blue.", "The sky is green.", ("The sky is", " blue.", " green.")),
        ("The sky is blue.", "The sky is black.", ("The sky is", " blue.", " black.")),
        ("The sky", "The sky is", ("The sky", "", " is")),
        ("The sky.\nYes", "The sky.\n\nNo", ("The sky.", "\nYes", "\n\nNo")),
        ("The sky is", "The skyline is", ("The", " sky is", " skyline is")),
        ("same", "same", None),
        (
            dialogue("hi", "I see", "so?", "I do"),
            dialogue("hi", "I see", "so?", "I don't"),
            (dialogue("hi", "I see", "so?") + "\n\nAssistant:", " I do", " I don't"),
        ),
        (dialogue("hi", "a", "b", "c"), dialogue("hi", "x", "y", "z"), None),
        (dialogue("hi", "a"), dialogue("hi", "a"), (dialogue("hi") + "\n\nAssistant:", " a", " a")),
        ((*QUESTION, ASSISTANT), (*QUESTION, ("assistant", "no")), ("Is it?", "yes", "no")),
        ((*QUESTION, ASSISTANT), (*QUESTION, ASSISTANT), ("Is it?", "yes", "yes")),
        ((*QUESTION, ASSISTANT), (("user", "b"), ASSISTANT), None),
    ],
)
def test_parting(one: Cell, other: Cell, expected: tuple[str, str, str] | None) -> None:
    assert parted(one, other) == expected


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("Yes.", "No.", "is 'Yes.', which shares no first word with its counterpart 'No.'"),
        ("The sky", "There", "shares no first word"),
        (" a", " b", "shares no first word"),
        ("", "b", "shares no first word"),
        ("a", (ASSISTANT,), "one a text, one messages"),
        ((ASSISTANT,), (ASSISTANT,), "has no message before the answer"),
        (dialogue("hi", "a"), dialogue("ho", "a"), "shares no 'Assistant:' turn"),
    ],
)
def test_what_cannot_be_parted(one: Cell, other: Cell, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        parted(one, other)


@given(st.text("ab \n", min_size=1), st.text("ab \n"), st.text("ab \n"))
def test_parts_joined_are_the_texts(lead: str, one: str, other: str) -> None:
    try:
        parts = parted(lead + one, lead + other)
    except UnreadableError:
        return
    if parts is None:
        assert one == other
        return
    prompt, *answers = parts
    assert [prompt + answer for answer in answers] == [lead + one, lead + other]
    assert not prompt[-1].isspace()
    assert all(not answer or answer[0].isspace() for answer in answers)
