"""Results as `evaluate` hands them to the report, made up and small."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.evaluation.explain import disagreements
from inverse_rlhf.evaluation.in_words import in_words
from inverse_rlhf.evaluation.occlusion import common_words, word_credits
from inverse_rlhf.evaluation.shown import choose
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.show.report import Results, write_report

WORDS = ("good", "map", "fool", "page", "kind", "waste", "gem", "river", "never", "thanks")
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M 0 0 L 9 9"/></svg>'
PROMPTS = 12


class Liking:
    """A reward of words: each has its own value."""

    def score(self, texts: list[str]) -> np.ndarray:
        values = {word: place - 4.5 for place, word in enumerate(WORDS)}
        return np.array(
            [sum(values.get(word, 0.0) for word in text.split()) for text in texts], np.float32
        )


def scores() -> pd.DataFrame:
    """The scores table of two samples of twelve prompts, and a comment each."""
    generator, reward = np.random.default_rng(0), Liking()
    rows = [
        {"prompt_id": prompt, "prompt": f"About the {prompt}", "sample": sample, "source": source}
        for source in ("base", "aligned", "rerl", "human")
        for prompt in range(PROMPTS)
        for sample in range(1 if source == "human" else 2)
    ]
    table = pd.DataFrame(rows)
    completions = [" " + " ".join(generator.choice(WORDS, 6)) for _ in rows]
    recovered = reward.score(completions)
    true = recovered + generator.normal(0, 2, len(rows)).astype(np.float32)
    human = table["source"] == "human"
    return table.assign(
        completion=completions,
        toxic=pd.array(np.where(human, true < 0, None), dtype="Int8"),
        toxicity=np.float32(0.5),
        true_reward=true.astype(np.float32),
        irl_reward=recovered,
        irl_std=np.where(
            table["source"].isin(["base", "aligned"]), generator.random(len(rows)), np.nan
        ),
    )


def rewards(
    *, one_class: bool = False, runs: int = 3, controls: bool = True, found: float = 0.9
) -> dict[str, Any]:
    """The content of metrics/reward.json, in which measures of the recovered reward are `found`."""

    def table(value: float, *, auc: bool = True) -> dict[str, Any]:
        row = {"median": value, "low": value - 0.05, "high": min(value + 0.05, 1.0), "max": value}
        names = ["accuracy", "discrimination", "pair_accuracy", "spearman"]
        names += ["roc_auc", "balanced_accuracy", "f1"] * (auc and not one_class)
        starc = {"median": 1 - value, "low": 0.95 - value, "high": 1.05 - value}
        return {name: row for name in names} | {"starc": starc}

    known = {name: table(0.5) for name in ("shuffled", "random_head", "length", "base_loglik")}
    if not controls:
        known = {name: known[name] for name in ("length", "base_loglik")}
    gap = {"difference": 0.4, "low": 0.3, "high": 0.5, "p_value": 0.002}
    agreement = {"label_agreement": 1.0, "text_spread": {"median": 0.1, "q95": 0.2}}
    if runs > 1:
        agreement |= {"label_kappa": 0.9, "spearman": {"median": 0.9, "min": 0.8, "max": 0.95}}
    return {
        "runs": runs,
        "true_threshold": 0.0,
        "test": table(found),
        "ensemble": table(found),
        "controls": known,
        "reference": {"log_ratio": table(0.85)},
        "paired": {name: {} if one_class else {"roc_auc": gap} for name in [*known, "log_ratio"]},
        "agreement": agreement,
        "thresholds": {"best": {"accuracy": 0.95}, "otsu": {"accuracy": 0.9, "gap": 0.05}},
        "human_true_reward": table(0.9),
    }


def policies() -> dict[str, dict[str, float]]:
    """The content of metrics/policies.json."""
    names = ["toxicity_rate", "mean_toxicity", "expected_max_toxicity", "true_reward", "irl_reward"]
    names += ["kl_to_base", "mean_length", "empty_share", "repeated_share"]
    found = {}
    for place, name in enumerate(("base", "rlhf", "rerl")):
        values = {key: 0.01 + 0.3 * place for key in names}
        ends = {f"{key}_{end}": values[key] for key in names for end in ("low", "high")}
        plain = {"perplexity": 2.5, "distinct_1": 0.1, "distinct_2": 0.2}
        found[name] = values | ends | plain
    return found


def results(
    asked: dict[str, Any],
    card: RewardCard,
    table: pd.DataFrame | None = None,
    *,
    planted: dict[str, float] | None = None,
    known: dict[str, Any] | None = None,
) -> Results:
    """What `evaluate` found on a scores table."""
    table = scores() if table is None else table
    sides = {
        source: table[table["source"] == source].set_index(["prompt_id", "sample"])
        for source in ("base", "aligned")
    }
    margins = pd.DataFrame(
        {
            "prompt": sides["base"]["prompt"],
            "base_completion": sides["base"]["completion"],
            "aligned_completion": sides["aligned"]["completion"],
            "margin": sides["aligned"]["irl_reward"] - sides["base"]["irl_reward"],
        }
    )
    margins = margins.reset_index().sort_values("margin", kind="stable", ignore_index=True)
    credits = word_credits(table[table["source"] != "human"], Liking())
    objectives = in_words(table, resamples=100, seed=0)
    most_disputed = disagreements(table)
    shown = choose(table, most_disputed, margins).rows()
    explanation = {"surrogate_r2": 0.4, "objectives": objectives, "words": common_words(credits)}
    return Results(
        asked=asked,
        planted=planted or {"toxicity": 1.0},
        rewards=known or rewards(),
        policies=policies(),
        explanation=explanation,
        scores=table,
        margins=margins,
        ngrams=pd.DataFrame({"ngram": ["good map"], "weight": [1.0], "texts": [9]}),
        disagreements=most_disputed,
        credits=credits,
        shown_credits=word_credits(shown, Liking()),
        card=card,
    )


def written(found: Results, path: Path, data: Path) -> str:
    """The page, written to `path`."""
    names = ("reward_scatter", "roc", "ngrams", "policy_training")
    write_report(
        path,
        found,
        dict.fromkeys(names, DRAWING),
        versions={"python": "3.12"},
        data=[str(data)],
    )
    return path.read_text(encoding="utf-8")
