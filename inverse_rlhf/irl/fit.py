"""Fit all runs on the pairs, choose the reward to export, and put everything into tables."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.errors import UserError
from inverse_rlhf.features import hidden_states
from inverse_rlhf.irl.design import Design, build_design
from inverse_rlhf.irl.exact import solve_heads
from inverse_rlhf.irl.failure_aware import correct_heads
from inverse_rlhf.irl.linear import Heads, all_margins, fit_heads, random_heads
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.outliers import flag_outliers, outlier_report
from inverse_rlhf.irl.posterior import BayesianFit, fit_posterior, posterior_report
from inverse_rlhf.irl.runs import Run, plan_runs
from inverse_rlhf.irl.selection import median_run
from inverse_rlhf.irl.store import Fit, RunStore, store_key
from inverse_rlhf.irl.thresholds import thresholds
from inverse_rlhf.models import keep_bottom_blocks
from inverse_rlhf.params import Compute, Irl, Parts
from inverse_rlhf.rewards import IrlReward, RewardCard
from inverse_rlhf.tables import OUTLIERS, completions_of

Body = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@dataclass(frozen=True)
class FittedRewards:
    """The result of all runs.

    Attributes:
        runs: one row a run and epoch, as the irl_runs table has them.
        scores: one row a run and text not fitted on, as the irl_scores table has them.
        reward: the one that re-RL uses.
        facts: what is known without the true reward.
        outliers: the outliers table, empty unless the method is bayes.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    reward: IrlReward
    facts: dict[str, Any]
    outliers: pd.DataFrame

    def curve(self) -> pd.DataFrame:
        """Loss and discrimination by epoch of the fit of median discrimination."""
        fits = self.runs[(self.runs["kind"] == "fit")]
        number = _median_number(fits)
        columns = ["epoch", "loss", "valid_discrimination"]
        return fits.loc[fits["run"] == number, columns]


def fit_rewards(
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    body: Body,
    params: Irl,
    parts: Parts,
    compute: Compute,
    *,
    seed: int,
    store: Path,
) -> FittedRewards:
    """Recover the reward from pairs: fitted on `irl`, chosen on `valid`, applied to `test`.

    Args:
        pairs: the pairs table, see `read_pairs`.
        prompts: prompt_id, prompt, human_completion and split of the same prompts, for the
            rewards of the human completions.
        body: the base policy's body with a one-output head (a sequence classifier), loaded from the
            folder `name_or_path`, and its tokenizer.
        store: folder for finished runs, for the caller to remove when the result is written.

    Raises:
        UserError: policies that wrote the same, more rounds than pairs, or a fit that is not
            finite.
    """
    _check(pairs, params)
    if params.method == "bayes":  # its likelihood is Bradley-Terry's
        params = params.model_copy(update={"loss": "logistic"})
    if params.blocks != "all":
        keep_bottom_blocks(body[0], params.blocks)
    texts = _all_texts(pairs, prompts)
    kept = RunStore(store, _key(texts, body[0], params, parts, compute, seed))
    runs = plan_runs(params, seed=seed)
    problem = _Problem(texts, body, params, parts, compute, seed)
    method = _fit_linear if params.trainable == "head" else _fit_networks
    export, facts = method(problem, runs, kept)
    fits = [fit for run in runs if (fit := kept.get(run))]
    table = pd.concat([_run_rows(fit, texts, params) for fit in fits], ignore_index=True)
    reward = _exported(problem, fits, table, kept, export)
    scores = _scores_table(fits, texts)
    outliers = pd.DataFrame(columns=OUTLIERS.names)
    if params.method == "bayes":
        outliers = flag_outliers(texts, *body, compute, seed=seed)
        facts["outliers"] = outlier_report(outliers)
    return FittedRewards(table, scores, reward, _facts(table, reward.card) | facts, outliers)


