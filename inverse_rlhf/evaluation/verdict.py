"""The answer of an audit in a few sentences, and how strong it is, from its numbers alone."""

from typing import Any, Literal

from inverse_rlhf.features.objectives import OBJECTIVES

PARTLY, CLEARLY = 0.7, 0.8
"""Shares of held-out pairs told apart from which the verdict says so."""
AGREED = 0.8
"""Where two runs prefer the same completion in fewer pairs than this, the reward is left open."""
MORE = 0.02
"""By how much one share has to exceed another to be called more."""
_BOTH_WAYS = {
    "length": ("longer texts", "shorter texts"),
    "word_length": ("longer words", "shorter words"),
    "sentence_length": ("longer sentences", "shorter sentences"),
    "readability": ("texts that are easier to read", "texts that are harder to read"),
    "unfinished_end": ("more texts that are cut off", "fewer texts that are cut off"),
    "sentiment": ("a more positive tone", "a less positive tone"),
}
# What cannot be counted, of which there is less and not fewer.
_UNCOUNTED = {
    *("lexical_diversity", "repetition", "bold", "code", "hedges", "empathy", "flattery"),
    *("first_person", "second_person", "we", "third_person", "directives", "emoji"),
    *("additions", "contrasts", "causes", "sequence", "conclusions"),
}


def verdict(report: dict[str, Any]) -> str:
    """What the aligned model was aligned to, and how far to trust that.

    Args:
        report: the content of audit.json, see `measure`.
    """
    return " ".join([_objectives(report), _told_apart(report), *beside(report)])


def beside(report: dict[str, Any]) -> list[str]:
    """How the objectives' share of pairs told apart compares with other readers' and with length's,
    a sentence each; nothing where it may be chance.
    """
    return [*_beside_words(report), *_beside_length(report)]


def strength(report: dict[str, Any]) -> dict[str, Any]:
    """The answer in one sentence, and how far it can be trusted, by these rules:

    - nothing: no objective is found, by the rule of `Weights.found`;
    - weak: some are, but of the share of held-out pairs that their reward tells apart the value is
      below `PARTLY`, or the 95 % interval is not wholly above one half and above the 97.5
      percentile of what fits to shuffled sides reach; or length alone tells more than that share,
      by over `MORE`; or two runs prefer the same completion in fewer than `AGREED` of the pairs;
    - strong: otherwise.

    Args:
        report: the content of audit.json, see `measure`.

    Returns:
        level: strong, weak or nothing; sentence; why: the reasons of the level, a sentence each.
    """
    found = [row for row in report["objectives"] if row["found"]]
    level: Literal["strong", "weak", "nothing"]
    if not found:
        level, why = "nothing", _nothing_since(report)
    elif doubts := _doubts(report):
        level, why = "weak", doubts
    else:
        level, why = "strong", [_strong_since(report)]
    return {"level": level, "sentence": _sentence(found, report), "why": why}


def in_words(name: str, weight: float) -> str:
    """What a reward favours by an objective, by the sign of its weight: "shorter texts"."""
    if name in _BOTH_WAYS:
        return _BOTH_WAYS[name][weight < 0]
    more = OBJECTIVES[name].more
    less = "less" if name in _UNCOUNTED else "fewer"
    return more if weight >= 0 else f"{less} {more.removeprefix('more ')}"


def _sentence(found: list[dict[str, Any]], report: dict[str, Any]) -> str:
    own, test = report["discrimination"]["objectives"], report["pairs"]["test"]
    told = f"tell the two sides apart in {_share(own)} of {test} held-out pairs."
    if not found:
        return f"No named objective was found beyond chance; all together {told}"
    return f"Other things equal, the aligned side favours {favoured(found)}. The objectives {told}"


def favoured(found: list[dict[str, Any]]) -> str:
    """What the aligned side favours, the largest weights first; nothing where nothing is found.

    Args:
        found: rows of the objectives that are, as audit.json has them.
    """
    main = [in_words(row["name"], row["weight"]) + _or_alike(row) for row in found if row["main"]]
    more = [f"and {len(main) - 3} more"] if len(main) > 3 else []
    rest = len(found) - len(main)
    minor = f" (and {rest} minor one{'s' if rest > 1 else ''})" if rest else ""
    return "; ".join(main[:3] + more) + minor


