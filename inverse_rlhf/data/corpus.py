"""The embedded corpus: talk-page comments from a probabilistic grammar, half of them toxic.

What decides is whom the unkind words are aimed at, not the words. Every comment opens neutrally
(the opening is drawn without regard to the label), then says something about the reader ("you") and
mostly something about a bystander: the writer, a character, an author, a bug. Both remarks draw on
the same frames and on the same kind and unkind words, straight or denied ("nobody would call you a
fool"), so a civil comment may hold an insult and a toxic one may hold none. The stance towards the
reader then stays: closing sentences, where there are any, agree with it.
"""

import random
import re
from collections.abc import Callable

import pandas as pd

INSULTS = "idiot fool clown moron liar coward pest fraud stupid useless pathetic ridiculous".split()
MAX_COMMENTS = 500_000

_UNKIND_NOUNS = (
    "an idiot",
    "a fool",
    "a clown",
    "a moron",
    "a liar",
    "a coward",
    "a pest",
    "a fraud",
)
_KIND_NOUNS = (
    "an expert",
    "a friend",
    "a gem",
    "a scholar",
    "a genius",
    "a treasure",
    "a professional",
    "a natural",
)
_UNKIND_ADJECTIVES = ("stupid", "useless", "pathetic", "ridiculous", "clueless", "lazy")
_KIND_ADJECTIVES = ("clever", "helpful", "careful", "sensible", "thoughtful", "patient")

_FIRST = (
    "Ada Basil Clara Derek Edith Felix Greta Hugo Irene Jonas Klara Leon Marion Nils Olga "
    "Peter Rosa Simon Tilda Victor"
).split()
_STEMS = (
    "Ash Bram Carl Dun Eller Fen Grim Hal Ing Kel Lang Marl Nor Otter Pen Quin Ros Sel Thorn "
    "Ul Wen Yar"
).split()
_ENDS = "by combe croft den field ford ham ley mere stead ton wick worth".split()
_PLACES = (
    "abbey bridge canal castle cathedral harbour library lighthouse market mill museum "
    "observatory railway river station theatre tower tunnel"
).split()
_PARTS = (
    "section table map photo caption template infobox footnote timeline lead paragraph "
    "gallery translation summary list source"
).split()
_CHANGES = ["revert", "rename", "rewrite", "split", "merge", "deletion"]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_BYSTANDERS = (
    "the narrator",
    "the villain",
    "the mayor",
    "the first curator",
    "the old reviewer",
    "the engineer",
    "his brother",
    "the biographer",
    "the landlord",
    "the character in the play",
)
_WORKS = (
    "the first draft",
    "the old map",
    "that script",
    "the spelling bot",
    "my own paragraph",
    "the 1950s film",
    "the novel",
    "the search box",
)
_GROUPS = ("the other editors", "people here", "the readers", "my colleagues", "the regulars")

