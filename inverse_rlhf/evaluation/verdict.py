"""The answer of an audit in a few sentences, from its numbers alone."""

from typing import Any

from inverse_rlhf.features.objectives import OBJECTIVES


def verdict(report: dict[str, Any]) -> str:
    """What the aligned model was aligned to, and how far to trust that.

    Args:
        report: the content of audit.json, see `measure`.
    """
    return " ".join(
        [_objectives(report), _told_apart(report), *_beside_words(report), *_beside_length(report)]
    )


def _objectives(report: dict[str, Any]) -> str:
    found = [row for row in report["objectives"] if row["found"]]
    if not found:
        return "No objective was found."
    main, minor = ([row for row in found if row["main"] == is_main] for is_main in (True, False))
    less = f" Much less than that, it {_favours(minor)}." if minor else ""
    return f"Other things equal, the aligned side {_favours(main)}.{less}"


def _favours(found: list[dict[str, Any]]) -> str:
    for_, against = (
        [_named(row) for row in found if (row["weight"] > 0) == positive]
        for positive in (True, False)
    )
    parts = [f"favours {'; '.join(for_)}"] if for_ else []
    parts += [f"disfavours {'; '.join(against)}"] if against else []
    return ", and ".join(parts)


def _named(row: dict[str, Any]) -> str:
    others = row["with"]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    alike = f", or what pairs cannot tell from it: {', '.join(others[:3])}{more}" if others else ""
    return f"{OBJECTIVES[row['name']].more} ({row['name']} {row['weight']:+.2f}{alike})"


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
        other = {
            name: row for name, row in told.items() if name != "objectives" and _is_no_chance(row)
        }
        if other:
            name = max(other, key=lambda key: other[key]["value"])
            return (
                f"By themselves {chance}; {_WORDS[name]} tell {_share(other[name])}: "
                "the sides differ in something that no objective names."
            )
        return f"In all, {chance}."
    if own["value"] < 0.7:
        return f"Weak: {base}: little is to be had from these pairs{_more_pairs(own)}."
    strength = "Clearly" if own["value"] >= 0.8 else "Partly"
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
        if row["value"] > own + 0.02:
            lines.append(f"{share}: not all that differs is named.")
        elif name == "ngram":
            lines.append(f"{share}, {'no more' if row['value'] <= own else 'about as much'}.")
    return lines


def _beside_length(report: dict[str, Any]) -> list[str]:
    own, length = report["discrimination"]["objectives"], report["controls"]["length"]
    if own["low"] <= 0.5 or length["value"] < own["value"] - 0.02:
        return []
    side = f'"The {"longer" if length["longer"] else "shorter"}" alone tells {length["value"]:.0%}'
    if length["value"] > own["value"] + 0.02:
        return [f"{side}: more than the recovered reward, which is worse than that rule."]
    return [f"{side}, about as much as all objectives together."]


def _is_no_chance(row: dict[str, float]) -> bool:
    """Whether a share is three standard errors beyond one half: of several readers of sides that
    are alike, one exceeds two too often.
    """
    return row["low"] > 0.5 and row["value"] - 0.5 > 0.75 * (row["high"] - row["low"])


def _share(row: dict[str, float]) -> str:
    return f"{row['value']:.0%} (95 % {row['low']:.0%} to {row['high']:.0%})"


def _more_pairs(row: dict[str, float]) -> str:
    wide = row["high"] - row["low"] > 0.1
    return "; so few pairs would not show a small difference" if wide else ""


_WORDS = {
    "ngram": "n-grams",
    "hidden_state": "hidden states",
    "log_ratio": "the policies' own log-ratios",
}
