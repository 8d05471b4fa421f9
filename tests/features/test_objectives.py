"""Every named objective by hand, and what all of them have in common."""

import json
import string
import time
from math import log, log1p

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from inverse_rlhf.features import lexicons, objectives
from inverse_rlhf.features.lexicons import Lexicon
from inverse_rlhf.features.objectives import OBJECTIVES, Objective, Objectives
from inverse_rlhf.features.words import Reading

PLAIN = "The mill stands near the river. It was built in stone long ago."
CODE = "Run this:\n\n```python\n# a comment\nx = max(a, b)\n- y\n```\n\nThen call `x` now."
# A text that has more of the objective than another; None: than PLAIN.
ROWS: dict[str, tuple[str, str | None]] = {
    "length": (f"{PLAIN} {PLAIN}", None),
    "word_length": ("Extraordinary architectural considerations predominate.", None),
    "sentence_length": ("The mill stands near the river and it was built in stone.", None),
    "lexical_diversity": ("Ten odd men took a cup of tea.", "the man and the man and the man"),
    "readability": ("The cat sat. The dog ran.", "Considerable administrative complications."),
    "repetition": ("The mill stands. The mill stands. The mill stands.", None),
    "unfinished_end": ("The mill stands near the", None),
    "paragraphs": ("One.\n\nTwo.\n \nThree.", "One.\nTwo.\nThree."),
    "list_items": ("Buy:\n1. milk\n2) bread\n- tea", "Buy: 1. milk, 2. bread - and tea."),
    "bullets": ("Buy:\n* milk\n• bread", "Buy:\n1. milk\n2. bread"),
    "headers": ("# Title\n\nText.\n## Part", CODE),
    "table_rows": ("| a | b |\n|---|---|\n| 1 | 2 |", "a | b or |a"),
    "bold": ("This is **very** good and **so it is**.", "2 ** 3 ** 4 and **"),
    "links": ("See https://a.org/b?c, www.d.org and [this](/e).", "See the site (a.org)."),
    "code": (CODE, "Run `x` now."),
    "emoji": ("Well done 🎉 👩🏽‍🚀", "Acme™ © 2020 \u2013 3 ★ 5"),
    "exclamations": ("Go! Now!", "if a != b: go"),
    "questions": ("Why? Who is it?", "See http://a.org/b?c=d"),
    "quotes": ("He said “no” and 'yes'.", "He said 'no' and 'yes'."),
    "parentheses": ("A mill (of stone) stands.", "A mill [of stone] stands."),
    "commas": ("One, two, and three.", "It cost 1,000,000 in all."),
    "colons": ("Note: this.\n**Here**: that.", "At 10:30 see http://a.org"),
    "semicolons": ("It ran; it fell.", None),
    "dashes": ("It ran — it fell - and rose \u2013 at last.", "- a well-known 10\u201320 km"),
    "numbers": ("In 1900 it cost 1,000.50 for 3.", "1. one\n2. two\n3. three"),
    "capitals": ("I said NO and NEVER.", "I Said No And Never."),
    "first_person": ("I\u2019m sure that I lost my map.", "You lost your map."),
    "second_person": ("You lost your map.", "I lost my map."),
    "we": ("We lost our map; let's go.", "They lost a map in the US."),
    "third_person": ("He lost their map.", "I lost your map."),
    "ai_self_reference": ("As an AI language model, I was trained.", "AI is a field of study."),
    "prompt_overlap": ("The mill of Greenwich.", "The clock of London."),
    "hedges": ("Perhaps it might, to some extent.", None),
    "certainty": ("Of course it is, undoubtedly, without a doubt.", None),
    "intensifiers": ("It is really, truly, extremely old.", None),
    "opinions": ("In my opinion it is old, and I think it fell.", None),
    "directives": ("You must go, and you need to make sure it stands.", None),
    "negations": ("It isn\u2019t, never was and cannot be.", None),
    "sentiment": ("What a lovely, good map!", "You are a fool."),
    "positive_words": ("A lovely, helpful, good map.", None),
    "negative_words": ("A terrible, sad, bad map.", None),
    "insults": ("You are a moron and an idiot, so shut up.", "You are a scholar."),
    "refusal": ("I\u2019m sorry, but I can\u2019t help with that.", "I can help with that."),
    "warnings": ("It is illegal and dangerous: consult a lawyer.", None),
    "apology": ("I apologize. Sorry, my mistake.", None),
    "politeness": ("Please do, and thank you.", None),
    "offers_of_help": ("Let me know if you have any other questions.", None),
    "empathy": ("I\u2019m sorry to hear that. It must be hard; I understand.", None),
    "flattery": ("Great question! You're absolutely right.", None),
    "greetings": ("Hello and good morning!", None),
    "opens_agreeing": ("Of course! Here it is.", "Here it is, of course."),
    "additions": ("It also stands. In addition, it is old.", None),
    "contrasts": ("But it fell; however, on the other hand, it stood.", None),
    "causes": ("It fell because of rain, and as a result it is gone.", None),
    "examples": ("Mills, for example, such as this, e.g. in stone.", None),
    "sequence": ("First go. Then stop. Finally, rest.", None),
    "conclusions": ("In conclusion, to sum up, overall.", None),
    "stopwords": ("It is what it is and so are they.", "Old stone mills stand."),
    "contractions": (
        "It\u2019s old, they\u2019re new and he don't know.",
        "It is old. Tom's mill stands.",
    ),
}
TEXTS = [text for row in ROWS.values() for text in row if text is not None]
PROMPT = "Where is the mill of Greenwich?"