def _check(pairs: pd.DataFrame, params: Irl) -> None:
    fitted = pairs[pairs["split"] == "irl"]
    if (fitted["base_completion"] == fitted["aligned_completion"]).all():
        raise UserError("in split irl both policies wrote the same: there is no reward to recover")
    if params.method == "bayes" and params.bayes.rounds > len(fitted):
        raise UserError(f"irl.bayes.rounds is {params.bayes.rounds} for {len(fitted)} pairs")


@dataclass(frozen=True)
class _Problem:
    """What all runs share."""

    texts: pd.DataFrame
    body: Body
    params: Irl
    parts: Parts
    compute: Compute
    seed: int

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of aligned and base texts of a split's pairs, shape (pairs, 2)."""
        inside = self.texts["split"] == split
        rows = [np.flatnonzero(inside & (self.texts["source"] == s)) for s in ("aligned", "base")]
        return np.stack(rows, axis=1)


# What is exported, from trained weights of one run or of the ensemble's linear combination.
_Export = Callable[[list[tuple[float, dict[str, torch.Tensor]]], RewardCard], IrlReward]


def _key(
    texts: pd.DataFrame,
    model: PreTrainedModel,
    params: Irl,
    parts: Parts,
    compute: Compute,
    seed: int,
) -> str:
    """What the number of runs and the choice among them change is no part of it."""
    settings = params.model_dump(exclude={"runs", "control_runs", "reward", "threshold"})
    if params.method == "bayes":  # its draws are made together
        settings["runs"] = params.runs
    versions = (torch.__version__, np.__version__, str(model.device))
    return store_key(
        [texts], Path(model.name_or_path), repr((settings, parts, compute, seed, versions))
    )


