"""The report as Markdown: whatever an answer holds stays in its line and shows as it is."""

import re
from typing import Any

import pandas as pd
import pytest

from inverse_rlhf.show.audit_report import markdown

NASTY = [
    "one | two || three",
    "# A title\n## Another\n\n- item\n1. first\n> quote",
    "```python\nprint('a|b')\n```\n`inline`",
    "<b>bold</b> <script>alert(1)</script> &lt;i&gt; <!-- gone -->",
    "**bold** _it_ ~~gone~~ $x_1$ \\| \\<",
    "[link](http://example.org) ![image](x.png) [x]: y",
    "line\u2028separator\u0085next\x0bfeed\x0cform\r\nwindows\ttab",
    "",
    " \n ",
]
MARKS = re.compile(r"(?<!\\)(?:\\\\)*[`*_\[\]<>#|&~$]")


def row(name: str, weight: float, *, found: bool, **more: Any) -> dict[str, Any]:
    made = {"name": name, "weight": weight, "low": weight - 0.1, "high": weight + 0.1}
    return made | {"marginal": 0.75, "less": 0.2, "found": found, "main": found, "with": []} | more


def told(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


@pytest.fixture
def report() -> dict[str, Any]:
    return {
        "verdict": "The aligned side moved.",
        "strength": {"level": "weak", "sentence": "It favours noise.", "why": ["One.", "Two."]},
        "cautions": ["Few pairs.", "An odd file."],
        "objectives": [
            row("exclamations", 1.25, found=True, **{"with": ["emoji", "capitals"]}),
            row("hedges", -0.5, found=True),
            row("commas", 0.25, found=False),
        ],
        "discrimination": {"objectives": told(0.875), "ngram": told(0.8), "log_ratio": told(0.9)},
        "controls": {
            "shuffled": told(0.5),
            "random_head": told(0.51),
            "length": told(0.6) | {"longer": True},
        },
        "explained": {"ngram": {"l2": 0.1, "r2": 0.625}, "log_ratio": {"r2": 0.25}},
        "null": {"critical": 0.375, "runs": 200, "percentile_95": 0.3},
        "agreement": {"same_side": 0.9, "spearman": 0.8, "spearman_min": 0.7},
        "judgement": {"pairs": 70, "aligned_wins": told(0.65), "accuracy": told(0.55)},
        "slices": {
            "a|b": {
                "pairs": 120,
                "discrimination": told(0.75),
                "found": [{"name": "hedges", "weight": -0.5}],
            },
            "c": {"pairs": 110, "discrimination": told(0.5), "found": []},
        },
        "pairs": {"all": 300, "prompts": 290, "irl": 180, "valid": 45, "test": 75, "same": 3}
        | {"empty_base": 1, "empty_aligned": 2},
        "l2": 0.03,
    }


EXAMPLES = ["objective", "base_value", "aligned_value", "prompt"]
TEXTS = ["base_completion", "aligned_completion"]


def examples(rows: list[tuple[Any, ...]] | None = None) -> pd.DataFrame:
    return pd.DataFrame(rows or [], columns=EXAMPLES + TEXTS)


def margins(rows: list[tuple[Any, ...]] | None = None) -> pd.DataFrame:
    return pd.DataFrame(rows or [], columns=["margin", "prompt", *TEXTS])


def section(text: str, title: str) -> list[str]:
    """The lines under a title, blank ones left out."""
    after = text.split(f"\n## {title}\n")[1]
    return [line for line in after.split("\n## ")[0].splitlines() if line]


def test_what_is_found_is_a_table(report: dict[str, Any]) -> None:
    text = markdown(report, examples(), margins(), title="Audit of a.json and b.json")
    assert text.startswith(
        "# Audit of a.json and b.json\n\n**Weak evidence.** The aligned side moved.\n\nOne. Two."
        "\n\n## "
    )
    assert section(text, "What to be careful about") == ["- Few pairs.", "- An odd file."]
    rows = [line for line in section(text, "Objectives found") if line.startswith("| ")]
    assert rows[1:] == [
        "| exclamations (per 100 words) | more exclamation marks | +1.25 | +1.15 to +1.35 | 75% | "
        "20% | emoji, capitals |",
        "| hedges (per 100 words) | more hedging | -0.50 | -0.60 to -0.40 | 75% | 20% |  |",
    ]
    assert "(0.38)" in text  # the null's
    assert section(text, "Not found") == ["commas +0.25."]
    assert "Null of 200 runs, l2 0.03. " in text


def test_nothing_found_says_beyond_what(report: dict[str, Any]) -> None:
    for one in report["objectives"]:
        one["found"] = False
    text = markdown(report, examples(), margins(), title="Audit")
    assert section(text, "Objectives found") == [
        "None: no weight, with what pairs cannot tell from it, exceeds 0.38."
    ]
    assert section(text, "Not found") == ["exclamations +1.25, hedges -0.50, commas +0.25."]


def test_readers_of_the_same_pairs(report: dict[str, Any]) -> None:
    text = markdown(report, examples(), margins(), title="Audit")
    lines = section(text, "How well the two sides are told apart")
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| named objectives | 0.875 | 0.825 to 0.925 |  |",
        "| n-grams | 0.800 | 0.750 to 0.850 | 0.62 |",
        "| log π_aligned / π_base | 0.900 | 0.850 to 0.950 | 0.25 |",
        "| control: shuffled sides | 0.500 | 0.450 to 0.550 |  |",
        "| control: random weights | 0.510 | 0.460 to 0.560 |  |",
        "| control: length | 0.600 | 0.550 to 0.650 |  |",
    ]
    assert lines[-1].endswith("rank correlation of their margins 0.80 (median), 0.70 (lowest).")
    del report["agreement"]["spearman"]
    lines = section(
        markdown(report, examples(), margins(), title="Audit"),
        "How well the two sides are told apart",
    )
    assert lines[-1] == "Two runs prefer the same completion in 90% of pairs."


