"""What an audit reports: objectives in words, how far to trust them, and what they leave open."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from inverse_rlhf.audit_params import AuditSettings
from inverse_rlhf.data.clean import shows
from inverse_rlhf.data.given_pairs import FEWEST_PROMPTS
from inverse_rlhf.evaluation.audit_tables import (
    examples_table,
    margins_table,
    objective_table,
)
from inverse_rlhf.evaluation.pair_features import (
    PairFeatures,
    by_split,
    hidden_states_of,
    named_objectives,
    ngrams,
)
from inverse_rlhf.irl.found import Weights, choose_l2, fit_weights
from inverse_rlhf.irl.solvers import solve_logistic
from inverse_rlhf.measures.between_runs import label_agreement_of_runs, rank_correlations
from inverse_rlhf.measures.pairs import accuracy_beside, discrimination_interval, told_apart


@dataclass(frozen=True)
class Measured:
    """An audit's result.

    Attributes:
        report: the content of audit.json, but for verdict and seconds.
        objectives, margins, examples: tables, see their schemas.
        weights: of the objectives, raw: per unit of the objective as it is, (objectives,).
        names: of the objectives.
        moments: mean and standard deviation of the reward on the fitted completions.
    """

    report: dict[str, Any]
    objectives: pd.DataFrame
    margins: pd.DataFrame
    examples: pd.DataFrame
    weights: np.ndarray
    names: list[str]
    moments: tuple[float, float]


def measure(
    pairs: pd.DataFrame, values: dict[str, np.ndarray], settings: AuditSettings
) -> Measured:
    """Audit pairs: fitted on `irl`, penalties chosen on `irl` and `valid`, reported from `test`.

    Args:
        pairs: the given_pairs table with its split.
        values: see `objective_values`.
    """
    features = named_objectives(pairs, values)
    weights = fit_objectives(features, pairs, settings)
    test, fitted = by_split(pairs, "test"), by_split(pairs, "irl")
    margins = features.deltas @ weights.median
    over_runs = weights.runs @ features.deltas[test].T
    table = objective_table(features, weights, test)
    told, explained = _explained(pairs, features, settings)
    slices = _slices(features, pairs, settings)
    report = {
        "pairs": _counts(pairs),
        "discrimination": {
            "objectives": _told(margins, pairs, settings),
            **told,
        },
        "controls": _controls(features, weights, pairs, settings),
        "null": {
            "percentile_95": weights.null_quantile(0.95),
            "critical": weights.critical,
            "runs": len(weights.null),
        },
        "l2": weights.l2,
        "objectives": _rows(table),
        "explained": explained,
        "agreement": _agreement(over_runs),
        "judgement": accuracy_beside(
            margins[test],
            (pairs["aligned_score"] - pairs["base_score"])[test].to_numpy(np.float64),
            pairs.loc[test, "prompt_id"].to_numpy(),
            resamples=settings.audit.resamples,
            seed=settings.seed,
        )
        or None,
        "slices": {name: report for name, (report, _) in slices.items()},
    }
    raw = weights.median / features.scale
    rewards = np.concatenate([values[side][fitted] @ raw for side in values])
    return Measured(
        report,
        pd.concat([table, *(part for _, part in slices.values())], ignore_index=True),
        margins_table(pairs, margins, over_runs, test),
        examples_table(pairs, features, values, weights, settings.audit.examples),
        raw,
        features.names,
        (float(rewards.mean()), float(rewards.std() or 1.0)),
    )


def fit_objectives(
    features: PairFeatures, pairs: pd.DataFrame, settings: AuditSettings, level: float | None = None
) -> Weights:
    """The objectives' weights over runs, and their null, fitted on `irl`.

    Args:
        level: the chance that anything is found; None: the settings'.
    """
    irl, audit = by_split(pairs, "irl"), settings.audit
    level = level or audit.level
    return fit_weights(
        features.deltas[irl],
        pairs.loc[irl, "prompt_id"].to_numpy(),
        l2=_l2(features, pairs, settings, adaptive=True),
        runs=audit.runs,
        null_runs=max(audit.null_runs, math.ceil(1 / level)),  # fewer tell no such level
        level=level,
        seed=settings.seed,
    )


def _l2(
    features: PairFeatures, pairs: pd.DataFrame, settings: AuditSettings, *, adaptive: bool
) -> float:
    known = ~by_split(pairs, "test")
    prompts = pairs.loc[known, "prompt_id"].to_numpy()
    return choose_l2(features.deltas[known], prompts, adaptive=adaptive, seed=settings.seed)


def _told(margins: np.ndarray, pairs: pd.DataFrame, settings: AuditSettings) -> dict[str, Any]:
    """How often a reward of these margins, of all pairs, tells the test pairs apart."""
    test = by_split(pairs, "test")
    return discrimination_interval(
        margins[test],
        pairs.loc[test, "prompt_id"].to_numpy(),
        resamples=settings.audit.resamples,
        seed=settings.seed,
    )


def _counts(pairs: pd.DataFrame) -> dict[str, int]:
    same = pairs["base_completion"] == pairs["aligned_completion"]
    counts = {"all": len(pairs), "prompts": pairs["prompt_id"].nunique(), "same": int(same.sum())}
    counts |= {name: int(by_split(pairs, name).sum()) for name in ("irl", "valid", "test")}
    for side in ("base", "aligned"):
        counts[f"empty_{side}"] = int((~pairs[f"{side}_completion"].map(shows)).sum())
    return counts


def _explained(
    pairs: pd.DataFrame, objectives: PairFeatures, settings: AuditSettings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Other readers of the same pairs: how often each tells them apart, and how much of its
    margins the objectives explain.
    """
    irl, test = by_split(pairs, "irl"), by_split(pairs, "test")
    others: dict[str, np.ndarray] = {}
    facts: dict[str, dict[str, Any]] = {}
    kinds: dict[str, PairFeatures | None] = {"ngram": ngrams(pairs, settings)}
    if settings.audit.body is not None:
        kinds["hidden_state"], facts["hidden_state"] = hidden_states_of(pairs, settings)
    for name, features in kinds.items():
        if features is not None:
            l2 = _l2(features, pairs, settings, adaptive=False)
            newton = name == "hidden_state"
            others[name] = features.deltas @ solve_logistic(
                features.deltas[irl], l2=l2, newton=newton
            )
            facts[name] = facts.get(name, {}) | {"l2": l2}
    log_ratios = (pairs["aligned_log_ratio"] - pairs["base_log_ratio"]).to_numpy(np.float64)
    if np.isfinite(log_ratios).all():
        others["log_ratio"], facts["log_ratio"] = log_ratios, {}
    told = {name: _told(margins, pairs, settings) for name, margins in others.items()}
    for name, margins in others.items():
        facts[name]["r2"] = _r2(objectives.deltas, margins, irl, test)
    return told, facts


