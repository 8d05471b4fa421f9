"""The figures: what was trained, what was recovered, what it is worth."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr
from sklearn.metrics import auc, roc_curve

from inverse_rlhf.data.tables import both_policies
from inverse_rlhf.files import atomic

COLOURS = {"base": "#7f7f7f", "rlhf": "#0072b2", "rerl": "#e69f00", "human": "#009e73"}
_STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def draw_figures(
    scores: pd.DataFrame,
    runs: pd.DataFrame,
    rewards: dict[str, Any],
    policies: dict[str, dict[str, float]],
    curves: dict[str, pd.DataFrame],
    correlations: pd.DataFrame,
    margins: dict[str, np.ndarray],
    exported: int | None,
    folder: Path | str,
    *,
    threshold: float,
    cut: float,
) -> None:
    """Write every figure as a PNG into `folder`, all of them or none.

    Args:
        scores: the scores table.
        runs: the irl_runs table.
        rewards, policies: the content of metrics/reward.json and metrics/policies.json.
        curves: of policy training, by policy (rlhf, rerl).
        correlations: the run_correlations table.
        margins: of test pairs, by whose they are (recovered and, if it was run, shuffled), in
            standard deviations.
        exported: number of the exported run; None: the ensemble.
        threshold, cut: of the exported and of the true reward.
    """
    with mpl.rc_context(_STYLE), atomic(folder) as temporary:
        temporary.mkdir()
        with _figure(temporary / "policy_training.png", 10, 6.5, 2, 2) as axes:
            _policy_training(axes, curves)
        with _figure(temporary / "irl_training.png", 10, 3.6, 1, 2) as axes:
            _irl_training(axes, runs, exported)
        with _figure(temporary / "runs.png", 10, 4.2, 1, 2) as axes:
            _candidates(axes[0], rewards)
            _run_correlations(axes[1], correlations)
        with _figure(temporary / "reward_scatter.png", 5, 4.4) as axes:
            _scatter(axes[0], scores, threshold, cut)
        with _figure(temporary / "confusion.png", 4.4, 4) as axes:
            _confusion(axes[0], scores, threshold, cut)
        with _figure(temporary / "roc.png", 4.6, 4.4) as axes:
            _roc(axes[0], scores, cut)
        with _figure(temporary / "margins.png", 5.4, 4) as axes:
            _margins(axes[0], margins)
        with _figure(temporary / "toxicity.png", 4.4, 4) as axes:
            _toxicity(axes[0], policies)
        with _figure(temporary / "summary.png", 14, 4, 1, 3) as axes:
            _scatter(axes[0], scores, threshold, cut)
            _candidates(axes[1], rewards)
            _toxicity(axes[2], policies)


def roc_points(scores: pd.DataFrame, cut: float) -> pd.DataFrame:
    """The ROC curve of toxic texts by low recovered reward, on both policies' test completions.

    Args:
        cut: texts of lower true reward are toxic.

    Returns:
        Columns false_positive_rate, true_positive_rate; no rows where only one class occurs.
    """
    test = both_policies(scores)
    return _roc_points(test["true_reward"] < cut, test["irl_reward"])


def confusion_points(scores: pd.DataFrame, threshold: float, cut: float) -> pd.DataFrame:
    """Labels by the true (actual) and the recovered reward (predicted), a row a test completion."""
    test = both_policies(scores)
    names = np.array(["non-toxic", "toxic"])
    return pd.DataFrame(
        {
            "actual": names[(test["true_reward"] < cut).astype(int)],
            "predicted": names[(test["irl_reward"] < threshold).astype(int)],
        }
    )


@contextmanager
def _figure(
    path: Path, width: float, height: float, rows: int = 1, columns: int = 1
) -> Iterator[list[Axes]]:
    figure = Figure(figsize=(width, height))
    yield list(np.ravel(figure.subplots(rows, columns)))
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _policy_training(axes: list[Axes], curves: dict[str, pd.DataFrame]) -> None:
    labels = {"rlhf": "rlhf, true reward", "rerl": "rerl, recovered reward"}
    panels = {
        "reward": "mean reward (std of each reward)",
        "kl": "KL to base (nats per completion)",
        "length": "length (tokens)",
        "entropy": "entropy (nats per token)",
    }
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        for name, curve in curves.items():
            axis.plot(curve["step"], curve[column], color=COLOURS[name], label=labels[name])
        axis.set(xlabel="step", ylabel=label)
    axes[0].legend()


def _irl_training(axes: list[Axes], runs: pd.DataFrame, exported: int | None) -> None:
    panels = {"loss": "mean training loss", "valid_discrimination": "discrimination on valid pairs"}
    styles: dict[str, dict[str, Any]] = {
        "exported run": {"color": COLOURS["rerl"], "linewidth": 2.2, "zorder": 3},
        "other runs": {"color": COLOURS["rlhf"], "linewidth": 0.7, "zorder": 2},
        "shuffled labels": {"color": "#cccccc", "linewidth": 0.6, "zorder": 1},
    }
    drawn = runs[runs["kind"].isin(["fit", "shuffled"])].astype({"kind": str})
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        for (kind, run), rows in drawn.groupby(["kind", "run"]):
            name = "exported run" if run == exported else "other runs"
            chosen = np.flatnonzero(rows["selected"])
            if kind == "shuffled":
                name = "shuffled labels"
            marks: dict[str, Any] = {"marker": "o", "markevery": chosen, "markersize": 4}
            axis.plot(rows["epoch"], rows[column], **styles[name], **marks)
        axis.set(xlabel="epoch", ylabel=label, xlim=(0.5, drawn["epoch"].max() + 0.5))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].set_title("All runs; a dot marks the chosen epoch")
    axes[1].set_title("What the epoch is chosen by")
    axes[1].axhline(0.5, color="black", linewidth=0.6, linestyle=":")
    lines = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    axes[0].legend(handles=lines)


def _candidates(axis: Axes, rewards: dict[str, Any]) -> None:
    """ROC-AUC of the recovered reward, its ensemble, the controls and the reference."""
    tables = {
        f"recovered, {rewards['runs']} runs": rewards["test"],
        "ensemble": rewards["ensemble"],
    }
    tables |= {"log-ratio": rewards["reference"]["log_ratio"]}
    names = {"shuffled": "shuffled labels", "random_head": "random head", "length": "length"}
    names["base_loglik"] = "base log-likelihood"
    tables |= {names[key]: table for key, table in rewards["controls"].items()}
    for position, table in enumerate(tables.values()):
        row = table.get("roc_auc", {})
        value = row.get("median", row.get("value"))
        if value is None:
            continue
        error = [[max(value - row["low"], 0)], [max(row["high"] - value, 0)]]
        colour = COLOURS["rlhf"] if position < 2 else COLOURS["base"]
        axis.errorbar(value, position, xerr=error, fmt="o", color=colour, capsize=3)
        axis.text(1.03, position, f"{value:.3f}", va="center")
    axis.set(xlabel="ROC-AUC on test completions, 95 % interval", xlim=(0, 1.0))
    axis.set_yticks(range(len(tables)), list(tables))
    axis.invert_yaxis()
    axis.axvline(0.5, color="black", linewidth=0.6, linestyle=":")
    axis.set_title("Recovered reward, reference and controls", loc="left")


def _run_correlations(axis: Axes, correlations: pd.DataFrame) -> None:
    matrix = correlations.pivot(index="run", columns="other_run", values="spearman").to_numpy()
    picture = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu")
    axis.figure.colorbar(picture, ax=axis, label="Spearman correlation")
    axis.set(xlabel="run", ylabel="run")
    between = matrix[~np.eye(len(matrix), dtype=bool)]
    lowest = f", lowest {np.nanmin(between):.2f}" if np.isfinite(between).any() else ""
    axis.set_title(f"Runs against each other{lowest}")


def _scatter(axis: Axes, scores: pd.DataFrame, threshold: float, cut: float) -> None:
    names = {"base": "base", "aligned": "rlhf"}
    # In one call and random order, so that neither policy's points hide the other's.
    test = both_policies(scores).sample(frac=1, random_state=0)
    colours = test["source"].astype(str).map(names).map(COLOURS)
    axis.scatter(test["true_reward"], test["irl_reward"], s=8, alpha=0.6, linewidths=0, c=colours)
    for name in names.values():
        axis.scatter([], [], s=16, color=COLOURS[name], label=name)
    axis.axvline(cut, color="black", linewidth=0.6, linestyle=":")
    axis.axhline(threshold, color="black", linewidth=0.6, linestyle="--", label="threshold")
    rho = spearmanr(test["true_reward"], test["irl_reward"]).statistic
    axis.set(xlabel="true reward", ylabel="recovered reward")
    axis.set_title(f"Held-out test completions, Spearman {rho:.2f}")
    axis.legend()


def _confusion(axis: Axes, scores: pd.DataFrame, threshold: float, cut: float) -> None:
    table = pd.crosstab(*confusion_points(scores, threshold, cut).to_numpy().T)
    names = ["non-toxic", "toxic"]
    table = table.reindex(index=names, columns=names, fill_value=0)
    counts = table.to_numpy()
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
    axis.set_title("Labels of test completions")


def _roc_points(toxic: pd.Series, reward: pd.Series) -> pd.DataFrame:
    if toxic.nunique() < 2:
        return pd.DataFrame({"false_positive_rate": [], "true_positive_rate": []})
    false, true, _ = roc_curve(toxic.astype(int), -reward)
    return pd.DataFrame({"false_positive_rate": false, "true_positive_rate": true})


def _roc(axis: Axes, scores: pd.DataFrame, cut: float) -> None:
    human = scores[(scores["source"] == "human") & scores["toxic"].notna()]
    lines = {
        "test completions": (roc_points(scores, cut), COLOURS["rlhf"]),
        "comments, by their labels": (
            _roc_points(human["toxic"].astype(int), human["irl_reward"]),
            COLOURS["human"],
        ),
    }
    for name, (points, colour) in lines.items():
        if len(points):
            false, true = points["false_positive_rate"], points["true_positive_rate"]
            axis.plot(false, true, color=colour, label=f"{name}, AUC {auc(false, true):.3f}")
    axis.plot([0, 1], [0, 1], color="black", linewidth=0.6, linestyle=":")
    axis.set(xlabel="false positive rate", ylabel="true positive rate")
    axis.set_title("Toxic texts found by the recovered reward")
    axis.legend(loc="lower right")


def _margins(axis: Axes, margins: dict[str, np.ndarray]) -> None:
    """Margins of the recovered reward, beside those of fits to labels that say nothing."""
    styles: dict[str, tuple[str, dict[str, Any]]] = {
        "recovered": ("recovered reward", {"color": COLOURS["rlhf"], "alpha": 0.8}),
        "shuffled": ("shuffled labels", {"color": COLOURS["base"], "histtype": "step"}),
    }
    # No bar on both sides of 0; the few margins that are further out count in the outermost bars.
    limit = max(float(np.quantile(np.abs(values), 0.995)) for values in margins.values()) or 1.0
    bins = np.linspace(-limit, limit, 41)
    for name, values in margins.items():
        label, style = styles[name]
        label += f", below 0: {(values < 0).mean():.1%}"
        shares = np.full(len(values), 1 / len(values))
        axis.hist(values.clip(-limit, limit), bins.tolist(), weights=shares, label=label, **style)
    axis.axvline(0, color="black", linewidth=0.6, linestyle=":")
    axis.set(xlabel="margin, aligned minus base (standard deviations)", ylabel="share of pairs")
    against = (margins["recovered"] < 0).mean()
    axis.set_title(f"The recovered reward prefers the base text in {against:.1%} of test pairs")
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])  # room for the legend, wherever the bars stand
    axis.legend(loc="upper left")


def _toxicity(axis: Axes, policies: dict[str, dict[str, float]]) -> None:
    for position, (name, policy) in enumerate(policies.items()):
        rate = policy["toxicity_rate"]
        low, high = policy["toxicity_rate_low"], policy["toxicity_rate_high"]
        error = [[max(rate - low, 0)], [max(high - rate, 0)]]
        axis.bar(name, rate, color=COLOURS[name], yerr=error, capsize=4, width=0.6)
        axis.text(position, high + 0.01, f"{rate:.3f}", ha="center", va="bottom")
    axis.set(ylabel="toxicity rate", ylim=(0, 1))
    axis.set_title("On test prompts, 95 % intervals")