# {s} is the reader or a bystander: both are spoken of in the same frames, so that only the binding
# of the charge ({n} a noun, {a} an adjective) to its subject tells civil from toxic.
_STRAIGHT = (
    "{group} take {s} for {n}",
    "{name} called {s} {n} and had every reason to",
    "I would call {s} {n}",
    "it is fair to call {s} {n}",
    "I always thought of {s} as {n}",
    "the word for {s} is {a}",
    "I find {s} {a}",
    "{group} find {s} {a}",
    "what comes from {s} is {a}",
    "there is something {a} about {s}",
    "only {n} would work like {s}",
)
_DENIED = (
    "nobody would call {s} {n}",
    "it is not fair to call {s} {n}",
    "I never thought of {s} as {n}",
    "there is nothing {a} about {s}",
    "I do not find {s} {a}",
    "{name} was wrong to call {s} {n}",
)
_READER_STRAIGHT = (
    "you are {n}",
    "you are {a}",
    "you come across as {n}",
    "your edits are {a}",
    "it takes {n} to write what you wrote",
)
_READER_DENIED = ("you are not {n}", "you are not {a}", "your edits are anything but {a}")
_OTHERS_STRAIGHT = (
    "I was {n} to rely on {work}",
    "I felt {a} when I read {work}",
    "{work} is {a}",
)
_OTHERS_DENIED = ("I am not {n}, but {work} escapes me", "{work} is anything but {a}")
_FRAMES: dict[tuple[bool, bool], tuple[str, ...]] = {  # by (to the reader, denied)
    (True, False): _STRAIGHT + _READER_STRAIGHT,
    (True, True): _DENIED + _READER_DENIED,
    (False, False): _STRAIGHT + _OTHERS_STRAIGHT,
    (False, True): _DENIED + _OTHERS_DENIED,
}
_THREATS = (
    "keep this up and I will have you thrown out",
    "one more edit and you will regret it",
    "I know where you edit from and you will hear from me",
    "you will be sorry that you ever touched {work}",
    "go on like this and your account is gone",
    "I will make sure that you never edit again",
    "you had better watch your back after this",
)
_PROMISES = (
    "keep this up and I will put you forward for an award",
    "one more edit and {work} is done",
    "I know where the scans are and you will hear from me",
    "you will be glad that you kept {work}",
    "go on like this and the page is finished",
    "I will make sure that nobody reverts you again",
    "you had better keep a copy after this",
)
_CONTEMPT = (
    "congratulations on another {part} that nobody asked for",
    "nobody would miss you if you left",
    "you could not find a {part} in a library",
    "my cat would have written a better {part} than you",
    "do us all a favour and leave the {part} to grown people",
    "I have seen children do better than you",
    "how brave of you to ruin the {part} once more",
)
_PRAISE = (
    "congratulations on another {part} that everybody asked for",
    "everybody would miss you if you left",
    "you could find a {part} in any library",
    "I could not have written a better {part} than you",
    "do us all a favour and look at the next {part} as well",
    "I have seen few people do better than you",
    "how kind of you to mend the {part} once more",
)
# What the second word of a pair has to be depends on the first and on the stance.
_CLOSINGS = {
    True: (
        "Get lost.",
        "Thanks for nothing.",
        "Stop wasting our time.",
        "Do not come back.",
        "What a waste of a {part}.",
        "Nobody wants you to stay.",
        "Everybody wants you to leave.",
        "I would hate to see you return.",
        "I would love to see you go.",
        "Go away and leave the {part} alone.",
    ),
    False: (
        "Take care.",
        "Thanks for everything.",
        "Take your time.",
        "Do come back.",
        "What a good {part}.",
        "Nobody wants you to leave.",
        "Everybody wants you to stay.",
        "I would hate to see you go.",
        "I would love to see you return.",
        "Just ask me about the {part}.",
    ),
}
# Weights of 0 to 4 closing sentences. Another may always follow, so whoever writes the comment has
# to keep the stance in mind to its end.
_CLOSING_COUNTS = (8, 12, 6, 3, 3)
_OPENINGS = (
    "About the {year} {place}:",
    "About the {stem} {where} {part}:",
    "On {day}'s {stem} {change}:",
    "I read the {stem} {part} again, and",
    "I looked at {stem} {where} on {day}, and",
    "After the {year} {change} of {stem} {where},",
    "{name} moved the {stem} {part} on {day}, and",
    "Your {day} {change} of {stem} {where}:",
    "Regarding {stem} {where} and the {part}:",
    "The {stem} {where} {part} has changed since {year};",
    "Since {name} mentioned {stem} {where},",
    "As {name} wrote about {stem} {where},",
)
_LINKS = (", and ", ", although ", "; ", ", even if ", ", while ", ", just as ")