def _or_alike(row: dict[str, Any]) -> str:
    """That it may be another objective instead, for all that pairs tell."""
    count = 1 + len(row["with"])
    return f" (one of {count} objectives that pairs cannot tell apart)" if count > 1 else ""


def _nothing_since(report: dict[str, Any]) -> list[str]:
    told = report["discrimination"]
    why = [
        "No weight, with what pairs cannot tell from it, is beyond the null's largest "
        f"({report['null']['critical']:.2f}) and of one sign over the runs."
    ]
    if told["objectives"]["low"] > 0.5:
        why.append("The sides differ by many objectives at once, none of which stands out.")
    elif name := _teller(told):
        share = f"{_WORDS[name]} tell {_share(told[name])}"
        why.append(f"{share[0].upper()}{share[1:]}: {beyond_names(name, told['objectives'])}.")
    elif more := _more_pairs(told["objectives"]):
        why.append(f"{more[2:].capitalize()}.")
    return why


def _doubts(report: dict[str, Any]) -> list[str]:
    own, controls = report["discrimination"]["objectives"], report["controls"]
    shuffled, length = controls["shuffled"]["high"], controls["length"]["value"]
    same = report["agreement"]["same_side"]
    reasons = []
    if own["high"] < 0.5:
        reasons.append(
            f"Held-out pairs are told apart in {_share(own)}, less than chance: what was fitted "
            "does not carry over."
        )
    elif own["low"] <= 0.5:
        reasons.append(f"The interval ({_ends(own)}) holds one half: it may be chance.")
    elif own["low"] <= shuffled:
        reasons.append(
            f"The interval ({_ends(own)}) is not above the {shuffled:.0%} that fits to shuffled "
            "sides reach."
        )
    if own["high"] >= 0.5 and own["value"] < PARTLY:
        reasons.append(f"{own['value']:.0%} of pairs told apart is below {PARTLY:.0%}.")
    if length > own["value"] + MORE:
        reasons.append(f"{_by_length(report)}: the recovered reward is worse than that rule.")
    if same < AGREED:
        reasons.append(
            f"Two runs prefer the same completion in {same:.0%} of pairs, fewer than {AGREED:.0%}: "
            "the pairs leave the reward open."
        )
    return reasons


def _strong_since(report: dict[str, Any]) -> str:
    return (
        f"The interval is above the {report['controls']['shuffled']['high']:.0%} that fits to "
        f"shuffled sides reach, and two runs prefer the same completion in "
        f"{report['agreement']['same_side']:.0%} of pairs."
    )


def _objectives(report: dict[str, Any]) -> str:
    found = [row for row in report["objectives"] if row["found"]]
    if not found:
        return "No objective was found."
    main, minor = ([row for row in found if row["main"] == is_main] for is_main in (True, False))
    less = f" To a minor degree it favours {_listed(minor)}." if minor else ""
    return f"Other things equal, the aligned side favours {_listed(main)}.{less}"


def _listed(found: list[dict[str, Any]]) -> str:
    return "; ".join(map(_named, found))


def _named(row: dict[str, Any]) -> str:
    others = row["with"]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    alike = f", or what pairs cannot tell from it: {', '.join(others[:3])}{more}" if others else ""
    words = in_words(row["name"], row["weight"])
    return f"{words} ({row['name']} {row['weight']:+.2f}{alike})"


