"""Texts as tokens and back; batches of like length hold every text once."""

from functools import partial
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import (
    by_length,
    completion_texts,
    encode,
    ends_of_text,
    prompt_ids,
    text_ids,
)
from tests.foreign import TOKENIZERS, closing, sentencepiece, unigram, wordpiece

ORDINARY = ["About the map", " a list", "I read it. You\nsaid: caf\u00e9!", "the  weather ", ""]


def test_batches_hold_every_text_once_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=500)
    batches = list(by_length([[0] * length for length in lengths], batch_size=100))
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert max(map(len, batches)) <= 100
    read = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert read <= 1.15 * lengths.sum()
    assert [len(rows) for rows in by_length([[0]] * 5, batch_size=2)] == [2, 2, 1]


def test_ordinary_texts_have_the_tokenizers_own_tokens(policy: Model) -> None:
    tokenizers: list[Any] = [policy.tokenizer, *(make() for make in TOKENIZERS.values())]
    for tokenizer in tokenizers:
        assert text_ids(ORDINARY, tokenizer) == tokenizer(ORDINARY)["input_ids"]
    assert prompt_ids(ORDINARY, policy.tokenizer) == text_ids(ORDINARY, policy.tokenizer)
    assert text_ids([], policy.tokenizer) == []


@pytest.mark.parametrize("side", ["left", "right"])
def test_long_texts_are_cut_as_the_tokenizer_does_it(side: str) -> None:
    for make in TOKENIZERS.values():
        tokenizer = make()
        tokenizer.truncation_side = side
        found = text_ids(ORDINARY, tokenizer, limit=5)
        assert tokenizer.backend_tokenizer.truncation is None  # nothing that is saved with it
        cut = tokenizer(ORDINARY, truncation=True, max_length=5)["input_ids"]
        assert found == cut


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_prompt_ends_in_its_last_word(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    closes = kind != "sentencepiece"
    assert (tokenizer("a map")["input_ids"][-1] == tokenizer.eos_token_id) == closes
    rows = prompt_ids(["the weather", "a map"], tokenizer)
    assert [tokenizer.decode(row).split()[-1] for row in rows] == ["weather", "map"]
    assert [row[-1] in tokenizer.all_special_ids for row in rows] == [False, False]
    opening = tokenizer("a map")["input_ids"][0]
    assert [row[0] == opening for row in rows] == [kind != "unigram", True]


def test_one_token_of_beginning() -> None:
    tokenizer = sentencepiece()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        "<s> <s> $A", special_tokens=[("<s>", 1)]
    )
    assert tokenizer("a")["input_ids"][:2] == [1, 1]
    for rows in (prompt_ids(["a map", "<s>a"], tokenizer), text_ids(["a map", "<s>a"], tokenizer)):
        assert [row.count(1) for row in rows] == [1, 1]
        assert [row[0] for row in rows] == [1, 1]


def test_what_opens_a_text_may_be_the_unknown_token() -> None:
    """It knows no letter a."""
    words = Tokenizer(models.WordLevel({"[U]": 0, "the": 1, "map": 2, "[E]": 3}, unk_token="[U]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        "[U] $A [E]", special_tokens=[("[U]", 0), ("[E]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="[U]", eos_token="[E]", unk_token="[U]"
    )
    for given in (["the map", "a", "a a"], ["a"], ["a a map"]):
        assert text_ids(given, tokenizer) == tokenizer(given)["input_ids"]
        assert prompt_ids(given, tokenizer) == [row[:-1] for row in text_ids(given, tokenizer)]
    assert prompt_ids(["the map"], tokenizer) == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("make", "typed"),
    [
        (sentencepiece, "<s> is no tag, </s>, nor is <s>this"),
        (unigram, "a </s> and </s>"),
        (closing, "<|endoftext|>About<|endoftext|> the end<|endoftext|>"),
        (wordpiece, "a [sep] and [cls]"),
    ],
)
def test_special_tokens_that_are_typed_stay_text(make: Any, typed: str) -> None:
    tokenizer = make()
    opening = prompt_ids([""], tokenizer)[0]
    (row,) = prompt_ids([typed], tokenizer)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    if make is not closing:  # its unknown token is its end of text
        assert special.isdisjoint(row[len(opening) :])
    else:
        assert row.count(tokenizer.eos_token_id) == 1
    said = tokenizer.decode(row, skip_special_tokens=True)
    assert said.replace(" ", "") == typed.replace(" ", "")
    upper = typed.replace("[sep]", "[SEP]").replace("[cls]", "[CLS]")
    assert prompt_ids([upper], tokenizer) == [row]
    assert tokenizer(upper)["input_ids"] != row  # what it was before


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_no_blank_is_lost_or_added(kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    decode = partial(tokenizer.decode, skip_special_tokens=True)
    (ids,) = prompt_ids(["the weather is more pleasant; a fool"], tokenizer)
    whole = decode(ids)
    for cut in range(1, len(ids)):  # within words, too
        head, tail = ids[:cut], [*ids[cut:], tokenizer.eos_token_id]
        (said,) = completion_texts([decode(head)], [head], [tail], tokenizer)
        assert decode(head) + said == whole
    (head,) = prompt_ids(["The Weather"], tokenizer)
    (whole_ids,) = prompt_ids(["The Weather is more"], tokenizer)
    tail = whole_ids[len(head) :]
    assert completion_texts(["The Weather"], [head], [tail], tokenizer) == [" is more"]
    alone = "is more" if kind != "closing" else " is more"
    assert decode(tail) == alone  # what it was before


def test_a_blank_that_the_tokenizer_drops_is_not_doubled() -> None:
    for kind, expected in {"wordpiece": "is", "sentencepiece": " is"}.items():
        tokenizer = TOKENIZERS[kind]()
        (head,) = prompt_ids(["the weather "], tokenizer)
        tail = tokenizer("is", add_special_tokens=False)["input_ids"]
        assert completion_texts(["the weather "], [head], [tail], tokenizer) == [expected]


def test_letters_that_are_cut_or_completed() -> None:
    tokenizer = closing()
    (ids,) = prompt_ids(["a caf\u00e9"], tokenizer)
    assert completion_texts(["a"], [ids[:2]], [ids[2:-1]], tokenizer) == [" caf\ufffd"]
    assert completion_texts([""], [ids[:-1]], [ids[-1:]], tokenizer) == ["\ufffd"]


@pytest.mark.parametrize(
    ("own", "ends"), [(None, [0]), (0, [0]), (7, [0, 7]), ([9, 0], [0, 9]), ([5, 3], [0, 3, 5])]
)
def test_ends_of_text_are_all_that_there_are(policy: Model, own: Any, ends: list[int]) -> None:
    policy.module.generation_config.eos_token_id = own
    assert ends_of_text(policy) == ends


def test_texts_are_encoded_as_they_are(policy: Model) -> None:
    found = encode(["<|endoftext|> a map", "a map"], policy)
    typed, plain = found["input_ids"]
    assert policy.tokenizer.eos_token_id not in typed
    assert policy.tokenizer.decode(typed) == "<|endoftext|> a map"
    assert plain == policy.tokenizer("a map")["input_ids"]
    assert [len(row) for row in found["attention_mask"]] == [len(typed), len(plain)]
