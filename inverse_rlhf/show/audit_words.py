"""The sentences that an audit's reports have in common, as Markdown and as a page."""

from typing import Any

from inverse_rlhf.features.objectives import OBJECTIVES

LEVELS = {"strong": "Strong evidence", "weak": "Weak evidence", "nothing": "Nothing found"}
READERS = {
    "objectives": "named objectives",
    "ngram": "n-grams",
    "hidden_state": "hidden states",
    "log_ratio": "log π_aligned / π_base",
    "shuffled": "control: shuffled sides",
    "random_head": "control: random weights",
    "length": "control: length",
}
WEIGHT = (
    "A weight: nats of log π_aligned / π_base for one standard deviation of the objective; under "
    "KL-regularised RLHF, of the reward over its KL coefficient."
)
MINOR = "Minor: below a third of the largest, as side effects of training often are."
EXPLAINED = "R²: the share of another reward's squared margins that the objectives give."
EXAMPLES = "Test pairs told apart by one objective more than by others."
NO_CAUTIONS = "None of what this report checks for."
ENGLISH = (
    "Word lists, syllables and sentiment are of English: in other languages only marks, layout and "
    "lengths mean what they say."
)


def found_rule(report: dict[str, Any]) -> str:
    """When an objective is found."""
    return (
        "Found: together with what pairs cannot tell from it, beyond the null's largest weight "
        f"({report['null']['critical']:.2f}), and of one sign over the runs."
    )


def none_found(report: dict[str, Any]) -> str:
    """What is said in place of a table."""
    critical = report["null"]["critical"]
    return f"None: no weight, with what pairs cannot tell from it, exceeds {critical:.2f}."


def together(report: dict[str, Any]) -> list[str]:
    """The found objectives that pairs cannot tell from others, a sentence each."""
    return [
        f"{row['name']} cannot be told from {', '.join(row['with'])} by these pairs: the weight "
        "may be that of any of them."
        for row in report["objectives"]
        if row["found"] and row["with"]
    ]


def unit(name: str) -> str:
    """The unit of an objective's values."""
    return OBJECTIVES[name].unit


def told_rule(report: dict[str, Any]) -> str:
    """What a share of pairs told apart is."""
    return (
        f"Share of the {report['pairs']['test']} pairs of test prompts in which the aligned "
        "completion has the higher reward; one half is chance."
    )


def slices(report: dict[str, Any]) -> str:
    """How the audits of categories were made."""
    line = "Each fitted by itself, at the level over the number of categories."
    inside, every = sum(row["pairs"] for row in report["slices"].values()), report["pairs"]["all"]
    if inside == every:
        return line
    return (
        f"{line} They hold {inside} of {every} pairs: the others are of none, or of a category "
        "with too few (audit.slice_pairs)."
    )


def agreement(report: dict[str, Any]) -> str:
    """How far runs agree."""
    found = report["agreement"]
    line = f"Two runs prefer the same completion in {found['same_side']:.0%} of pairs"
    if "spearman" in found:
        line += (
            f"; rank correlation of their margins {found['spearman']:.2f} (median), "
            f"{found['spearman_min']:.2f} (lowest)"
        )
    return line + "."


def judgement(judged: dict[str, Any]) -> str:
    """What a judgement of the same pairs says."""
    wins, right = judged["aligned_wins"], judged["accuracy"]
    return (
        f"In {judged['pairs']} judged test pairs the aligned completion is the better one in "
        f"{wins['value']:.0%} ({wins['low']:.0%} to {wins['high']:.0%}); the recovered reward "
        f"prefers the better one in {right['value']:.0%} ({right['low']:.0%} to "
        f"{right['high']:.0%}). The judgement was read after everything else."
    )


def made(report: dict[str, Any]) -> list[str]:
    """What was read, what was left out, and what was chosen by what."""
    counts = report["pairs"]
    return [
        f"{counts['all']} pairs of {counts['prompts']} prompts ({counts['irl']} fitted on, "
        f"{counts['valid']} for choices, {counts['test']} reported); both sides wrote the same in "
        f"{counts['same']}; empty completions: base {counts['empty_base']}, aligned "
        f"{counts['empty_aligned']}. Null of {report['null']['runs']} runs, l2 {report['l2']:g}. "
        "The penalty is chosen on both of the first two.",
        ENGLISH,
        *_left_out(counts),
    ]


def _left_out(counts: dict[str, Any]) -> list[str]:
    words = {
        "left_out_prompts": "prompts that only one file has",
        "left_out_rows": "rows of other splits",
        "left_out_undivided": "rows whose answers cannot be told from their prompt",
        "left_out_repeated": "repeated prompts",
        "left_out_long": "prompts too long for a context",
    }
    lines = [f"Left out: {counts[key]} {what}." for key, what in words.items() if counts.get(key)]
    if counts.get("log_ratio", "measured") != "measured":
        lines.append(f"No log-ratio of the policies: {counts['log_ratio']}.")
    return lines