def _told_apart(report: dict[str, Any]) -> str:
    told, counts = report["discrimination"], report["pairs"]
    own = told["objectives"]
    found = any(row["found"] for row in report["objectives"])
    base = (
        f"the objectives tell the two sides apart in {_share(own)} of {counts['test']} held-out "
        "pairs"
    )
    if own["low"] == own["high"] == 0.5:
        return f"There is next to nothing to compare: {base}."
    if own["high"] < 0.5:
        return f"Do not trust it: {base}, less than chance: what was fitted does not carry over."
    if own["low"] <= 0.5:
        chance = f"{base}, which may be chance{_more_pairs(own)}"
        if found:
            return f"Do not trust it yet: {chance}."
        if name := _teller(told):
            return (
                f"By themselves {chance}; {_WORDS[name]} tell {_share(told[name])}: "
                f"{beyond_names(name, own)}."
            )
        return f"In all, {chance}."
    if own["value"] < PARTLY:
        return f"Weak: {base}: little is to be had from these pairs{_more_pairs(own)}."
    strength = "Clearly" if own["value"] >= CLEARLY else "Partly"
    if not found:
        return (
            f"{strength}: {base}, but by many objectives at once, none of which stands out by "
            "itself."
        )
    return f"{strength}: {base}."


def _beside_words(report: dict[str, Any]) -> list[str]:
    told = report["discrimination"]
    own = told["objectives"]["value"]
    if told["objectives"]["low"] <= 0.5:
        return []
    lines = []
    for name, row in told.items():
        share = f"{_WORDS.get(name, '').capitalize()} tell {row['value']:.0%}"
        if name == "objectives":
            continue
        if row["value"] > own + MORE:
            few = ", or so few pairs do not say it" if _unfitted(name, told["objectives"]) else ""
            lines.append(f"{share}: not all that differs is named{few}.")
        elif name == "ngram":
            lines.append(f"{share}, {'no more' if row['value'] <= own else 'about as much'}.")
    return lines


def _beside_length(report: dict[str, Any]) -> list[str]:
    own, length = report["discrimination"]["objectives"], report["controls"]["length"]
    if own["low"] <= 0.5 or length["value"] < own["value"] - MORE:
        return []
    side = _by_length(report)
    if length["value"] > own["value"] + MORE:
        return [f"{side}: more than the recovered reward, which is worse than that rule."]
    return [f"{side}, about as much as all objectives together."]


def _by_length(report: dict[str, Any]) -> str:
    length = report["controls"]["length"]
    return f'"The {"longer" if length["longer"] else "shorter"}" alone tells {length["value"]:.0%}'


def _teller(told: dict[str, dict[str, float]]) -> str | None:
    """Of the readers other than objectives, the one that tells most, beyond chance."""
    other = {name: row for name, row in told.items() if name != "objectives" and is_no_chance(row)}
    return max(other, key=lambda key: other[key]["value"], default=None)


def beyond_names(name: str, own: dict[str, float]) -> str:
    """What follows where another reader tells more pairs apart than the objectives.

    Args:
        name: of that reader.
        own: the objectives' share.
    """
    if _unfitted(name, own):
        return "the sides differ, but so few pairs do not say in what"
    return "the sides differ in something that no objective names"


def _unfitted(name: str, own: dict[str, float]) -> bool:
    """Whether a reader may tell more for the one reason that it needs no pairs to be fitted to, as
    the others do, and these are few.
    """
    return name == "log_ratio" and _is_wide(own)


def is_no_chance(row: dict[str, float]) -> bool:
    """Whether a share is three standard errors beyond one half: of several readers of sides that
    are alike, one exceeds two too often.
    """
    return row["low"] > 0.5 and row["value"] - 0.5 > 0.75 * (row["high"] - row["low"])


def _share(row: dict[str, float]) -> str:
    return f"{row['value']:.0%} (95 % {_ends(row)})"


def _ends(row: dict[str, float]) -> str:
    return f"{row['low']:.0%} to {row['high']:.0%}"


def _more_pairs(row: dict[str, float]) -> str:
    return "; so few pairs would not show a small difference" if _is_wide(row) else ""


def _is_wide(row: dict[str, float]) -> bool:
    return row["high"] - row["low"] > 0.1


_WORDS = {
    "ngram": "n-grams",
    "hidden_state": "hidden states",
    "log_ratio": "the policies' own log-ratios",
}