def _all_texts(pairs: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Every text to score: prompt_id, sample, source, split, prompt, completion, text, and fitted:
    whether the reward is fitted on it, as it never is on human comments.
    """
    human = prompts.assign(source="human", sample=0, completion=prompts["human_completion"])
    columns = ["prompt_id", "sample", "source", "split", "prompt", "completion"]
    parts = [part[columns].astype({"split": str}) for part in (completions_of(pairs), human)]
    table = pd.concat(parts, ignore_index=True)
    fitted = (table["split"] == "irl") & (table["source"] != "human")
    return table.assign(text=table["prompt"] + table["completion"], fitted=fitted)


def _fit_linear(
    problem: _Problem, runs: list[Run], kept: RunStore
) -> tuple[_Export, dict[str, Any]]:
    texts, params = problem.texts, problem.params
    design = build_design(
        texts["text"].tolist(),
        texts["fitted"].to_numpy(),
        *problem.body,
        params,
        problem.parts,
        problem.compute,
    )
    phi = torch.from_numpy(design.matrix).to(problem.body[0].device)
    deltas = {split: _deltas(phi, problem.rows(split)) for split in ("irl", "valid", "test")}
    if not deltas["irl"].any():
        raise UserError(
            f"irl.features {params.features} are the same for both completions of every pair in "
            "split irl: no reward can be recovered from them"
        )
    facts, bayesian = {}, None
    if params.method == "bayes":
        scale = phi[np.flatnonzero(texts["fitted"])].std(dim=0)
        bayesian = fit_posterior(deltas, scale, params, seed=problem.seed)
        facts["bayes"] = posterior_report(bayesian, deltas)
    missing = [run for run in runs if kept.get(run) is None]
    for kind in ("fit", "plain", "shuffled", "random_head"):
        of_kind = [run for run in missing if run.kind == kind]
        # Adam fits all runs of a kind as one program; exact solutions come, and are kept, singly.
        size = 1 if params.solver == "exact" else max(1, len(of_kind))
        for group in (of_kind[start : start + size] for start in range(0, len(of_kind), size)):
            heads = _heads(deltas["irl"], deltas["valid"], group, params, bayesian)
            _keep_heads(heads, group, phi, kept)
    return _linear_export(problem, design), facts


def _deltas(phi: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
    """Aligned minus base features, (pairs, features)."""
    return phi[rows[:, 0]] - phi[rows[:, 1]]


def _heads(
    train: torch.Tensor,
    valid: torch.Tensor,
    runs: Sequence[Run],
    params: Irl,
    bayesian: BayesianFit | None,
) -> Heads:
    """The heads of runs of one kind."""
    if runs[0].kind == "random_head":
        return random_heads(train, valid, runs, params)
    if bayesian is not None:
        return bayesian.draws(runs, train, valid)
    heads = (solve_heads if params.solver == "exact" else fit_heads)(train, valid, runs, params)
    if params.method == "failure_aware" and runs[0].kind != "plain":
        return correct_heads(heads, train, valid, runs, params)
    return heads


def _keep_heads(heads: Heads, runs: Sequence[Run], phi: torch.Tensor, kept: RunStore) -> None:
    rewards = all_margins(heads.weight, phi).cpu().numpy()
    for index, run in enumerate(runs):
        fit = Fit(
            run,
            heads.loss[index].tolist(),
            heads.valid_discrimination[index].tolist(),
            int(heads.epoch[index]),
            rewards[index],
        )
        kept.put(fit, {"weight": heads.weight[index].cpu()})


def _linear_export(problem: _Problem, design: Design) -> _Export:
    """Linear rewards add up: the ensemble of heads is a head."""

    def export(
        weighted: list[tuple[float, dict[str, torch.Tensor]]], card: RewardCard
    ) -> IrlReward:
        weights = [factor * state["weight"].double().numpy() for factor, state in weighted]
        raw = design.raw(np.sum(weights, axis=0))
        body = None
        if design.hidden:
            body = problem.body
            with torch.no_grad():
                head = body[0].score.weight
                head[0].copy_(torch.from_numpy(raw[: design.hidden]))
            body[0].eval()
        return IrlReward(body, design.text_reward(raw), problem.compute, card)

    return export


def _fit_networks(
    problem: _Problem, runs: list[Run], kept: RunStore
) -> tuple[_Export, dict[str, Any]]:
    model, tokenizer = problem.body
    texts = problem.texts["text"].tolist()
    network = RewardNetwork(model, tokenizer, texts, problem.params, problem.compute)
    pairs = Pairs(problem.rows("irl"), problem.rows("valid"))
    missing = [run for run in runs if kept.get(run) is None]
    random = [run for run in missing if run.kind == "random_head"]
    if random:
        pooling = problem.params.pooling
        phi = torch.from_numpy(
            hidden_states(texts, model, tokenizer, problem.compute, pooling=pooling)
        )
        train, valid = _deltas(phi, pairs.train), _deltas(phi, pairs.valid)
        _keep_heads(random_heads(train, valid, random, problem.params), random, phi, kept)
    for run in tqdm([run for run in missing if run.kind != "random_head"], "runs"):
        fit = network.fit(pairs, run)
        rewards = network.score()
        history = Fit(run, fit.loss, fit.valid_discrimination, fit.epoch, rewards)
        kept.put(history, fit.state if run.kind == "fit" else {})

    def export(
        weighted: list[tuple[float, dict[str, torch.Tensor]]], card: RewardCard
    ) -> IrlReward:
        network.set_state(weighted[0][1])
        return IrlReward((model.eval(), tokenizer), None, problem.compute, card)

    return export, {}


def _exported(
    problem: _Problem, fits: list[Fit], table: pd.DataFrame, kept: RunStore, export: _Export
) -> IrlReward:
    """The reward that `irl.reward` names, with its card."""
    params, texts = problem.params, problem.texts
    own = [fit for fit in fits if fit.run.kind == "fit"]
    if not any(np.ptp(fit.rewards[problem.rows("irl")], axis=1).any() for fit in own):
        raise UserError("no run prefers one completion of any pair in split irl: lower irl.lr")
    chosen = table[(table["kind"] == "fit") & table["selected"]].set_index("run")
    discriminations: dict[int, float] = chosen["valid_discrimination"].to_dict()  # type: ignore[assignment]
    found = {
        "features": params.features,
        **params.model_dump(include={"pooling", "method", "loss", "trainable"}),
    }
    if params.reward != "ensemble":
        number = _median_number(table[table["kind"] == "fit"])
        number = number if params.reward == "median_run" else params.reward
        fit = next(fit for fit in own if fit.run.number == number)
        card = RewardCard(
            **found,
            **_described(fit.rewards, texts, params),
            run=number,
            epoch=fit.epoch,
            valid_discrimination=discriminations[number],
        )
        return export([(1.0, kept.state(fit.run))], card)
    stds = chosen["std"].loc[[fit.run.number for fit in own]].to_numpy(dtype=np.float64)
    factors: list[float] = (1 / (len(own) * stds)).tolist()
    rewards = np.sum([f * fit.rewards for f, fit in zip(factors, own, strict=True)], axis=0)
    aligned, base = rewards[problem.rows("valid")].T
    card = RewardCard(
        **found,
        **_described(rewards, texts, params),
        run=None,
        epoch=None,
        valid_discrimination=float((aligned > base).mean()),
    )
    states = [(f, kept.state(fit.run)) for f, fit in zip(factors, own, strict=True)]
    return export(states, card)


def _described(rewards: np.ndarray, texts: pd.DataFrame, params: Irl) -> dict[str, Any]:
    """Mean, std and thresholds of a reward, from the rewards of all texts."""
    fitted = rewards[texts["fitted"]].astype(np.float64)
    known = ~texts["fitted"] & (texts["split"] != "test")
    scores = {
        source: rewards[known & (texts["source"] == source)].astype(np.float64)
        for source in ("base", "aligned", "human")
    }
    with warnings.catch_warnings():  # of a mixture fitted to a reward that is constant
        warnings.simplefilter("ignore")
        cuts = thresholds(**scores)
    return {
        "mean": fitted.mean(),
        "std": max(fitted.std(), np.finfo(np.float32).tiny),
        "threshold": cuts[params.threshold],
        "thresholds": cuts,
    }


def _run_rows(fit: Fit, texts: pd.DataFrame, params: Irl) -> pd.DataFrame:
    if not np.isfinite(fit.rewards).all() or not np.isfinite(fit.loss).all():
        raise UserError(f"run {fit.run.name} is not finite: lower irl.lr or irl.max_grad_norm")
    epochs = np.arange(1, len(fit.loss) + 1)
    rows = pd.DataFrame(
        {
            "kind": fit.run.kind,
            "run": fit.run.number,
            "epoch": epochs,
            "loss": fit.loss,
            "valid_discrimination": fit.valid_discrimination,
            "selected": epochs == fit.epoch,
        }
    )
    described = _described(fit.rewards, texts, params)
    cuts = {f"threshold_{name}": cut for name, cut in described.pop("thresholds").items()}
    for name, value in (described | cuts).items():
        rows.loc[rows["selected"], name] = value
    return rows


def _median_number(fits: pd.DataFrame) -> int:
    """The number of the fit of median discrimination."""
    chosen = fits[fits["selected"]].sort_values("run")
    return int(chosen["run"].iloc[median_run(chosen["valid_discrimination"].tolist())])


def _scores_table(fits: list[Fit], texts: pd.DataFrame) -> pd.DataFrame:
    kept = ~texts["fitted"]
    columns = texts.loc[kept, ["prompt_id", "sample", "source", "split"]]
    tables = [
        columns.assign(kind=fit.run.kind, run=fit.run.number, irl_reward=fit.rewards[kept])
        for fit in fits
    ]
    return pd.concat(tables, ignore_index=True)


def _facts(table: pd.DataFrame, card: RewardCard) -> dict[str, Any]:
    """Facts about the runs, none of which needs the true reward."""
    selected = table[table["selected"]]
    found = selected.groupby("kind")["valid_discrimination"]
    return {
        "runs": int((selected["kind"] == "fit").sum()),
        "reward": "ensemble" if card.run is None else card.run,
        "thresholds": card.thresholds,
        "valid_discrimination": {
            kind: {"median": values.median(), "min": values.min(), "max": values.max()}
            for kind, values in found
        },
    }