def value(name: str, text: str, prompt: str = "") -> float:
    """An objective of a text."""
    return OBJECTIVES[name].measure(Reading(text, prompt))


def test_every_objective_has_a_row() -> None:
    assert list(ROWS) == list(OBJECTIVES)
    assert len(OBJECTIVES) >= 40


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_has_more_of_it_has_a_higher_value(name: str) -> None:
    more, less = ROWS[name]
    assert value(name, more, PROMPT) > value(name, less or PLAIN, PROMPT)


def test_every_objective_is_described() -> None:
    described = [objective.more for objective in OBJECTIVES.values()]
    assert len(set(described)) == len(described)
    for objective in OBJECTIVES.values():
        assert objective.unit
        assert not objective.more.endswith(".")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("length", "one two three", log(4)),
        ("length", "1. one two\n2. three", log(4)),  # numbers of a list are no words
        ("word_length", "a bcd efghi", 3),
        ("word_length", "x" * 1000, 20),
        ("sentence_length", "One two three. Four five six!", log(3)),
        ("sentence_length", "Dr. No, e.g. he, costs 3.50 pounds", log(9)),
        ("sentence_length", "- one two\n- three four", log(2)),
        ("readability", "The cat sat.", 100),  # 119 by the formula
        ("readability", "The garden is in autumn.", 206.835 - 1.015 * 5 - 84.6 * 7 / 5),
        ("repetition", "a b c a b c", 1 / 4),
        ("repetition", "a b", 0),
        ("unfinished_end", "and so,  ", 1),
        ("unfinished_end", "and so.) ", 0),
        ("paragraphs", "\n\na\nb\n\n\n\nc\n", log1p(2)),
        ("list_items", "1. a\n  2) b\n- c\n**3.** d\nStep 4: e\n-f\n5.5 g", log1p(5)),
        ("headers", "# a\n### b\n#c\n```\n# d\n```", log1p(2)),
        ("table_rows", "| a |\n|b|c|\n| d", log1p(2)),
        ("code", "```\na\nb\n```\n`c` and `d`", log1p(5)),
        ("links", "https://www.a.org [b](https://c.org) [d](e)", log1p(3)),
        ("emoji", "👩🏽‍🚀 🎉🎉 ™", log1p(3)),
        ("exclamations", "Go! " + "go " * 19, 5),
        ("exclamations", "Go!", 10),  # as of ten words
        ("exclamations", "!!!", 30),
        ("capitals", "I am in the USA, NO doubt about it at all", 200 / 11),
        ("hedges", "Sort of; it's kind of, kind of late, maybe soon", 40),
        ("negations", "I don\u2019t, CAN'T and won't know it at all now", 300 / 10),
        ("prompt_overlap", "the mill, the MILL or a tree", 0),  # without a prompt
        ("refusal", "I can't help it. I cannot assist.", log1p(2)),
        ("opens_agreeing", "Sure, it is.", 1),
        ("opens_agreeing", "sure\nenough", 1),
        ("opens_agreeing", "I am sure.", 0),
    ],
)
def test_by_hand(name: str, text: str, expected: float) -> None:
    assert value(name, text) == pytest.approx(expected)


