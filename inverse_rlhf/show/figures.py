"""The figures: what was trained, what was recovered, what it is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import auc, roc_curve

from inverse_rlhf.data.tables import both_policies
from inverse_rlhf.evaluation.answer import CONTROLS
from inverse_rlhf.show.drawing import BLUE, GREEN, GREY, INK, KEYS, POLICIES, PURPLE, RED, style

_NGRAMS = 12
_ALIKE = 0.9
Labels = tuple[str, str]


@dataclass(frozen=True)
class Caption:
    """What stands under a figure, and what is read instead of it.

    Attributes:
        title: what it shows, in a few words.
        description: a sentence on it; {low} stands for what a text of low true reward is called.
        width: in the report; None: it is not in it.
    """

    title: str
    description: str
    width: str | None


FIGURES = {
    "summary": Caption(
        "Summary",
        "Recovered against true reward, ROC-AUC beside controls, toxicity of the policies.",
        None,
    ),
    "candidates": Caption(
        "Recovered reward, reference and controls",
        "ROC-AUC on test completions, with 95 % intervals.",
        "38rem",
    ),
    "reward_scatter": Caption(
        "Recovered against true reward",
        "A point is a test completion; lines are the cuts below which a text is called {low}. Of "
        "the exported run.",
        "34rem",
    ),
    "within_class": Caption(
        "Recovered against true reward within each kind of text",
        "Whether the recovered reward ranks texts of one label by the true reward, too. Of the "
        "exported run.",
        "100%",
    ),
    "weights": Caption(
        "Planted and recovered weights",
        "Of the parts that the true reward is a sum of.",
        "36rem",
    ),
    "ngrams": Caption(
        "Words that the reward is made of",
        "Weights of the words and pairs of words that a sparse sum rewards and penalises most.",
        "38rem",
    ),
    "roc": Caption(
        "Texts of low true reward found by the recovered reward",
        "Share of texts of low true reward that are found, against false alarms, at every cut.",
        "32rem",
    ),
    "confusion": Caption(
        "Labels by the two rewards",
        "Test completions by the label of the true and of the recovered reward. Of the exported "
        "run.",
        "30rem",
    ),
    "margins": Caption(
        "Margins of test pairs",
        "Recovered reward of the aligned minus that of the base completion, of the exported run, "
        "beside margins of fits to shuffled sides.",
        "36rem",
    ),
    "runs": Caption(
        "Runs beside each other",
        "How alike the runs rank test completions.",
        "34rem",
    ),
    "calibration": Caption(
        "Calibration",
        "How often the text that is held to be preferred is the aligned one, by how sure the "
        "posterior is.",
        "32rem",
    ),
    "irl_training": Caption(
        "Fits of the reward",
        "Loss and share of valid pairs told apart, by epoch, of all runs.",
        "100%",
    ),
    "policy_training": Caption(
        "Training of both policies",
        "Reward, KL to the base policy, length and entropy by step, with the true reward (aligned) "
        "and with the recovered one (rerl).",
        "100%",
    ),
    "toxicity": Caption(
        "Toxic texts of each policy",
        "On test prompts, with 95 % intervals.",
        "30rem",
    ),
}
"""In the order of the page."""
_CANDIDATES = {
    "recovered": "recovered, median of {runs} runs",
    "ensemble": "recovered, mean of all runs",
    "plain": "before the correction of failures",
    "log_ratio": "log-ratio of the two policies",
    "shuffled": "shuffled sides",
    "random_head": "random weights",
    "length": "length",
    "base_loglik": "likelihood under base",
}


def captions(low: str) -> dict[str, str]:
    """The caption of every figure by its name.

    Args:
        low: what a text of low true reward is called.
    """
    return {
        name: f"{caption.title}. {caption.description.format(low=low)}"
        for name, caption in FIGURES.items()
    }


def candidate(key: str, runs: int) -> str:
    """What a reward is called, by its key in metrics/reward.json, of a fit of so many runs."""
    return "recovered" if key == "recovered" and runs == 1 else _CANDIDATES[key].format(runs=runs)


@dataclass(frozen=True)
class Measured:
    """What is drawn.

    Attributes:
        scores: the scores table.
        runs: the irl_runs table.
        rewards, policies: the content of metrics/reward.json and metrics/policies.json.
        planted: names of the parts of the true reward that count.
        curves: of policy training, by policy (rlhf, rerl).
        correlations: the run_correlations table.
        margins: of test pairs, by whose they are (recovered and, if it was run, shuffled), in
            standard deviations.
        ngrams: the ngrams table.
        ngrams_r2: share of the reward's variance that they explain.
        exported: number of the exported run; None: the ensemble.
        threshold, cut: of the exported and of the true reward.
        labels: what texts of a low and of a high true reward are called.
        preferences: (pairs,), probabilities that the aligned text of a test pair is preferred;
            None where the method gives no probabilities.
    """

    scores: pd.DataFrame
    runs: pd.DataFrame
    rewards: dict[str, Any]
    policies: dict[str, dict[str, float]]
    planted: Sequence[str]
    curves: dict[str, pd.DataFrame]
    correlations: pd.DataFrame
    margins: dict[str, np.ndarray]
    ngrams: pd.DataFrame
    ngrams_r2: float
    exported: int | None
    threshold: float
    cut: float
    labels: Labels
    preferences: np.ndarray | None = None


def draw_figures(known: Measured) -> dict[str, Figure]:
    """Every figure by its name, see `FIGURES`.

    weights is drawn where the true reward is a sum of parts that the recovered one has too,
    calibration where preferences are known.
    """
    cuts = {"threshold": known.threshold, "cut": known.cut}
    with style():
        drawn = {
            "summary": _summary(known),
            "policy_training": _policy_training(known.curves),
            "irl_training": _irl_training(known.runs, known.exported),
            "candidates": _alone(_candidates, known.rewards, size=(5.6, 3.8)),
            "runs": _alone(_run_correlations, known.correlations, size=(5, 4)),
            "reward_scatter": _alone(_scatter, known.scores, **cuts, size=(5, 4.4)),
            "within_class": _within_class(known.scores, **cuts, labels=known.labels),
            "confusion": _alone(
                _confusion, known.scores, **cuts, labels=known.labels, size=(4.4, 4)
            ),
            "roc": _alone(_roc, known.scores, known.cut, known.labels, size=(4.6, 4.6)),
            "margins": _alone(_margins, known.margins, size=(5.4, 4)),
            "toxicity": _alone(_toxicity, known.policies, size=(4.4, 4)),
            "ngrams": _alone(_ngrams, known.ngrams, known.ngrams_r2, size=(5.6, 5.6)),
        }
        if "weights" in known.rewards:
            drawn["weights"] = _alone(
                _weights, known.rewards["weights"], known.planted, size=(5.4, 3.6)
            )
        if known.preferences is not None:
            drawn["calibration"] = _alone(_calibration, known.preferences, size=(4.8, 4.6))
    return drawn


def rewards_since_start(curves: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """By how much each policy's training raised its own reward.

    Two rewards differ in their zeros and not only in their scales, so that their rises can be laid
    beside each other and they cannot.

    Args:
        curves: of policy training, by policy (rlhf, rerl).

    Returns:
        step; aligned and rerl, the mean reward less that of the first step, in standard deviations
        of each reward; NaN where one has no such step.
    """
    rises = {}
    for name in ("aligned", "rerl"):
        reward = curves[KEYS[name]].set_index("step")["reward"]
        rises[name] = reward - reward.iloc[0]
    return pd.DataFrame(rises).rename_axis("step").reset_index()


def roc_points(scores: pd.DataFrame, cut: float) -> pd.DataFrame:
    """The ROC curve of low true by low recovered reward, on both policies' test completions.

    Args:
        cut: texts of lower true reward are those to be found.

    Returns:
        Columns false_positive_rate, true_positive_rate; no rows where only one class occurs.
    """
    test = both_policies(scores)
    return _roc_points(test["true_reward"] < cut, test["irl_reward"])


def confusion_points(
    scores: pd.DataFrame, threshold: float, cut: float, labels: Labels
) -> pd.DataFrame:
    """Labels by the true (actual) and the recovered reward (predicted), a row a test completion.

    Args:
        labels: of low and of high rewards.
    """
    test = both_policies(scores)
    names = np.array(labels[::-1])
    return pd.DataFrame(
        {
            "actual": names[(test["true_reward"] < cut).astype(int)],
            "predicted": names[(test["irl_reward"] < threshold).astype(int)],
        }
    )


def reliability(preferences: np.ndarray, bins: int = 5) -> pd.DataFrame:
    """How often the text that is held to be the preferred one of a pair is the aligned one.

    Args:
        preferences: (pairs,), probabilities that the aligned text is preferred.
        bins: of equal width between 1/2 and 1.

    Returns:
        By bin with pairs in it: predicted (the mean probability), observed (the share), low and
        high (its 95 % interval by Wilson), pairs.
    """
    sure = np.maximum(preferences, 1 - preferences)
    right = pd.Series(preferences > 0.5).where(preferences != 0.5, 0.5).astype(float)
    place = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    table = pd.DataFrame({"predicted": sure, "observed": right}).groupby(place).mean()
    table["pairs"] = np.unique(place, return_counts=True)[1]
    right_pairs = np.rint(table["observed"] * table["pairs"]).astype(int)
    intervals = [
        binomtest(int(count), int(pairs)).proportion_ci(method="wilson")
        for count, pairs in zip(right_pairs, table["pairs"], strict=True)
    ]
    return table.assign(low=[i.low for i in intervals], high=[i.high for i in intervals])


def _alone(draw: Any, *known: Any, size: tuple[float, float], **settings: Any) -> Figure:
    """A figure of one panel."""
    figure = Figure(figsize=size)
    draw(figure.subplots(), *known, **settings)
    return figure


def _summary(known: Measured) -> Figure:
    figure = Figure(figsize=(14, 4))
    figure.set_layout_engine("constrained", w_pad=0.15)  # inches, or numbers touch the next label
    scatter, candidates, toxicity = figure.subplots(1, 3)
    _scatter(scatter, known.scores, known.threshold, known.cut)
    _candidates(candidates, known.rewards)
    _toxicity(toxicity, known.policies)
    return figure


def _policy_training(curves: dict[str, pd.DataFrame]) -> Figure:
    trained = {"aligned": "true reward", "rerl": "recovered reward"}
    panels = {
        "reward": "mean reward since the first step\n(std of each reward)",
        "kl": "KL to base (nats per completion)",
        "length": "length (tokens)",
        "entropy": "entropy (nats per token)",
    }
    figure = Figure(figsize=(10, 6.5))
    axes = figure.subplots(2, 2)
    rises = rewards_since_start(curves).set_index("step")
    for axis, (column, label) in zip(axes.flat, panels.items(), strict=True):
        for name, reward in trained.items():
            curve = curves[KEYS[name]]
            values = rises.loc[curve["step"], name] if column == "reward" else curve[column]
            axis.plot(curve["step"], values, label=f"{name}, {reward}", **_line(name, len(curve)))
        axis.set(xlabel="step", ylabel=label)
        axis.legend(fontsize=9)
    axes.flat[0].axhline(0, color=INK, linewidth=0.6, linestyle=":")
    return figure


def _irl_training(runs: pd.DataFrame, exported: int | None) -> Figure:
    panels = {"loss": "mean training loss", "valid_discrimination": "discrimination on valid pairs"}
    control = _CANDIDATES["shuffled"]
    styles: dict[str, dict[str, Any]] = {
        "exported run": {"color": RED, "linewidth": 2.2, "marker": "^", "zorder": 3},
        "other runs": {"color": BLUE, "linewidth": 0.7, "marker": "o", "zorder": 2},
        _CANDIDATES["shuffled"]: {
            "color": GREY,
            "linewidth": 0.6,
            "linestyle": "--",
            "marker": "x",
        },
    }
    thin = {"rasterized": True}  # hundreds of lines are too large for an SVG in a page
    figure = Figure(figsize=(10, 3.8))
    axes = figure.subplots(1, 2)
    drawn = runs[runs["kind"].isin(["fit", "shuffled"])].astype({"kind": str})
    named: dict[str, Line2D] = {}
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        for (kind, run), rows in drawn.groupby(["kind", "run"]):
            name = "exported run" if run == exported else "other runs"
            if kind == "shuffled":
                name = control
            marks = {"markevery": np.flatnonzero(rows["selected"]), "markersize": 4}
            marks |= {"markersize": 8} if name == "exported run" else thin
            axis.plot(rows["epoch"], rows[column], **styles[name], **marks)
            named[name] = Line2D([], [], label=name, **styles[name])
        axis.set(xlabel="epoch", ylabel=label, xlim=(0.5, drawn["epoch"].max() + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_title("All runs; a mark at the chosen epoch")
    axes[1].set_title("What the epoch is chosen by")
    chance = axes[1].axhline(0.5, color=INK, linewidth=0.6, linestyle=":", label="chance")
    kept = [named[name] for name in styles if name in named]
    figure.legend(handles=[*kept, chance], loc="outside lower center", ncols=4)
    return figure


def _candidates(axis: Axes, rewards: dict[str, Any]) -> None:
    """ROC-AUC of the recovered reward, its ensemble, the controls and the reference."""
    controls = {name: rewards["controls"][name] for name in CONTROLS if name in rewards["controls"]}
    own = {"recovered": rewards["test"], "ensemble": rewards["ensemble"]}
    found = own | rewards["reference"] | controls
    tables = {candidate(key, rewards["runs"]): table for key, table in found.items()}
    recovered: dict[str, Any] = {"color": BLUE, "fmt": "o"}
    reference: dict[str, Any] = {"color": PURPLE, "fmt": "D"}
    control: dict[str, Any] = {"color": GREY, "fmt": "o", "markerfacecolor": "none"}
    looks = [recovered, recovered, reference] + [control] * len(controls)
    lowest = 0.4  # of an axis that cuts nothing off: controls may lie anywhere
    for position, (table, look) in enumerate(zip(tables.values(), looks, strict=True)):
        row = table.get("roc_auc", {})
        value = row.get("median", row.get("value"))
        if value is None:
            continue
        low, high = min(row["low"], value), max(row["high"], value)
        axis.errorbar(value, position, xerr=[[value - low], [high - value]], capsize=3, **look)
        # At the right of the axis, in its units of height.
        axis.annotate(
            f"{value:.3f}", (1.02, position), xycoords=axis.get_yaxis_transform(), va="center"
        )
        lowest = min(lowest, low - 0.02)
    axis.set(xlabel="ROC-AUC on test completions, 95 % interval", xlim=(max(lowest, 0), 1.0))
    axis.set_yticks(range(len(tables)), list(tables))
    axis.set_ylim(len(tables) - 0.5, -0.5)
    axis.axvline(0.5, color=INK, linewidth=0.6, linestyle=":")
    axis.annotate("chance", (0.5, 1), xycoords=axis.get_xaxis_transform(), ha="center", fontsize=8)
    axis.set_title("Recovered reward, reference and controls", pad=14)


def _run_correlations(axis: Axes, correlations: pd.DataFrame) -> None:
    """A histogram where all runs are alike: their matrix is of one colour."""
    matrix = correlations.pivot(index="run", columns="other_run", values="spearman").to_numpy()
    between = matrix[np.triu_indices(len(matrix), 1)]
    lowest = between.min() if len(between) and np.isfinite(between).all() else None
    if lowest is not None and lowest > _ALIKE:
        start = min(np.floor(lowest * 100) / 100, 0.99)
        axis.hist(between, bins=20, range=(start, 1.0), color=BLUE, edgecolor="white")
        axis.set(xlabel="Spearman correlation of two runs", ylabel="pairs of runs", xlim=(start, 1))
        axis.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.set_title(f"{len(matrix)} runs against each other, lowest {lowest:.3f}")
        return
    picture = axis.imshow(matrix, vmin=-1, vmax=1, cmap="cividis")
    axis.figure.colorbar(picture, ax=axis, label="Spearman correlation")
    axis.set(xlabel="run", ylabel="run")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    known = np.isfinite(between).any()
    axis.set_title(
        "Runs against each other" + (f", lowest {np.nanmin(between):.2f}" if known else "")
    )


def _scatter(axis: Axes, scores: pd.DataFrame, threshold: float, cut: float) -> None:
    test = both_policies(scores)
    _points(axis, test)
    axis.axvline(cut, color=INK, linewidth=0.8, linestyle=":", label="cut of the true reward")
    axis.axhline(threshold, color=INK, linewidth=0.8, linestyle="--", label="threshold")
    axis.set_title(f"Held-out test completions, Spearman {_spearman(test)}")
    axis.legend(fontsize=9)


def _within_class(scores: pd.DataFrame, threshold: float, cut: float, labels: Labels) -> Figure:
    test = both_policies(scores)
    low = test["true_reward"] < cut
    figure = Figure(figsize=(9.6, 4.4))
    for axis, name, part in zip(
        figure.subplots(1, 2, sharey=True), labels, (test[low], test[~low]), strict=True
    ):
        _points(axis, part)
        bottom, top = axis.get_ylim()
        if bottom < threshold < top:  # the texts' own range is what is looked at
            axis.axhline(threshold, color=INK, linewidth=0.8, linestyle="--", label="threshold")
        axis.set_title(f"{name.capitalize()}: {len(part)} texts, Spearman {_spearman(part)}")
        if len(part):
            axis.legend(fontsize=9)
    return figure


def _points(axis: Axes, texts: pd.DataFrame) -> None:
    """True and recovered rewards by policy, in random order: neither policy hides the other."""
    shuffled = texts.sample(frac=1, random_state=0)
    source = shuffled["source"].astype(str)
    # In slices, since points of one call have one marker.
    for part in np.array_split(np.arange(len(shuffled)), 8):
        for name in ("base", "aligned"):
            rows = shuffled.iloc[part][(source.iloc[part] == name).to_numpy()]
            look = {"marker": POLICIES[name]["marker"], "color": POLICIES[name]["color"]}
            axis.scatter(
                rows["true_reward"],
                rows["irl_reward"],
                s=12,
                alpha=0.6,
                linewidths=0,
                rasterized=True,  # an SVG of thousands of points is too large for a page
                **look,
            )
    for name in sorted(set(source), key=list(POLICIES).index):
        look = {"marker": POLICIES[name]["marker"], "color": POLICIES[name]["color"]}
        axis.scatter([], [], s=20, label=name, **look)
    axis.set(xlabel="true reward", ylabel="recovered reward")


def _spearman(texts: pd.DataFrame) -> str:
    if texts["true_reward"].nunique() < 2 or texts["irl_reward"].nunique() < 2:
        return "unknown"
    return f"{spearmanr(texts['true_reward'], texts['irl_reward']).statistic:.2f}"


def _confusion(
    axis: Axes, scores: pd.DataFrame, threshold: float, cut: float, labels: Labels
) -> None:
    points = confusion_points(scores, threshold, cut, labels)
    names = list(labels[::-1])
    table = pd.crosstab(points["actual"], points["predicted"])
    counts = table.reindex(index=names, columns=names, fill_value=0).to_numpy()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        share = shares[row, column]
        axis.text(
            column,
            row,
            f"{count}\n{share:.0%}",
            ha="center",
            va="center",
            color="white" if share > 0.5 else "black",
        )
    axis.set(xticks=[0, 1], yticks=[0, 1], xticklabels=names, yticklabels=names)
    axis.set(xlabel="by the recovered reward", ylabel="by the true reward")
    axis.set_title("Labels of test completions, shares of a row")


def _roc_points(toxic: pd.Series, reward: pd.Series) -> pd.DataFrame:
    if toxic.nunique() < 2:
        return pd.DataFrame({"false_positive_rate": [], "true_positive_rate": []})
    false, true, _ = roc_curve(toxic.astype(int), -reward)
    return pd.DataFrame({"false_positive_rate": false, "true_positive_rate": true})


def _roc(axis: Axes, scores: pd.DataFrame, cut: float, labels: Labels) -> None:
    human = scores[(scores["source"] == "human") & scores["toxic"].notna()]
    lines: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {
        "test completions": (roc_points(scores, cut), {"color": BLUE}),
        "comments, by their labels": (
            _roc_points(human["toxic"].astype(int), human["irl_reward"]),
            {"color": GREEN, "linestyle": "--"},
        ),
    }
    for name, (points, look) in lines.items():
        if len(points):
            false, true = points["false_positive_rate"], points["true_positive_rate"]
            axis.plot(false, true, label=f"{name}, AUC {auc(false, true):.3f}", **look)
    axis.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=":", label="chance, AUC 0.500")
    axis.set(xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    axis.set_title(f"{labels[0].capitalize()} texts found by the recovered reward")
    axis.legend(loc="lower right", fontsize=9)


def _margins(axis: Axes, margins: dict[str, np.ndarray]) -> None:
    """Margins of the recovered reward, beside those of fits to labels that say nothing."""
    looks: dict[str, tuple[str, dict[str, Any]]] = {
        "recovered": ("recovered reward", {"color": BLUE, "alpha": 0.8}),
        "shuffled": (
            _CANDIDATES["shuffled"],
            {"color": GREY, "histtype": "step", "linestyle": "--", "linewidth": 1.4},
        ),
    }
    # No bar on both sides of 0; the few margins that are further out count in the outermost bars.
    limit = max(float(np.quantile(np.abs(values), 0.995)) for values in margins.values()) or 1.0
    bins = np.linspace(-limit, limit, 41)
    for name, values in margins.items():
        label, look = looks[name]
        label += f", below 0: {(values < 0).mean():.1%}"
        shares = np.full(len(values), 1 / len(values))
        axis.hist(values.clip(-limit, limit), bins.tolist(), weights=shares, label=label, **look)
    axis.axvline(0, color=INK, linewidth=0.6, linestyle=":")
    axis.set(xlabel="margin, aligned minus base (standard deviations)", ylabel="share of pairs")
    against = (margins["recovered"] < 0).mean()
    axis.set_title(f"The recovered reward prefers the base text in {against:.1%} of test pairs")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])  # room for the legend, wherever the bars stand
    axis.legend(loc="upper left")


def _toxicity(axis: Axes, policies: dict[str, dict[str, float]]) -> None:
    for position, name in enumerate(POLICIES):
        policy = policies[KEYS[name]]
        rate = policy["toxicity_rate"]
        low, high = policy["toxicity_rate_low"], policy["toxicity_rate_high"]
        look = {key: POLICIES[name][key] for key in ("color", "hatch")}
        axis.bar(name, rate, edgecolor="white", width=0.6, **look)
        error = [[max(rate - low, 0)], [max(high - rate, 0)]]
        axis.errorbar(position, rate, error, fmt="none", ecolor=INK, capsize=4)
        axis.text(position, high + 0.01, f"{rate:.3f}", ha="center", va="bottom")
    axis.set(ylabel="toxicity rate", ylim=(0, 1.06), yticks=np.arange(0, 1.1, 0.2))
    axis.set_title("On test prompts, 95 % intervals")


def _ngrams(axis: Axes, ngrams: pd.DataFrame, r2: float) -> None:
    """The largest weights of either sign, the most rewarded first."""
    ordered = ngrams.sort_values("weight", kind="stable", ascending=False)
    rewarded = ordered[ordered["weight"] > 0].head(_NGRAMS)
    penalised = ordered[ordered["weight"] < 0].tail(_NGRAMS)
    kinds: list[tuple[str, pd.DataFrame, dict[str, Any]]] = [
        ("rewarded", rewarded, {"color": BLUE}),
        ("penalised", penalised, {"color": RED, "hatch": "//", "edgecolor": "white"}),
    ]
    start = 0
    for name, part, look in kinds:
        if len(part):
            axis.barh(np.arange(start, start + len(part)), part["weight"], label=name, **look)
        start += len(part)
    axis.set_yticks(range(start), [*rewarded["ngram"], *penalised["ngram"]])
    axis.set_ylim(max(start, 1) - 0.5, -0.5)
    axis.axvline(0, color=INK, linewidth=0.6)
    axis.set(xlabel="weight (standard deviations of the reward)")
    if start:
        axis.set_title(f"A sparse sum of words: {r2:.0%} of the variance")
        axis.legend(fontsize=9)
    else:
        axis.set_title("No word says anything of the reward")


def _weights(
    axis: Axes, weights: dict[str, dict[str, dict[str, float]]], parts: Sequence[str]
) -> None:
    """Ratios to the first planted part, where they are known: pairs do not tell the scale."""
    kind = "ratio" if all("ratio" in found for found in weights.values()) else "weight"
    places = np.arange(len(parts))
    looks: dict[str, dict[str, Any]] = {
        "planted": {"color": GREY},
        "recovered": {"color": BLUE, "hatch": "//", "edgecolor": "white"},
    }
    for shift, (name, look) in zip((-0.2, 0.2), looks.items(), strict=True):
        values = [weights[name][kind][part] for part in parts]
        axis.barh(places + shift, values, 0.4, label=name, **look)
    axis.set_yticks(places, parts)
    axis.set_ylim(len(parts) - 0.5, -0.5)
    axis.axvline(0, color=INK, linewidth=0.6)
    axis.set(xlabel=f"weight over that of {parts[0]}" if kind == "ratio" else "weight")
    axis.set_title("Parts of the reward, planted and recovered")
    axis.legend(fontsize=9)


def _calibration(axis: Axes, preferences: np.ndarray) -> None:
    """Observed against predicted: on the diagonal probabilities are what they say."""
    table = reliability(preferences)
    errors = [table["observed"] - table["low"], table["high"] - table["observed"]]
    axis.errorbar(
        table["predicted"],
        table["observed"],
        np.maximum(errors, 0),
        fmt="o-",
        color=BLUE,
        capsize=3,
        label="test pairs, 95 % intervals",
    )
    for row in table.itertuples():
        axis.annotate(
            str(row.pairs),
            (row.predicted, row.high),
            (0, 3),
            textcoords="offset points",
            ha="center",
        )
    axis.plot([0.5, 1], [0.5, 1], color=INK, linewidth=0.8, linestyle=":", label="as predicted")
    low = min(0.5, float(table["low"].min()) - 0.02)
    axis.set(xlim=(0.48, 1.02), ylim=(low, 1.06))
    axis.set(xlabel="predicted probability of the preferred text", ylabel="share that is aligned")
    axis.set_title("Calibration of preferences (numbers of pairs)")
    axis.legend(loc="lower right", fontsize=9)


def _line(policy: str, steps: int) -> dict[str, Any]:
    """How a policy's curve is drawn, with some eight marks."""
    look = {key: POLICIES[policy][key] for key in ("color", "marker", "linestyle")}
    return look | {"markevery": max(steps // 8, 1), "markersize": 4}
