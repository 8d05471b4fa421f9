"""What makes an audit's answer worth less than it seems, in plain words."""

from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.evaluation.pair_features import SIDES
from inverse_rlhf.evaluation.verdict import AGREED, MORE, beyond_names, is_no_chance
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.irl.found import L2_GRID

FEW = 100
"""Held-out pairs: with fewer, a share's interval is wider than a fifth."""
CEILING = 0.98
"""Share of pairs told apart from which the penalty alone bounds the weights."""
LARGE = 0.05
"""Share of pairs whose texts are equal, or empty, that is worth a word."""
FOREIGN = 0.2
"""Share of completions that seem to be in another language, that is worth a word."""
_ENGLISH = 15  # function words per 100; English prose has 25 to 60, other languages up to 24
_LETTERS = 60  # characters that are enough to tell
_OTHERS = {
    "ngram": "N-grams",
    "hidden_state": "Hidden states",
    "log_ratio": "The policies' own log-ratios",
}


def share_not_english(pairs: pd.DataFrame, values: dict[str, np.ndarray]) -> float:
    """The share of completions of some length with few English function words: in other languages,
    or code, or lists of words.

    Args:
        values: see `objective_values`.
    """
    column = list(OBJECTIVES).index("stopwords")
    rates = np.concatenate([values[side][:, column] for side in SIDES])
    texts = pd.concat([pairs[f"{side}_completion"] for side in SIDES])
    long = texts.str.len().to_numpy() >= _LETTERS
    return float((rates[long] < _ENGLISH).mean()) if long.any() else 0.0


def cautions(report: dict[str, Any]) -> list[str]:
    """What to be careful about, the gravest first; none where nothing stands out.

    Args:
        report: the content of audit.json, see `measure`; pairs with `not_english`, see
            `share_not_english`.
    """
    return [*_of_pairs(report["pairs"]), *_of_rewards(report), *_of_fit(report)]


def _of_pairs(counts: dict[str, Any]) -> list[str]:
    lines, every = [], counts["all"]
    apart, prompts = counts.get("left_out_prompts", 0), counts["prompts"]
    if apart >= LARGE * (apart + prompts):
        lines.append(
            f"{apart} of {apart + prompts} prompts are in one of the two files alone, and were "
            "left out: look whether the files answer the same prompts."
        )
    if counts["test"] < FEW:
        lines.append(
            f"Only {counts['test']} pairs are held out: intervals are wide, and a small difference "
            "would not show."
        )
    if both := counts.get("both_ways"):
        lines.append(
            f"{both} of the pairs are there the other way round, too: they contradict each other."
        )
    if twice := counts.get("twice"):
        lines.append(f"{twice} of the pairs repeat another, and count each time.")
    if counts["same"] >= LARGE * every:
        lines.append(
            f"Both sides wrote the same in {counts['same']} of {every} pairs, which tell nothing."
        )
    if max(counts["empty_base"], counts["empty_aligned"]) >= LARGE * every:
        lines.append(
            f"Empty completions: {counts['empty_base']} of the base, {counts['empty_aligned']} of "
            f"the aligned side, of {every}. They count as texts, the shortest there are."
        )
    if counts["not_english"] >= FOREIGN:
        lines.append(
            f"{counts['not_english']:.0%} of the completions have few English function words. Word "
            "lists, syllables and sentiment are of English: in other languages and in code only "
            "marks, layout and lengths mean what they say."
        )
    return lines


def _of_rewards(report: dict[str, Any]) -> list[str]:
    told, length = report["discrimination"], report["controls"]["length"]
    own = told["objectives"]["value"]
    lines = [
        f"{_OTHERS[name]} tell {row['value']:.0%} of the pairs apart, the objectives {own:.0%}: "
        f"{beyond_names(name, told['objectives'])}."
        for name, row in told.items()
        if name in _OTHERS and row["value"] > own + MORE and is_no_chance(row)
    ]
    if length["value"] >= max(own - MORE, 0.5 + MORE):
        side = "longer" if length["longer"] else "shorter"
        lines.append(
            f'"The {side}" alone tells {length["value"]:.0%} of the pairs apart, the objectives '
            f"{own:.0%}: what else they name adds little to it."
        )
    if told["objectives"]["value"] >= CEILING:
        lines.append(
            f"The sides are told apart almost always ({own:.0%}): the sizes of weights are then "
            "bounded by the penalty alone, and minor objectives may be missed."
        )
    if cut := report["explained"].get("hidden_state", {}).get("cut"):
        lines.append(f"{cut} completions are longer than audit.body reads, and were cut for it.")
    return lines


def _of_fit(report: dict[str, Any]) -> list[str]:
    lines, same = [], report["agreement"]["same_side"]
    if same < AGREED:
        lines.append(
            f"Two runs prefer the same completion in {same:.0%} of the pairs: these leave the "
            "reward partly open."
        )
    if report["l2"] >= max(L2_GRID):
        lines.append(
            f"The penalty is the largest that is tried ({report['l2']:g}): little of what is "
            "fitted carries over to other pairs."
        )
    if report["l2"] <= min(L2_GRID):
        lines.append(
            f"The penalty is the smallest that is tried ({report['l2']:g}): a smaller one would "
            "give larger weights. Compare their signs and order, and sizes within this audit only."
        )
    return lines