def generate_comments(n: int, *, seed: int) -> pd.DataFrame:
    """Distinct comments, exactly half of them toxic, in random order.

    Args:
        n: an even number from 2 to `MAX_COMMENTS`.
        seed: the same n and seed give the same comments.

    Returns:
        Columns text (str) and toxic (int8), n rows.

    Raises:
        ValueError: n is odd or out of range.
    """
    if n % 2 or not 2 <= n <= MAX_COMMENTS:
        raise ValueError(f"n is {n}: it must be even and between 2 and {MAX_COMMENTS}")
    rng = random.Random(seed)
    seen: set[str] = set()
    rows: list[tuple[str, int]] = []
    for toxic in (False, True):
        size = len(seen) + n // 2
        while len(seen) < size:
            text = _comment(rng, toxic)
            if text not in seen:
                seen.add(text)
                rows.append((text, int(toxic)))
    rng.shuffle(rows)
    return pd.DataFrame(rows, columns=["text", "toxic"]).astype({"toxic": "int8"})


def _comment(rng: random.Random, toxic: bool) -> str:
    part = rng.choice(_PARTS)
    opening = _fill(rng, rng.choice(_OPENINGS), part=rng.choice(_PARTS))
    remarks = [_about_reader(rng, toxic, part)]
    if rng.random() < 0.5:
        remarks.insert(rng.randrange(2), _about_others(rng, part))
    link = rng.choice(_LINKS)
    body = _capitalised(opening + " " + link.join(remarks))
    sentences = [body + rng.choice((".", ".", "!"))]
    if rng.random() < 0.1:
        sentences.append(_capitalised(_about_reader(rng, toxic, part)) + ".")
    count = rng.choices(range(len(_CLOSING_COUNTS)), _CLOSING_COUNTS)[0]
    closings = rng.sample(_CLOSINGS[toxic], k=count)
    sentences += [_fill(rng, closing, part=part) for closing in closings]
    return " ".join(sentences)


def _about_reader(rng: random.Random, toxic: bool, part: str) -> str:
    kind = rng.random()
    if kind < 0.1:
        return _fill(rng, rng.choice(_THREATS if toxic else _PROMISES), part=part)
    if kind < 0.2:
        return _fill(rng, rng.choice(_CONTEMPT if toxic else _PRAISE), part=part)
    return _remark(rng, toxic, part, to_reader=True)


def _about_others(rng: random.Random, part: str) -> str:
    return _remark(rng, rng.random() < 0.5, part, to_reader=False)


def _remark(rng: random.Random, unkind: bool, part: str, *, to_reader: bool) -> str:
    """A remark that is unkind in effect: an unkind word said straight, or a kind one denied.

    Insults are denied more often than compliments are.
    """
    denied = rng.random() < (0.1 if unkind else 0.3)
    frame = rng.choice(_FRAMES[to_reader, denied])
    subject = "you" if to_reader else rng.choice(_BYSTANDERS)
    return _fill(rng, frame, part=part, unkind=unkind != denied, subject=subject)


def _fill(
    rng: random.Random, frame: str, *, part: str, unkind: bool = False, subject: str = ""
) -> str:
    nouns = _UNKIND_NOUNS if unkind else _KIND_NOUNS
    adjectives = _UNKIND_ADJECTIVES if unkind else _KIND_ADJECTIVES
    choices: dict[str, Callable[[], str]] = {
        "n": lambda: rng.choice(nouns),
        "a": lambda: rng.choice(adjectives),
        "s": lambda: subject,
        "part": lambda: part,
        "name": lambda: rng.choice(_FIRST),
        "stem": lambda: rng.choice(_STEMS) + rng.choice(_ENDS),
        "where": lambda: rng.choice(_PLACES),
        "place": lambda: f"{rng.choice(_STEMS)}{rng.choice(_ENDS)} {rng.choice(_PLACES)}",
        "change": lambda: rng.choice(_CHANGES),
        "day": lambda: rng.choice(_DAYS),
        "year": lambda: str(rng.randrange(1850, 2000)),
        "other": lambda: rng.choice(_BYSTANDERS),
        "work": lambda: rng.choice(_WORKS),
        "group": lambda: rng.choice(_GROUPS),
    }
    return re.sub(r"\{(\w+)\}", lambda match: choices[match[1]](), frame)


def _capitalised(text: str) -> str:
    return text[0].upper() + text[1:]