def test_parts_that_may_be_absent(report: dict[str, Any]) -> None:
    report |= {"slices": {}, "judgement": None}
    text = markdown(report, examples(), margins([(0.5, "p", "b", "a")]), title="Audit")
    titles = [line for line in text.splitlines() if line.startswith("#")]
    assert titles == [
        "# Audit",
        "## What to be careful about",
        "## Objectives found",
        "## How well the two sides are told apart",
        "## Not found",
        "## How it was made",
    ]
    assert "\n\n\n" not in text


def test_a_judgement_stands_beside_its_base_rate(report: dict[str, Any]) -> None:
    text = markdown(report, examples(), margins(), title="Audit")
    (line,) = section(text, "Beside a judgement")
    assert "In 70 judged test pairs the aligned completion is the better one in 65% (60% to" in line
    assert "prefers the better one in 55% (50% to 60%)" in line


def test_categories(report: dict[str, Any]) -> None:
    text = markdown(report, examples(), margins(), title="Audit")
    assert section(text, "By category")[-2:] == [
        "| a\\|b | 120 | 0.75 (0.70 to 0.80) | hedges -0.50 |",
        "| c | 110 | 0.50 (0.45 to 0.55) | nothing |",
    ]
    assert "categories. They hold 230 of 300 pairs: the others are of none, or of a" in text
    report["slices"]["c"]["pairs"] = 180
    assert "They hold" not in markdown(report, examples(), margins(), title="Audit")


@pytest.mark.parametrize("answer", NASTY)
def test_an_answer_is_one_line_as_it_is(report: dict[str, Any], answer: str) -> None:
    plain = markdown(
        report,
        examples([("hedges", 1.0, 2.0, "x", "x", "x")]),
        margins([(-1.0, "x", "x", "x")]),
        title="Audit",
    )
    nasty = markdown(
        report,
        examples([("hedges", 1.0, 2.0, answer, answer, answer)]),
        margins([(-1.0, answer, answer, answer)]),
        title="Audit",
    )
    assert nasty.count("\n") == plain.count("\n")
    assert len(nasty.splitlines()) == len(plain.splitlines())
    changed = [
        (one, other)
        for one, other in zip(plain.splitlines(), nasty.splitlines(), strict=True)
        if one != other
    ]
    assert len(changed) == 6
    for one, other in changed:
        head = one.removesuffix("x")
        assert other.startswith(head)
        shown = other.removeprefix(head)
        assert not MARKS.search(shown)
        unescaped = re.sub(r"\\([\\`*_\[\]<>#|&~$])", r"\1", shown)
        assert unescaped == (" ".join(answer.split()) or "(empty)")


def test_long_answers_are_cut(report: dict[str, Any]) -> None:
    text = markdown(
        report,
        examples([("hedges", 1.0, 2.0, "p" * 201, "b" * 300, "|" * 301)]),
        margins(),
        title="Audit",
    )
    assert section(text, "Examples")[1:] == [
        "### hedges",
        "- prompt: " + "p" * 199 + "…",
        "  - base (1.00): " + "b" * 300,
        "  - aligned (2.00): " + "\\|" * 299 + "…",
    ]


def test_examples_by_objective_in_their_order(report: dict[str, Any]) -> None:
    rows = [("hedges", 1, 0, "p", "b", "a"), ("code", 0, 1, "q", "b", "a")]
    rows.append(("hedges", 2, 0, "r", "b", "a"))
    lines = section(markdown(report, examples(rows), margins(), title="Audit"), "Examples")
    kept = [line for line in lines if line.startswith(("###", "- "))]
    assert kept == ["### hedges", "- prompt: p", "- prompt: r", "### code", "- prompt: q"]


def test_only_pairs_that_the_reward_gets_wrong(report: dict[str, Any]) -> None:
    rows = [(value, f"p{value:g}", "b", "a") for value in (-4.0, -3.0, -2.0, -1.0, 0.0, 1.0)]
    title = "Pairs that the reward gets most wrong"
    lines = section(markdown(report, examples(), margins(rows), title="Audit"), title)
    assert [line for line in lines if line.startswith("- ")] == [
        "- margin -4.00, prompt: p-4",
        "- margin -3.00, prompt: p-3",
        "- margin -2.00, prompt: p-2",
    ]
    text = markdown(report, examples(), margins(rows[4:]), title="Audit")
    assert title not in text


def test_without_cautions_it_says_so(report: dict[str, Any]) -> None:
    text = markdown(report | {"cautions": []}, examples(), margins(), title="Audit")
    assert section(text, "What to be careful about") == ["None of what this report checks for."]
