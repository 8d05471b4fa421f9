"""The report of the closed loop: what was recovered, how sure that is, and how it was made."""

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ruamel.yaml import YAML

from inverse_rlhf.evaluation.answer import CONTROLS, answer, figure_of
from inverse_rlhf.evaluation.occlusion import pieces
from inverse_rlhf.evaluation.shown import Shown, choose
from inverse_rlhf.files import digest_of
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.thresholds import THRESHOLDS
from inverse_rlhf.show.cautions import cautions
from inverse_rlhf.show.figures import FIGURES, candidate, captions
from inverse_rlhf.show.page import (
    Cell,
    Headline,
    Measured,
    Piece,
    Text,
    inline_svg,
    number,
    value_cell,
    write_page,
)

LONGEST = 1_500
"""Characters of a text that are shown, and of its prompt."""
POLICIES = {"base": "base", "rlhf": "aligned", "rerl": "rerl, retrained"}
_SOURCES = {"base": "base", "aligned": "aligned", "rerl": "rerl", "human": "a person"}
_KEYS = ["prompt_id", "sample", "source"]
_MEASURES = {
    "roc_auc": "ROC-AUC",
    "accuracy": "accuracy",
    "discrimination": "pairs told apart",
    "pair_accuracy": "pairs ranked rightly",
    "spearman": "rank correlation",
    "starc": "STARC distance",
}


@dataclass(frozen=True)
class Results:
    """What `evaluate` found; tables as their schemas have them.

    Attributes:
        asked: all params, as plain values.
        planted: the parts of the true reward that count, and their weights.
        rewards, policies, explanation: the content of metrics/reward.json, metrics/policies.json
            and metrics/explanation.json.
        scores, margins, ngrams, disagreements: tables.
        credits: the word_credits table, for what is a large credit.
        shown_credits: the same of the texts that are shown.
        card: of the exported reward.
    """

    asked: dict[str, Any]
    planted: dict[str, float]
    rewards: dict[str, Any]
    policies: dict[str, dict[str, Any]]
    explanation: dict[str, Any]
    scores: pd.DataFrame
    margins: pd.DataFrame
    ngrams: pd.DataFrame
    disagreements: pd.DataFrame
    credits: pd.DataFrame
    shown_credits: pd.DataFrame
    card: RewardCard

    @property
    def threshold(self) -> float:
        """The recovered reward below which a text has the low label."""
        return self.card.thresholds[self.asked["evaluate"]["threshold"]]

    @property
    def cut(self) -> float:
        """The true reward below which a text has the low label."""
        cut: float = self.rewards["true_threshold"]
        return cut

    @property
    def labels(self) -> tuple[str, str]:
        """What texts of a low and of a high true reward are called."""
        return ("toxic", "non-toxic") if self.planted == {"toxicity": 1.0} else ("low", "high")


def write_report(
    path: Path | str,
    results: Results,
    drawings: Mapping[str, str],
    *,
    versions: Mapping[str, str],
    data: Iterable[str],
) -> None:
    """Write the report as one HTML file.

    Args:
        drawings: SVGs by name, see `draw_figures`.
        versions: of Python and of libraries.
        data: files whose SHA-256 the report gives.
    """
    found, asked = results, results.asked
    low = found.labels[0]
    write_page(
        path,
        "report.html.j2",
        runs=found.rewards["runs"],
        planted=_planted(found.planted),
        answer=answer(found.rewards, low=low),
        headlines=_headlines(found),
        cautions=cautions(
            asked,
            found.rewards,
            found.policies,
            found.explanation,
            found.scores,
            found.margins,
            found.card.pairs,
        ),
        goes_with=_goes_with(found.explanation["objectives"]),
        said={
            sign: [
                row
                for row in found.explanation["objectives"]
                if row["said"] and (row["recovered"]["value"] > 0) == (sign == "up")
            ]
            for sign in ("up", "down")
        },
        weights=_weights(found.rewards.get("weights"), found.planted),
        words=_words(found.explanation["words"], found.card.std),
        ngrams=_ngrams(found.ngrams, found.card.std),
        surrogate=found.explanation["surrogate_r2"],
        candidates=_candidates(found.rewards),
        people=_people(found.rewards),
        policies=_policies(found.policies),
        thresholds=_thresholds(found.rewards["thresholds"], asked["evaluate"]["threshold"]),
        agreement=found.rewards["agreement"],
        drawings=_drawings(drawings, low),
        texts=_texts(found, choose(found.scores, found.disagreements, found.margins)),
        params=_yaml(asked),
        versions=versions,
        data={name: digest_of(Path(name)) for name in data},
    )