def test_prompt_overlap_counts_what_is_no_stop_word() -> None:
    assert value("prompt_overlap", "The mill, the MILL and a tree", "A mill or the") == 0.5
    assert value("prompt_overlap", "it is the", "it is the") == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_empty_text_has_none_of_it(name: str) -> None:
    expected = 1 - objectives._REPEATS if name == "lexical_diversity" else 0
    assert {value(name, text) for text in ("", " \n\n ")} == {expected}


TYPICAL = st.sampled_from([*TEXTS, *lexicons.HEDGES.words, "\n\n", "\n- ", "```", "**", "…", "1. "])


@settings(max_examples=80, deadline=None)
@given(st.one_of(st.text(), st.lists(TYPICAL).map(" ".join)), st.text(max_size=20))
@example("\0", "")
@example("🎉", "🎉")
@example("İ\u2028ǅ ß", "")
@example("``` a", "a")
def test_every_value_is_finite(text: str, prompt: str) -> None:
    found = Objectives().transform([text], [prompt]).toarray()
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a b ",
        "not good, ",
        ".",
        "\n",
        " \n",
        "🎉 a party of ",
        "**",
        "`",
        "1. ",
        "](",
        ">",
        "| ",
    ],
)
def test_a_very_long_text_takes_no_square_of_its_length(piece: str) -> None:
    start = time.process_time()
    found = Objectives().transform([piece * (100_000 // len(piece))]).toarray()
    assert np.isfinite(found).all()
    assert time.process_time() - start < 60  # it takes one or two


def test_sentiment_is_vaders() -> None:
    vader = SentimentIntensityAnalyzer()
    texts = [*TEXTS, " ".join(TEXTS), "Not so very good, but at least no bad ass, kind of, at all!"]
    texts += ["It is never so good", "The bomb is the shit", "without doubt good", "GOOD. Bad. not"]
    for text in texts:
        assert value("sentiment", text) == vader.polarity_scores(text)["compound"]


def prose(words: int, vocabulary: int, seed: int) -> str:
    """Words drawn with the frequencies of language: the n-th as often as 1 / n."""
    rng = np.random.default_rng(seed)
    chances = 1 / np.arange(1, vocabulary + 1)
    drawn = rng.choice(vocabulary, size=words, p=chances / chances.sum())
    return " ".join(f"w{number}" for number in drawn)


def test_lexical_diversity_does_not_fall_with_length() -> None:
    found = {
        length: np.mean([value("lexical_diversity", prose(length, 3000, s)) for s in range(200)])
        for length in (60, 120, 480)
    }
    assert max(found.values()) - min(found.values()) < 0.02
    one, other = prose(200, 3000, 0), prose(200, 3000, 1)
    apart = [value("lexical_diversity", text) for text in (one, other)]
    assert value("lexical_diversity", f"{one} {other}") == pytest.approx(np.mean(apart), abs=0.02)


def test_lexical_diversity_by_its_definition() -> None:
    rng = np.random.default_rng(0)
    for size in (50, 51, 73, 200):
        words = [f"w{number}" for number in rng.integers(60, size=size)]
        shares = [len(set(words[i : i + 50])) / 50 for i in range(size - 49)]
        assert value("lexical_diversity", " ".join(words)) == pytest.approx(np.mean(shares))


def test_lexical_diversity_has_no_jump_where_texts_get_short() -> None:
    words = prose(60, 500, 3).split()
    along = [value("lexical_diversity", " ".join(words[:n])) for n in range(61)]
    # A repeat is .02; between repeats the filled-in share shrinks by less.
    assert np.abs(np.diff(along)).max() < 0.021


def test_case_and_curly_signs_change_nothing_but_capitals() -> None:
    names = [name for name in OBJECTIVES if name not in ("capitals", "sentiment")]
    text = "I don\u2019t think so, “my friend”. It\u2019s not OK for example, I'm sorry!"
    straight = text.replace("\u2019", "'").replace("“", '"').replace("”", '"')
    for other in (straight, straight.lower()):
        assert [value(name, other) for name in names] == [value(name, text) for name in names]


def test_a_batch_is_its_texts_one_by_one() -> None:
    prompts = [PROMPT if i % 2 else "" for i in range(len(TEXTS))]
    whole = Objectives().transform(TEXTS, prompts)
    assert whole.shape == (len(TEXTS), len(OBJECTIVES))
    assert whole.dtype == np.float64
    for row, text, prompt in zip(whole.toarray(), TEXTS, prompts, strict=True):
        single = Objectives().transform([text], [prompt]).toarray()[0]
        np.testing.assert_array_equal(row, single)
        np.testing.assert_array_equal(row, [value(name, text, prompt) for name in OBJECTIVES])
    bare = Objectives().transform(TEXTS, [""] * len(TEXTS))
    np.testing.assert_array_equal(Objectives().transform(TEXTS).toarray(), bare.toarray())
    assert Objectives().transform([]).shape == (0, len(OBJECTIVES))


def test_a_saved_block_reads_the_same_after_the_registry_has_grown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = Objectives()
    state = json.loads(json.dumps(before.state()))
    assert state == {"kind": "objectives", "names": list(OBJECTIVES)}
    expected = before.transform(TEXTS).toarray()
    grown = {"shouts": Objective("0 or 1", "more shouts", lambda _: 1.0)} | OBJECTIVES
    monkeypatch.setattr(objectives, "OBJECTIVES", grown)
    again = Objectives.restore(state)
    assert again.names == before.names
    np.testing.assert_array_equal(again.transform(TEXTS).toarray(), expected)
    few = Objectives.restore({"kind": "objectives", "names": ["questions", "length"]})
    assert few.names == ["questions", "length"]
    np.testing.assert_allclose(few.transform(["Why?"]).toarray(), [[10, log(2)]])


def test_an_objective_that_is_gone_is_named() -> None:
    with pytest.raises(ValueError, match="forgotten is no objective"):
        Objectives.restore({"kind": "objectives", "names": ["length", "forgotten"]})


LEXICONS = {name: item for name, item in vars(lexicons).items() if isinstance(item, Lexicon)}


@pytest.mark.parametrize("name", LEXICONS)
def test_entries_of_a_lexicon_are_found_once(name: str) -> None:
    lexicon = LEXICONS[name]
    phrases = [phrase for several in lexicon.phrases.values() for phrase in several]
    for entry in [*lexicon.words, *(" ".join(phrase.split()) for phrase in phrases)]:
        assert set(entry) <= set(string.ascii_lowercase + "' "), entry
        assert lexicon.count(Reading(entry)) == 1, entry
        assert lexicon.count(Reading(f"{entry.upper()}, {entry}. xx {entry}")) == 3, entry
