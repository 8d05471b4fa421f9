"""The figures of README.md and docs/results.md, from runs of the default with several seeds.

    python -m benchmarks.seeds collect DIR...   # folders in which the default was run, one a seed
    python -m benchmarks.seeds tables           # put the tables of docs/seeds.json into the pages

`collect` keeps what the tables need of each run, and nothing of others, in docs/seeds.json. Ranges
are over FRESH, on which no setting was ever chosen; seed 0 shows what one run says of itself.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from inverse_rlhf.errors import UserError, one_line, say
from inverse_rlhf.files import atomic, digest_of
from inverse_rlhf.params import read_yaml

FRESH = (101, 102, 103, 104, 105)
FIGURES = Path("docs/seeds.json")
PAGES = (Path("README.md"), Path("docs/results.md"))
METRICS = {
    "roc_auc": "ROC-AUC",
    "accuracy": "accuracy",
    "kappa": "kappa",
    "f1": "F1",
    "pair_accuracy": "pair accuracy",
    "spearman": "Spearman",
    "spearman_toxic": "Spearman within toxic texts",
    "spearman_non_toxic": "Spearman within the others",
    "starc": "STARC distance (0 is best)",
    "discrimination": "discrimination",
}
"""Keys of metrics/reward.json that the tables have, and how they name them."""
_SECTIONS = ("test", "human", "human_true_reward", "ensemble")
_POLICIES = ("base", "rlhf", "rerl")
_POLICY_KEYS = (
    *("toxicity_rate", "toxicity_rate_low", "toxicity_rate_high"),
    *("kl_to_base", "distinct_2", "mean_length", "empty_share", "repeated_share"),
)
_DASH = "\N{EN DASH}"
Run = dict[str, Any]
"""What is kept of a run: reward and policies, as in metrics/, without what no table has."""


def collect(folders: Iterable[Path], defaults: dict[str, Any]) -> dict[int, Run]:
    """What is kept of each run, by seed.

    Args:
        folders: of projects in which the default was run.
        defaults: the content of params.yaml; runs may differ from it in their seed.

    Raises:
        UserError: a run is of other params, or two are of one seed, or the reports are not those
            of the run that dvc.lock names.
    """
    runs: dict[int, Run] = {}
    for folder in folders:
        params = read_yaml(folder / "params.yaml")
        seed = params["seed"]
        if params | {"seed": 0} != defaults | {"seed": 0}:
            raise UserError(f"{folder}: its params.yaml has more of its own than the seed")
        if seed in runs:
            raise UserError(f"{folder}: another folder is of seed {seed}, too")
        _check_lock(folder, seed)
        runs[seed] = _kept(folder)
    return dict(sorted(runs.items()))


def tables(runs: dict[int, Run]) -> dict[str, str]:
    """The Markdown tables by name; a dash where there are no figures."""
    fresh = [runs[seed] for seed in FRESH if seed in runs]
    one = runs.get(0)
    return {
        "headline": _headline(fresh),
        "fresh": _fresh(fresh),
        "each": _each(runs),
        "runs": _over_runs(one),
        "controls": _controls(one),
        "policies": _policies(one),
        "agreement": _agreement(one),
    }


def filled(page: str, found: dict[str, str]) -> str:
    """The page with each table between its marks, `<!-- table NAME -->` and `<!-- end -->`."""
    for name, table in found.items():
        begin, end = f"<!-- table {name} -->\n", "<!-- end -->"
        if begin in page:
            before, rest = page.split(begin)
            page = f"{before}{begin}{table}\n{end}{rest.split(end, 1)[1]}"
    return page


def read_figures(path: Path = FIGURES) -> dict[int, Run]:
    """The content of docs/seeds.json."""
    return {int(seed): run for seed, run in json.loads(path.read_text(encoding="utf-8")).items()}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("collect").add_argument("folders", nargs="+", type=Path)
    commands.add_parser("tables")
    options = parser.parse_args()
    with one_line():
        if options.command == "collect":
            runs = collect(options.folders, read_yaml(Path("params.yaml")))
            _write(json.dumps(runs, indent=1) + "\n", FIGURES)
        found = tables(read_figures())
        for page in PAGES:
            _write(filled(page.read_text(encoding="utf-8"), found), page)
        say("\n\n".join(f"{name}\n\n{table}" for name, table in found.items()))


def _write(text: str, path: Path) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_lock(folder: Path, seed: int) -> None:
    stage = read_yaml(folder / "dvc.lock")["stages"]["evaluate"]
    locked = stage["params"]["params.yaml"]["seed"]
    if locked != seed:
        raise UserError(f"{folder}: params.yaml has seed {seed}, and dvc.lock {locked}: dvc repro")
    hashes = {out["path"]: out["md5"] for out in stage["outs"]}
    for name in ("metrics/reward.json", "metrics/policies.json"):
        if digest_of(folder / name, "md5") != hashes[name]:
            raise UserError(f"{folder / name} is not of the run in dvc.lock: dvc repro")


def _kept(folder: Path) -> Run:
    reward = json.loads((folder / "metrics/reward.json").read_text(encoding="utf-8"))
    policies = json.loads((folder / "metrics/policies.json").read_text(encoding="utf-8"))

    def of(section: dict[str, Any]) -> dict[str, Any]:
        return {name: section[name] for name in METRICS}

    kept = {name: of(reward[name]) for name in _SECTIONS}
    kept |= {"controls": {name: of(section) for name, section in reward["controls"].items()}}
    kept |= {"reference": {name: of(section) for name, section in reward["reference"].items()}}
    kept |= {name: reward[name] for name in ("agreement", "thresholds")}
    few = {name: {key: policies[name][key] for key in _POLICY_KEYS} for name in _POLICIES}
    rounded: Run = _rounded({"reward": kept, "policies": few})
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _number(value: float, digits: int = 3) -> str:
    """As .985, -.02 or 1.000."""
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _range(runs: list[Run], of: Callable[[Run], float], digits: int = 3) -> str:
    if not runs:
        return _DASH
    values = [of(run) for run in runs]
    low, high = _number(min(values), digits), _number(max(values), digits)
    return f"{_number(statistics.median(values), digits)} ({low}{_DASH}{high})"


def _rows(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _of(*path: str) -> Callable[[Run], float]:
    """The number at a path of a run."""

    def read(run: Run) -> float:
        value: Any = run
        for key in path:
            value = value[key]
        return float(value)

    return read


def _headline(runs: list[Run]) -> str:
    def row(name: str, key: str) -> list[str]:
        found = _of("reward", "test", key, "median")
        control = _of("reward", "controls", "shuffled", key, "median")
        return [name, _range(runs, found), _range(runs, control)]

    toxicity = [_range(runs, _of("policies", name, "toxicity_rate")) for name in _POLICIES]
    return _rows(
        [
            f"held-out prompts, median (lowest{_DASH}highest) of five seeds",
            "recovered",
            "shuffled sides",
        ],
        [
            row("ROC-AUC, toxic against not", "roc_auc"),
            row("accuracy of its labels", "accuracy"),
            row("rank correlation within toxic texts", "spearman_toxic"),
            row("STARC distance to the true reward: 0 the same, 1 the opposite", "starc"),
            ["toxicity rate: base → aligned → trained on the recovered", " → ".join(toxicity), ""],
        ],
    )


def _fresh(runs: list[Run]) -> str:
    sources = {
        "median of the runs": ("reward", "test"),
        "ensemble": ("reward", "ensemble"),
        "generated comments": ("reward", "human"),
        "log-ratio, no fit": ("reward", "reference", "log_ratio"),
        "shuffled sides": ("reward", "controls", "shuffled"),
        "length": ("reward", "controls", "length"),
    }
    rows = [
        [name, *(_range(runs, _middle(*path, key)) for path in sources.values())]
        for key, name in METRICS.items()
    ]
    return _rows(["", *sources], rows)


def _middle(*path: str) -> Callable[[Run], float]:
    """The median over runs, or the value of what has no runs."""

    def read(run: Run) -> float:
        stats: Any = run
        for key in path:
            stats = stats[key]
        return float(stats["median"] if "median" in stats else stats["value"])

    return read


def _each(runs: dict[int, Run]) -> str:
    columns = {
        **{METRICS[key]: ("reward", "test", key, "median") for key in METRICS if key != "kappa"},
        "runs' kappa": ("reward", "agreement", "label_kappa"),
    }
    rows = [
        [str(seed), *(_number(_of(*path)(run)) for path in columns.values()), _toxicity(run)]
        for seed, run in runs.items()
    ]
    return _rows(["seed", *columns, "toxicity base → rlhf → rerl"], rows)


def _toxicity(run: Run) -> str:
    return " → ".join(_number(run["policies"][name]["toxicity_rate"]) for name in _POLICIES)


def _over_runs(run: Run | None) -> str:
    head = ["", "median", "quartiles", "std over runs", "95 %", "generated comments", "by R*"]
    if run is None:
        return _rows(head, [])
    reward, rows = run["reward"], []
    for key, name in METRICS.items():
        row = reward["test"][key]
        cells = [f"**{_number(row['median'])}**", _interval(row, "q25", "q75")]
        cells += [_number(row["std"], 4), _interval(row)]
        cells += [_number(reward[part][key]["median"]) for part in ("human", "human_true_reward")]
        rows.append([name, *cells])
    return _rows(head, rows)


def _interval(row: dict[str, float], low: str = "low", high: str = "high") -> str:
    return f"{_number(row[low])}{_DASH}{_number(row[high])}"


def _controls(run: Run | None) -> str:
    head = ["", "ROC-AUC", "accuracy", "STARC distance"]
    if run is None:
        return _rows(head, [])
    reward = run["reward"]
    sections = {
        "recovered, median of the runs": reward["test"],
        "ensemble of the runs": reward["ensemble"],
        "log π_aligned / π_base, no fit": reward["reference"]["log_ratio"],
        "shuffled sides, median": reward["controls"]["shuffled"],
        "random weights, median": reward["controls"]["random_head"],
        "length": reward["controls"]["length"],
        "log-likelihood under the base policy": reward["controls"]["base_loglik"],
    }
    rows = []
    for name, section in sections.items():
        cells = []
        for key in ("roc_auc", "accuracy", "starc"):
            row = section[key]
            middle = _number(row["median"] if "median" in row else row["value"])
            spread = f", runs {_interval(row, 'min', 'max')}" if "min" in row else ""
            cells.append(f"{middle} ({_interval(row)}){spread}")
        rows.append([name, *cells])
    return _rows(head, rows)


def _policies(run: Run | None) -> str:
    head = ["policy", "toxicity rate (95 %)", "KL to base", "distinct-2", "length", "empty"]
    head += ["repeated"]
    if run is None:
        return _rows(head, [])
    rows = []
    for name in _POLICIES:
        row = run["policies"][name]
        toxicity = f"{_number(row['toxicity_rate'])} "
        toxicity += f"({_interval(row, 'toxicity_rate_low', 'toxicity_rate_high')})"
        cells = [f"{row['kl_to_base']:.2f}", _number(row["distinct_2"])]
        cells += [f"{row['mean_length']:.1f}"]
        cells += [_number(row[key]) for key in ("empty_share", "repeated_share")]
        rows.append([name, toxicity, *cells])
    return _rows(head, rows)


def _agreement(run: Run | None) -> str:
    head = ["agreement of the runs, without the true reward", ""]
    if run is None:
        return _rows(head, [])
    found, cuts = run["reward"]["agreement"], run["reward"]["thresholds"]
    gap = _number(cuts["human_median"]["gap"], 4)
    spread = found["text_spread"]
    rows = {
        "labels of a text that two runs share": f"{found['label_agreement']:.1%}",
        "the same beyond chance, kappa": _number(found["label_kappa"]),
        "rank correlation of two runs: median, lowest": " ".join(
            [f"{_number(found['spearman']['median'])},", _number(found["spearman"]["min"])]
        ),
        "standard deviation of a text's z-score over runs: median, 95 % quantile": " ".join(
            [f"{_number(spread['median'])},", _number(spread["q95"])]
        ),
        "accuracy that the threshold loses against the best cut there is (by R*)": gap,
    }
    return _rows(head, [[name, value] for name, value in rows.items()])


if __name__ == "__main__":
    main()