def _r2(deltas: np.ndarray, margins: np.ndarray, irl: np.ndarray, test: np.ndarray) -> float:
    """The share of another reward's squared test margins that a linear reward of the objectives,
    fitted to its margins on `irl`, gives.
    """
    model = RidgeCV(alphas=np.logspace(-2, 4, 13), fit_intercept=False)
    model.fit(deltas[irl], margins[irl])
    total = float((margins[test] ** 2).sum())
    residual = float(((margins[test] - model.predict(deltas[test])) ** 2).sum())
    return 1 - residual / total if total else 0.0


def _controls(
    features: PairFeatures, weights: Weights, pairs: pd.DataFrame, settings: AuditSettings
) -> dict[str, dict[str, float]]:
    """Discrimination of rewards that know nothing: the null's, random ones, and length alone."""
    irl, test = by_split(pairs, "irl"), by_split(pairs, "test")
    deltas = features.deltas[test]
    generator = np.random.default_rng([settings.seed, 2])
    random = generator.normal(size=weights.null.shape)
    length = features.deltas[:, features.names.index("length")]
    sign = 1.0 if told_apart(length[irl]) >= 0.5 else -1.0
    return {
        "shuffled": _over_runs(told_apart(weights.null @ deltas.T)),
        "random_head": _over_runs(told_apart(random @ deltas.T)),
        "length": _told(sign * length, pairs, settings) | {"longer": sign > 0},
    }


def _over_runs(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.025, 0.5, 0.975])
    return {"value": float(median), "low": float(low), "high": float(high)}


def _agreement(margins: np.ndarray) -> dict[str, float]:
    """How far the runs agree on the test pairs.

    Args:
        margins: of each run, (runs, pairs).
    """
    between = rank_correlations(margins)[np.triu_indices(len(margins), 1)]
    known = between[np.isfinite(between)]
    report = {"same_side": label_agreement_of_runs(margins > 0)}
    if len(known):
        report |= {"spearman": float(np.median(known)), "spearman_min": float(known.min())}
    return report


def _slices(
    features: PairFeatures, pairs: pd.DataFrame, settings: AuditSettings
) -> dict[str, tuple[dict[str, Any], pd.DataFrame]]:
    """Audits of the categories that have enough pairs, at the level over their number."""
    categories = pairs["category"]
    irl = by_split(pairs, "irl")
    sizes = categories[irl].value_counts()
    prompts = pairs[irl].groupby("category")["prompt_id"].nunique()
    enough = (sizes >= settings.audit.slice_pairs) & (prompts >= FEWEST_PROMPTS)
    large = sorted(enough.index[enough])
    if len(large) + (len(sizes) > len(large)) < 2:  # one category is no slice
        return {}
    slices = {}
    for name in large:
        inside = (categories == name).to_numpy()
        part = pairs[inside]
        own = PairFeatures(features.deltas[inside], features.names, features.scale)
        test = by_split(part, "test")
        if not test.any() or not by_split(part, "valid").any():
            continue
        weights = fit_objectives(own, part, settings, settings.audit.level / len(large))
        table = objective_table(own, weights, test).assign(category=name)
        report = {
            "pairs": int(inside.sum()),
            "discrimination": _told(own.deltas @ weights.median, part, settings),
            "found": [
                {"name": row["name"], "weight": row["weight"]}
                for row in table[table["found"]].to_dict("records")
            ],
        }
        slices[str(name)] = (report, table)
    return slices


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    keys = ["name", "weight", "low", "high", "marginal", "less", "found", "main", "with"]
    rows = table[keys].to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]
