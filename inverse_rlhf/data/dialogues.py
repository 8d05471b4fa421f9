"""Cells of anyone's files as prompts and answers: texts, messages, whole dialogues."""

import json
import math
import re
from typing import Any

import numpy as np

from inverse_rlhf.data.read_file import named, shown

Message = tuple[str, str]
"""Role and content."""
Cell = str | tuple[Message, ...]

ROLES = ("system", "developer", "user", "assistant", "tool")
_MARK = "\n\nAssistant:"
_LIKE_A_ROLE = re.compile(rf"\n\n(?= *({'|'.join(ROLES)}): )")
_MESSAGES_AS_TEXT = re.compile(r"""\s*\[\s*\{\s*["'](role|content)["']\s*:""")


class UnreadableError(ValueError):
    """Says what is wrong with a cell; the table's reader adds where it is."""


def read_cell(value: Any) -> Cell:
    """A text as it is, or a list of messages {role, content}.

    A message's content is a text or a list of {type: "text", text}; its other keys do not count.

    Raises:
        UnreadableError: null, a number, anything else that is neither, or not valid UTF-8.
    """
    value = _plain(value)
    if is_null(value):
        raise UnreadableError("is null")
    if isinstance(value, str):
        return _valid(value)
    if not isinstance(value, list):
        raise UnreadableError(f"is {shown(value)}, not a text or a list of messages")
    if not value:
        raise UnreadableError("is a list without messages")
    return tuple(_message(message) for message in value)


def is_null(value: Any) -> bool:
    """Whether a cell is empty: None or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_written_messages(cell: Cell) -> bool:
    """Whether a text looks like a list of messages in JSON or Python."""
    return isinstance(cell, str) and _MESSAGES_AS_TEXT.match(cell) is not None


def messages_of(text: str) -> Cell:
    """A text that is a JSON list of messages as those, any other text as it is."""
    if is_written_messages(text):
        try:
            return read_cell(json.loads(text))
        except ValueError:
            return text
    return text


def prompt_text(prompt: Cell) -> str:
    """A prompt as one text.

    One user's message is its content, so that it is the same prompt as that text. Several are
    "role: content" each, with blank lines between; where a content has such a beginning itself, it
    moves by one blank, so that no two dialogues are one text.
    """
    if isinstance(prompt, str):
        return prompt
    if len(prompt) == 1 and prompt[0][0] == "user":
        return prompt[0][1]
    contents = [(role, _LIKE_A_ROLE.sub("\n\n ", content)) for role, content in prompt]
    return "\n\n".join(f"{role}: {content}" for role, content in contents)


def answer_text(answer: Cell) -> str:
    """An answer as one text: contents of the assistant's messages, with blank lines between.

    Raises:
        UnreadableError: another role's message is among them.
    """
    if isinstance(answer, str):
        return answer
    for role, _ in answer:
        if role != "assistant":
            raise UnreadableError(f"has a message of role {role!r} in an answer")
    return "\n\n".join(content for _, content in answer)


def led(prompt: Cell, answer: Cell) -> tuple[str, str]:
    """Prompt and answer as texts, where the answer's messages may repeat the prompt's.

    Raises:
        UnreadableError: the answer's messages begin with others than the prompt's.
    """
    text = prompt_text(prompt)
    if isinstance(answer, str):
        return text, answer
    lead, rest = _last_answer(answer)
    if not lead or prompt_text(lead) == text:
        return text, answer_text(rest)
    if isinstance(prompt, str) and lead[-1][1] == prompt:
        return prompt_text(lead), answer_text(rest)
    raise UnreadableError(
        f"begins with a message of role {lead[0][0]!r}, {shown(lead[0][1])}, "
        f"and its prompt is {shown(text)}"
    )


def parted(one: Cell, other: Cell) -> tuple[str, str, str] | None:
    """Prompt and answers of two whole dialogues or texts that share their beginning.

    - Messages: the prompt is all before the assistant's last ones.
    - "\\n\\nHuman: ...\\n\\nAssistant: ...": the prompt ends in the last shared "Assistant:".
    - Other texts: the prompt is the longest shared beginning of whole words; the blank after it
      begins the answers, so prompt and answer joined are the text.

    Returns:
        None where it cannot be known what the answers are: dialogues that part before their last
        turn, and equal texts.

    Raises:
        UnreadableError: a text beside messages, no shared beginning, or messages without a prompt
            or an answer.
    """
    if isinstance(one, str) != isinstance(other, str):
        raise UnreadableError("is of another kind than its counterpart: one a text, one messages")
    if not isinstance(one, str) and not isinstance(other, str):
        (lead, answer), (other_lead, other_answer) = _last_answer(one), _last_answer(other)
        if not lead or not other_lead:
            raise UnreadableError("has no message before the answer, so there is no prompt")
        if lead != other_lead:
            return None
        return prompt_text(lead), answer_text(answer), answer_text(other_answer)
    assert isinstance(one, str)
    assert isinstance(other, str)
    shared = _shared(one, other)
    if is_dialogue(one) and is_dialogue(other):
        end = one.rfind(_MARK, 0, shared) + len(_MARK)
        if end < len(_MARK):
            raise UnreadableError("shares no 'Assistant:' turn with its counterpart")
        if "\n\nHuman:" in one[end:] + other[end:]:
            return None
    elif one == other:
        return None
    else:
        end = _word_end(one, other, shared)
        if end == 0:
            raise UnreadableError(
                f"is {shown(one)}, which shares no first word with its counterpart {shown(other)}, "
                "so there is no prompt in them: set columns.prompt (--column prompt=NAME) if a "
                "column has it"
            )
    return one[:end], one[end:], other[end:]


def is_dialogue(text: Cell) -> bool:
    """Whether a text is a dialogue as in hh-rlhf."""
    return isinstance(text, str) and text.startswith("\n\nHuman:") and _MARK in text


def _shared(one: str, other: str) -> int:
    """Length of the shared beginning, in characters."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _word_end(one: str, other: str, shared: int) -> int:
    """The last place, `shared` at most, where a word ends in both texts; 0 if there is none."""
    for end in range(shared, 0, -1):
        ends = all(end == len(text) or text[end].isspace() for text in (one, other))
        if ends and not one[end - 1].isspace():
            return end
    return 0


def _last_answer(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """All before the assistant's messages at the end, and those."""
    start = len(messages)
    while start and messages[start - 1][0] == "assistant":
        start -= 1
    if start == len(messages):
        raise UnreadableError(f"ends in a message of role {messages[-1][0]!r}, not in an answer")
    return messages[:start], messages[start:]


def _message(message: Any) -> Message:
    if not isinstance(message, dict) or not {"role", "content"} <= set(message):
        has = f"the keys {named(message)}" if isinstance(message, dict) else shown(message)
        raise UnreadableError(f"has a message with {has}: role and content are needed")
    role, content = message["role"], _plain(message["content"])
    if role not in ROLES:
        raise UnreadableError(f"has a message of role {shown(role)}: roles are {', '.join(ROLES)}")
    if isinstance(content, list):
        for part in content:
            if not isinstance(part, dict) or not isinstance(part.get("text"), str):
                raise UnreadableError(f"has a message with a part that is no text: {shown(part)}")
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise UnreadableError(f"has a message with content {shown(content)}, not a text")
    return role, _valid(content)


def _valid(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnreadableError(f"is not valid UTF-8 at character {error.start}") from None
    return text


def _plain(value: Any) -> Any:
    """Arrays, as Parquet files give them, as lists."""
    return list(value) if isinstance(value, np.ndarray | tuple) else value
