"""The answer of the closed loop: is the true reward recovered, and why one may say so."""

import math
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["strong", "weak", "nothing"]
STRONG = {"roc_auc": 0.8, "discrimination": 0.65}
"""Below these, a figure is weak however sure it is: half way or less from chance to certainty."""
HALF = math.sqrt(0.5)
"""The correlation whose square is one half: the order of texts is mostly shared from here on."""
FARTHEST = math.sqrt((1 - HALF) / 2)
"""The STARC distance of that correlation, .383, within prompts: half way, as an angle, from the
same reward (0) to an unrelated one (.707)."""
AGREED = 0.8
"""Runs whose labels agree with a kappa of this or less leave the reward open."""
CONTROLS = {
    "shuffled": "the same fit to pairs with shuffled sides",
    "random_head": "random weights on the same features",
    "length": "length alone",
    "base_loglik": "likelihood under the base policy alone",
}
_SIGNLESS = ("random_head", "length", "base_loglik")
Row = dict[str, float]


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        verdict: strong, weak or nothing, see `answer`.
        sentence: the answer with its interval.
        why: the reasons of the verdict, a sentence each.
    """

    verdict: Verdict
    sentence: str
    why: list[str]


def answer(rewards: dict[str, Any], *, low: str = "toxic") -> Answer:
    """Whether the true reward was recovered, and why one may say so.

    The figure is the ROC-AUC of the true reward's labels; where test completions all have one label
    it is the discrimination, which needs none. It is judged by the ends of 95 % intervals:

    - nothing: the figure's or the discrimination's interval is not wholly above the shuffled
      control's (above one half, where that control was not run);
    - weak: the figure's interval is not wholly above what each of the other controls reaches (in
      either direction: a control has no sign of its own; random weights also reach what half of
      them do, each turned to its better side); or the figure is below `STRONG`; or the runs' labels
      agree with a kappa of `AGREED` or less; or the STARC distance to the true reward is beyond
      `FARTHEST`; or no rank correlation within texts of one label has an interval above 0, or one
      is wholly below 0;
    - strong: otherwise. The sentence calls the order within labels recovered in part where such a
      correlation is below `HALF`.

    Where something was found, the sentence says how far the order of all texts is the true one.

    Args:
        rewards: the content of metrics/reward.json.
        low: what a text of low true reward is called.
    """
    told = figure_of(rewards["test"], "discrimination")
    auc = figure_of(rewards["test"], "roc_auc")
    name, figure = ("roc_auc", auc) if auc else ("discrimination", told)
    if figure is None or told is None:
        raise ValueError("there is no discrimination")
    told_apart = _said(name, figure, low)
    unfounded = [
        reason
        for measure, row in (("roc_auc", auc), ("discrimination", told))
        if row and (reason := _as_shuffled(measure, row, rewards["controls"]))
    ]
    if unfounded:
        return Answer("nothing", f"Nothing of the true reward was found: {told_apart}.", unfounded)
    said = "; ".join([told_apart, *_order(rewards["test"], low)])
    doubts = _doubts(name, figure, rewards, low)
    best, reach = _best_control(name, rewards["controls"])
    if doubts:
        return Answer("weak", f"The pairs give some of the true reward back: {said}.", doubts)
    above = "no control was run" if best is None else _reaches(best, reach)
    why = [f"The interval is above all controls': {above}."]
    if (kappa := rewards["agreement"].get("label_kappa")) is not None:
        why.append(f"{rewards['runs']} runs agree on labels with kappa {_number(kappa)}.")
    return Answer("strong", f"The pairs alone give back {_back(rewards['test'])}: {said}.", why)


def figure_of(table: dict[str, Row], measure: str) -> Row | None:
    """value, low and high of a measure: of one reward, or the median over runs; None: undefined."""
    row = table.get(measure, {})
    value = row.get("median", row.get("value"))
    if value is None or "low" not in row:
        return None
    return {"value": value, "low": row["low"], "high": row["high"]}


def _said(measure: str, row: Row, low: str) -> str:
    ends = f"95 % interval {_number(row['low'])} to {_number(row['high'])}"
    if measure == "roc_auc":
        return (
            f"of two test texts, one {low} by the true reward and one not, the recovered reward "
            f"ranks them rightly in {row['value']:.1%} of cases (ROC-AUC {_number(row['value'])}, "
            f"{ends})"
        )
    return (
        f"the recovered reward prefers the aligned completion in {row['value']:.1%} of test pairs "
        f"({ends}); test completions all have one label by the true reward, so there is no ROC-AUC"
    )


def _within(test: dict[str, Row]) -> dict[str, Row]:
    """Rank correlations with the true reward among texts of one label, where they are known."""
    rows = {key: figure_of(test, f"spearman_{key}") for key in ("toxic", "non_toxic")}
    return {key: row for key, row in rows.items() if row}


def _back(test: dict[str, Row]) -> str:
    """What is given back."""
    if all(row["value"] >= HALF for row in _within(test).values()):
        return "the true reward"
    if "roc_auc" not in test:
        return "in part the true reward's order"
    return "the true reward's labels, and in part its order among texts of one label"


def _order(test: dict[str, Row], low: str) -> list[str]:
    """How far the recovered reward orders texts as the true one does."""
    said = []
    if row := figure_of(test, "starc"):
        said.append(
            f"its values are at a STARC distance of {_ends(row)} from the true ones, where 0 is "
            "the same reward and 0.707 an unrelated one"
        )
    within = [
        f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}) among {_kinds(low)[key]}"
        for key, row in _within(test).items()
    ]
    if within:
        said.append(f"the rank correlation is {' and '.join(within)}")
    return said


def _kinds(low: str) -> dict[str, str]:
    return {"toxic": f"{low} texts", "non_toxic": "other texts"}


def _as_shuffled(measure: str, row: Row, controls: dict[str, dict[str, Row]]) -> str | None:
    """Why a figure says nothing, if it does."""
    name = _NAMES[measure]
    if row["high"] < 0.5:
        return f"{name} is {_ends(row)}, below one half: the reward is the wrong way round."
    control = figure_of(controls.get("shuffled", {}), measure)
    if control is None:
        return f"{name} is {_ends(row)}: it may be chance." if row["low"] <= 0.5 else None
    if row["low"] > control["high"]:
        return None
    return (
        f"{name} is {_ends(row)}, and {CONTROLS['shuffled']} reaches {_number(control['high'])}: "
        "what the labels of the sides add is not seen."
    )


def _doubts(measure: str, row: Row, rewards: dict[str, Any], low: str) -> list[str]:
    found = []
    best, reach = _best_control(measure, rewards["controls"])
    if best is not None and row["low"] <= reach:
        found.append(
            f"{_NAMES[measure]} is {_ends(row)}, which is not above {CONTROLS[best]}: "
            f"{_reaches(best, reach)}."
        )
    if row["value"] < STRONG[measure]:
        found.append(
            f"{_NAMES[measure]} is {_number(row['value'])}, below {STRONG[measure]:g}: above "
            "chance, but far from certain."
        )
    kappa = rewards["agreement"].get("label_kappa")
    if kappa is not None and kappa <= AGREED:
        found.append(
            f"{rewards['runs']} runs agree on labels with kappa {_number(kappa)} only: the "
            "pairs leave the reward open."
        )
    return [*found, *_doubts_of_order(rewards["test"], low)]


def _doubts_of_order(test: dict[str, Row], low: str) -> list[str]:
    found, within = [], _within(test)
    if (row := figure_of(test, "starc")) and row["value"] > FARTHEST:
        found.append(
            f"The STARC distance is {_ends(row)}, beyond {_number(FARTHEST)}: within prompts the "
            "two rewards share less than half of their variance."
        )
    reversed_in = [key for key, row in within.items() if row["high"] < 0]
    found += [
        f"Among {_kinds(low)[key]} it ranks the wrong way round: {_ends(within[key])}."
        for key in reversed_in
    ]
    if within and not reversed_in and all(row["low"] <= 0 for row in within.values()):
        found.append("Among texts of one label it ranks no better than chance.")
    return found


def _best_control(measure: str, controls: dict[str, dict[str, Row]]) -> tuple[str | None, float]:
    """The control of the furthest end of an interval from chance, and how far it reaches."""
    reached = {
        name: _reach(name, controls[name][measure])
        for name in CONTROLS
        if figure_of(controls.get(name, {}), measure)
    }
    best = max(reached, key=lambda name: reached[name], default=None)
    return best, reached[best] if best is not None else 0.5


def _reach(control: str, row: Row) -> float:
    """How far from chance a control's interval reaches.

    Of several of no sign the median is chance, however far each of them is: half of them are beyond
    their quartiles.
    """
    if control not in _SIGNLESS:
        return row["high"]
    lower, upper = row["low"], row["high"]
    if control == "random_head":
        lower, upper = min(lower, row.get("q25", lower)), max(upper, row.get("q75", upper))
    return max(upper, 1 - lower)


_NAMES = {"roc_auc": "The ROC-AUC", "discrimination": "The share of pairs told apart"}


def _reaches(control: str, reach: float) -> str:
    if control == "random_head":
        return (
            f"half of all {CONTROLS[control]}, each turned to its better side, reach "
            f"{_number(reach)} at the most"
        )
    return f"the best of them, {CONTROLS[control]}, reaches {_number(reach)}"


def _ends(row: Row) -> str:
    return f"{_number(row['value'])} ({_number(row['low'])} to {_number(row['high'])})"


def _number(value: float) -> str:
    return f"{value:.3f}"