def _planted(planted: Mapping[str, float]) -> str:
    names = {"toxicity": "log-odds of not being toxic", "length_target": "closeness to a length"}
    if list(planted.values()) == [1.0]:
        return names.get(name := next(iter(planted)), name)
    return ", ".join(
        f"{number(weight, 2, signed=True)} times {names.get(name, name)}"
        for name, weight in planted.items()
    )


def _tables(rewards: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Metrics by reward: the recovered one, its kin and its reference, then the controls."""
    tables = {"recovered": rewards["test"], "ensemble": rewards["ensemble"]}
    if "plain" in rewards:
        tables["plain"] = rewards["plain"]
    controls = {name: rewards["controls"][name] for name in CONTROLS if name in rewards["controls"]}
    return tables | rewards["reference"] | controls


def _name(key: str, rewards: dict[str, Any]) -> str:
    return f"{'control: ' if key in CONTROLS else ''}{candidate(key, rewards['runs'])}"


def _headlines(found: Results) -> list[Headline]:
    rewards = found.rewards
    told = {
        "roc_auc": (
            "ROC-AUC against the true reward",
            "Of two test texts with different labels by the true reward, how often the recovered "
            "reward ranks them rightly. One half is a guess.",
            0.5,
        ),
        "discrimination": (
            "Pairs told apart",
            "Share of test pairs in which the aligned completion has the higher reward; needs no "
            "true reward. One half is a guess, and less than 1 is right: policies overlap.",
            0.5,
        ),
        "spearman": (
            "Rank correlation with the true reward",
            "Of all test completions. 1: the same order, 0: none.",
            0.0,
        ),
    }
    headlines = []
    for measure, (title, explanation, chance) in told.items():
        rows = [
            Measured(_name(key, rewards), **row, main=key == "recovered")
            for key, table in _tables(rewards).items()
            if (row := figure_of(table, measure)) and key not in ("ensemble", "plain")
        ]
        if any(row.main for row in rows):
            start = min(chance - 0.1, *(row.low for row in rows if row.low is not None))
            headlines.append(Headline(title, explanation, rows, chance, start=start))
    return [*headlines, _policies_headline(found)]


def _policies_headline(found: Results) -> Headline:
    toxic = "toxicity" in found.planted
    key = "toxicity_rate" if toxic else "true_reward"
    rows = [
        Measured(
            POLICIES[name],
            policy[key],
            policy[f"{key}_low"],
            policy[f"{key}_high"],
            main=name == "rerl",
        )
        for name, policy in _ordered(found.policies).items()
    ]
    explanation = (
        "rerl is the base policy trained anew, on the recovered reward instead of the true one."
    )
    if toxic:
        return Headline("Toxic texts of each policy", explanation, rows)
    ends = [end for row in rows for end in (row.low, row.high) if end is not None]
    room = (max(ends) - min(ends)) * 0.1 or 1.0
    title, start, end = "Mean true reward of each policy", min(ends) - room, max(ends) + room
    return Headline(title, explanation, rows, start=start, end=end)


def _with_interval(row: Mapping[str, float] | None, digits: int = 3) -> Cell:
    if row is None:
        return value_cell(None)
    ends = f"{number(row['low'], digits)} to {number(row['high'], digits)}"
    return Cell(f"{number(row['value'], digits)} ({ends})", row["value"])


def _goes_with(rows: Sequence[dict[str, Any]]) -> list[list[str | Cell]]:
    return [
        [
            row["name"],
            Cell(row["more"], number=False),
            _with_interval(row["recovered"], 2),
            _with_interval(row["true"], 2),
        ]
        for row in rows
    ]


def _weights(weights: dict[str, Any] | None, parts: Iterable[str]) -> list[list[str | Cell]]:
    """Planted and recovered weights side by side; nothing where there are none."""
    if weights is None:
        return []
    sides = [weights[side] for side in ("planted", "recovered")]
    return [
        [
            name,
            *(value_cell(side["weight"][name], signed=True) for side in sides),
            *(value_cell(side.get("ratio", {}).get(name), 2, signed=True) for side in sides),
        ]
        for name in parts
    ]


def _words(words: dict[str, Any], std: float) -> list[list[str | Cell]]:
    rows = [*words["most_rewarded"], *words["most_penalised"][::-1]]
    return [
        [
            row["word"],
            value_cell(row["mean_credit"] / std, 2, signed=True),
            value_cell(row["texts"], 0),
        ]
        for row in rows
    ]


def _ngrams(ngrams: pd.DataFrame, std: float, count: int = 15) -> list[list[str | Cell]]:
    table = ngrams.sort_values("weight", ascending=False, kind="stable")
    rows = pd.concat([table.head(count), table[count:].tail(count)]).to_dict("records")
    return [
        [
            row["ngram"],
            value_cell(row["weight"] / std, 2, signed=True),
            value_cell(row["texts"], 0),
        ]
        for row in rows
    ]


def _candidates(rewards: dict[str, Any]) -> list[list[str | Cell]]:
    return [
        [
            _name(key, rewards),
            *(_with_interval(figure_of(table, measure)) for measure in _MEASURES),
            _ahead(rewards["paired"].get(key, {})),
        ]
        for key, table in _tables(rewards).items()
    ]


def _ahead(paired: dict[str, dict[str, float]]) -> Cell:
    """By how much the recovered reward's ROC-AUC is ahead of another's."""
    row = paired.get("roc_auc")
    if row is None:
        return value_cell(None)
    ends = f"{number(row['low'])} to {number(row['high'])}, p {row['p_value']:.2g}"
    return Cell(f"{number(row['difference'], signed=True)} ({ends})", row["difference"])


def _people(rewards: dict[str, Any]) -> list[list[str | Cell]]:
    by = {
        "human": "labels of the comments",
        "human_true_reward": "labels by the true reward",
    }
    measures = ("roc_auc", "accuracy", "balanced_accuracy", "f1")
    return [
        [name, *(_with_interval(figure_of(rewards[key], measure)) for measure in measures)]
        for key, name in by.items()
        if key in rewards
    ]


def _policies(policies: dict[str, dict[str, Any]]) -> list[list[str | Cell]]:
    """A row a figure, a column a policy."""
    figures = {
        "toxicity_rate": ("toxic texts, share", 3),
        "expected_max_toxicity": ("largest p(toxic) of a prompt's samples, mean", 3),
        "true_reward": ("true reward, mean", 2),
        "irl_reward": ("recovered reward, mean", 2),
        "kl_to_base": ("KL to base, nats a text", 2),
        "mean_length": ("length, tokens", 1),
        "perplexity": ("perplexity under base", 2),
        "distinct_2": ("distinct pairs of words, share", 3),
        "empty_share": ("empty texts, share", 3),
        "repeated_share": ("looping or copied texts, share", 3),
    }
    return [
        [
            name,
            *(
                _with_interval(
                    {
                        "value": policy[key],
                        "low": policy[f"{key}_low"],
                        "high": policy[f"{key}_high"],
                    },
                    digits,
                )
                if f"{key}_low" in policy
                else value_cell(policy[key], digits)
                for policy in _ordered(policies).values()
            ),
        ]
        for key, (name, digits) in figures.items()
    ]


def _ordered(policies: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The policies as the page has them side by side, whatever their order."""
    return {name: policies[name] for name in POLICIES}


def _thresholds(thresholds: dict[str, dict[str, float]], used: str) -> list[list[str | Cell]]:
    return [
        [
            f"{name} (used)" if name == used else name,
            *(value_cell(row.get(key)) for key in ("accuracy", "balanced_accuracy", "f1", "gap")),
        ]
        for name in ("best", *THRESHOLDS)
        if (row := thresholds.get(name))
    ]


def _drawings(figures: Mapping[str, str], low: str) -> dict[str, dict[str, Any]]:
    under, drawings = captions(low), {}
    for name, caption in FIGURES.items():
        if name in figures and caption.width:
            own = f"figure-{name.replace('_', '-')}"
            description = caption.description.format(low=low)
            drawing = inline_svg(figures[name], own, title=caption.title, description=description)
            drawings[name] = {"drawing": drawing, "caption": under[name], "width": caption.width}
    return drawings


def _texts(found: Results, chosen: Shown) -> dict[str, Any]:
    card, known = found.card, _by_text(found.shown_credits, found.card.std)
    sizes = found.credits["credit"].abs().to_numpy(np.float64) / card.std
    scale = float(np.quantile(sizes, 0.95)) if len(sizes) else 1.0

    def shown(row: dict[str, Any], *, prompt: bool = True) -> dict[str, Any]:
        own = known.get((row["prompt_id"], row["sample"], str(row["source"])), {})
        standard, spread = (row["irl_reward"] - card.mean) / card.std, row.get("irl_std")
        return {
            "who": _SOURCES[str(row["source"])],
            "recovered": standard,
            "true": row["true_reward"],
            "spread": None if pd.isna(spread) else spread,
            "text": _text(row["prompt"] if prompt else "", row["completion"], own, scale),
        }

    lists = {
        name: [shown(row) for row in _records(rows)]
        for name, rows in {
            "best": chosen.best,
            "worst": chosen.worst,
            "runs": chosen.runs,
            "truth": chosen.truth,
        }.items()
    }
    return lists | {
        "beside": _groups(chosen.beside, ["prompt_id"], shown),
        "against": _groups(chosen.against, ["prompt_id", "sample"], shown),
    }


def _groups(rows: pd.DataFrame, keys: list[str], shown: Any) -> list[dict[str, Any]]:
    """Texts of one prompt side by side: base, aligned and, where it is there, rerl."""
    order = {"base": 0, "aligned": 1, "rerl": 2}
    groups = []
    for _, part in rows.groupby(keys, sort=False):
        part = part.sort_values("source", key=lambda names: names.astype(str).map(order))
        records = _records(part)
        groups.append(
            {
                "prompt": _end(records[0]["prompt"]),
                "margin": records[0].get("margin"),
                "texts": [shown(row, prompt=False) for row in records],
            }
        )
    return groups


def _by_text(credits: pd.DataFrame, std: float) -> dict[tuple[int, int, str], dict[int, float]]:
    """Credits by position, of each text, in standard deviations."""
    table = credits.astype({"source": str})
    found: dict[Any, dict[int, float]] = {}
    for key, part in table.groupby(_KEYS):
        credit = part["credit"].astype(np.float64) / std
        found[key] = dict(zip(part["position"].tolist(), credit.tolist(), strict=True))
    return found


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _text(prompt: str, completion: str, credits: Mapping[int, float], scale: float) -> Text:
    whole = completion if completion.strip() else ""
    parts = pieces("", whole[:LONGEST], credits)
    return Text(
        pieces=[Piece(text, credit) for text, credit in parts],
        prompt=_end(prompt),
        scale=scale,
        cut=max(len(whole) - LONGEST, 0),
    )


def _end(prompt: str) -> str:
    """The end of a prompt, which a completion goes on from."""
    return prompt if len(prompt) <= LONGEST else f"… {prompt[-LONGEST:]}"


def _yaml(content: dict[str, Any]) -> str:
    yaml, text = YAML(typ="safe"), io.StringIO()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(content, text)
    return text.getvalue()
