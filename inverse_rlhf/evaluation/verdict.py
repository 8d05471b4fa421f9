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
    for_, against = (
        [
            f"{OBJECTIVES[row['name']].more} ({row['name']} {row['weight']:+.2f})"
            for row in found
            if (row["weight"] > 0) == positive
        ]
        for positive in (True, False)
    )
    parts = [f"towards {'; '.join(for_)}"] if for_ else []
    parts += [f"away from {'; '.join(against)}"] if against else []
    return f"The aligned side moved {', and '.join(parts)}."


def _told_apart(report: dict[str, Any]) -> str:
    told, counts = report["discrimination"], report["pairs"]
    own = told["objectives"]
    base = (
        f"the objectives tell the two sides apart in {_share(own)} of {counts['test']} held-out "
        "pairs"
    )
    above = own["low"] > 0.5
    if not above:
        other = {
            name: row for name, row in told.items() if name != "objectives" and row["low"] > 0.5
        }
        if other:
            name = max(other, key=lambda key: other[key]["value"])
            return (
                f"By themselves {base}, which is chance; "
                f"{_WORDS[name]} tell {_share(other[name])}: "
                "the sides differ in something that no objective names."
            )
        return f"In all, {base}, which is chance{_more_pairs(own)}."
    if own["value"] < 0.6:
        return f"Weak: {base}, hardly more than chance{_more_pairs(own)}."
    strength = "Clearly" if own["value"] >= 0.8 else "Partly"
    return f"{strength}: {base}."


def _beside_words(report: dict[str, Any]) -> list[str]:
    told = report["discrimination"]
    own = told["objectives"]["value"]
    if told["objectives"]["low"] <= 0.5:
        return []
    lines = []
    for name, row in told.items():
        if name == "objectives":
            continue
        if row["value"] > own + 0.02:
            more = f"{_WORDS[name].capitalize()} tell {row['value']:.0%}"
            lines.append(f"{more}: not all that differs is named.")
        elif name == "ngram":
            lines.append(f"{_WORDS[name].capitalize()} tell {row['value']:.0%}, no more than that.")
    return lines


def _beside_length(report: dict[str, Any]) -> list[str]:
    own, length = report["discrimination"]["objectives"], report["controls"]["length"]
    if own["low"] <= 0.5 or length["value"] < own["value"] - 0.02:
        return []
    side = "longer" if length["longer"] else "shorter"
    return [f'"The {side}" alone tells {length["value"]:.0%}: little is known beside length.']


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
