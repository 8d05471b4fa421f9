"""Fit all runs on the pairs, choose the reward to export, and put everything into tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from inverse_rlhf.errors import UserError
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.irl.bayes import BayesianFit, fit_posterior, posterior_report
from inverse_rlhf.irl.design import Design, build_design
from inverse_rlhf.irl.exact import solve_heads
from inverse_rlhf.irl.export import Assemble, State, export_reward, median_number
from inverse_rlhf.irl.failure_aware import correct_heads
from inverse_rlhf.irl.heads import Heads, all_margins, fit_heads, random_heads
from inverse_rlhf.irl.key import run_key
from inverse_rlhf.irl.log_ratio import Teacher, make_teacher
from inverse_rlhf.irl.losses import LOSSES
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.outliers import flag_outliers, outlier_report
from inverse_rlhf.irl.problem import Problem, all_texts, check_pairs
from inverse_rlhf.irl.rows import runs_table, scores_table
from inverse_rlhf.irl.runs import Fit, Run, plan_runs
from inverse_rlhf.irl.store import RunStore, open_store
from inverse_rlhf.irl.tables import OUTLIERS
from inverse_rlhf.models import processes
from inverse_rlhf.models.blocks import keep_bottom_blocks
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Compute, Irl, Parts
from inverse_rlhf.progress import shown
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.recovered import IrlReward


@dataclass(frozen=True)
class FittedRewards:
    """The result of all runs.

    Attributes:
        runs: one row a run and epoch, as the irl_runs table has them.
        scores: one row a run and text not fitted on, as the irl_scores table has them.
        reward: the one that re-RL uses; its reading is a `RewardCard`.
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
        fits = self.runs[self.runs["kind"] == "fit"]
        columns = ["epoch", "loss", "valid_discrimination"]
        return fits.loc[fits["run"] == median_number(self.runs), columns]


def fit_rewards(
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    model: Model | None,
    params: Irl,
    parts: Parts,
    compute: Compute,
    *,
    seed: int,
    store: Path,
    log_ratios: Float[np.ndarray, "pairs 2"] | None = None,
) -> FittedRewards:
    """Recover the reward from pairs: fitted on `irl`, chosen on `valid`, applied to `test`.

    Args:
        pairs: the pairs table, see `read_pairs`.
        prompts: prompt_id, prompt, human_completion and split of the same prompts, for the
            rewards of the comments behind them.
        model: see `load_body`; the folder it is from is `module.name_or_path`.
        store: folder for finished runs. Those of the last call stay there, so that a call with
            more runs fits the new ones only.
        log_ratios: see `pair_log_ratios`, for the pairs of split irl in their order; needed by
            losses that need the policies.

    Raises:
        UserError: policies that wrote the same, more rounds than pairs, a fit that is not finite,
            another process that fits the same, or finished runs that were taken away meanwhile.
    """
    check_pairs(pairs, params)
    if params.method == "bayes":  # its likelihood is Bradley-Terry's
        params = params.model_copy(update={"loss": "logistic"})
    if model is not None and params.blocks != "all":
        keep_bottom_blocks(model.module, params.blocks)
    texts = all_texts(pairs, prompts)
    problem = Problem(texts, model, params, parts, compute, seed, log_ratios)
    runs = plan_runs(params, seed=seed)
    fit_missing = _fit_linear if params.trainable == "head" else _fit_networks
    # Of several processes each has a device of its own, which is a part of the key.
    with open_store(store, processes.of_first(run_key(problem))) as kept:
        assemble, facts = fit_missing(problem, runs, kept)
        processes.barrier()  # until all runs are kept
        fits = kept.all(runs)
        table = runs_table(fits, texts)
        reward = export_reward(problem, fits, table, kept, assemble)
    outliers = pd.DataFrame(columns=OUTLIERS.names)
    if params.method == "bayes" and model is not None:
        outliers = flag_outliers(texts, model, seed=seed)
        facts["outliers"] = outlier_report(outliers)
    facts |= _facts(table, reward)
    return FittedRewards(table, scores_table(fits, texts), reward, facts, outliers)


def _fit_linear(
    problem: Problem, runs: list[Run], kept: RunStore
) -> tuple[Assemble, dict[str, Any]]:
    texts, params = problem.texts, problem.params
    design = build_design(
        texts["text"].tolist(), texts["fitted"].to_numpy(), problem.model, params, problem.parts
    )
    phi = torch.from_numpy(design.matrix).to(problem.device)
    deltas = {split: _deltas(phi, problem.pairs(split)) for split in ("irl", "valid", "test")}
    if not deltas["irl"].any():
        raise UserError(
            f"irl.features {params.features} are the same for both completions of every pair in "
            "split irl: no reward can be recovered from them"
        )
    facts: dict[str, Any] = {}
    teacher = _teacher(problem, phi) if LOSSES[params.loss].needs_policies else None
    bayesian = None
    if params.method == "bayes":
        scale = phi[np.flatnonzero(texts["fitted"])].std(dim=0)
        bayesian = fit_posterior(deltas, scale, params, seed=problem.seed)
        facts["bayes"] = posterior_report(bayesian, deltas)
    missing = _missing(runs, kept)
    for kind in ("fit", "plain", "shuffled", "random_head"):
        of_kind = [run for run in missing if run.kind == kind]
        # Adam fits all runs of a kind as one program; exact solutions come, and are kept, singly.
        size = 1 if params.solver == "exact" else max(1, len(of_kind))
        groups = [of_kind[start : start + size] for start in range(0, len(of_kind), size)]
        for group in processes.share(groups):
            if teacher is not None:
                heads = teacher.heads(deltas["valid"], group, params)
            else:
                heads = _heads(deltas["irl"], deltas["valid"], group, params, bayesian)
            _keep_heads(heads, group, phi, kept)
    return _weighted_sum(problem.model, design), facts


def _missing(runs: list[Run], kept: RunStore) -> list[Run]:
    """The runs that are not kept, the same for every process."""
    return processes.of_first([run for run in runs if kept.get(run) is None])


def _teacher(problem: Problem, phi: torch.Tensor) -> Teacher:
    """What the loss that needs both policies is fitted to."""
    assert problem.log_ratios is not None, f"loss {problem.params.loss} needs both policies"
    rows = problem.pairs("irl")
    prompts = problem.texts["prompt_id"].to_numpy()[rows[:, 0]]
    return make_teacher(phi.cpu().numpy()[rows], problem.log_ratios, prompts)


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


def _weighted_sum(model: Model | None, design: Design) -> Assemble:
    """Linear rewards add up: the ensemble of heads is a head."""

    def assemble(weighted: list[tuple[float, State]], card: RewardCard) -> IrlReward:
        weights = [factor * state["weight"].double().numpy() for factor, state in weighted]
        raw = design.raw(np.sum(weights, axis=0))
        text = design.text_reward(raw)
        if model is None or not design.hidden:
            return IrlReward(None, text, card)
        head = torch.from_numpy(raw[None, : design.hidden]).float().to(model.device)
        model.module.eval()
        if card.body == "body":
            return IrlReward(model, text, card, head)
        model.module.score.weight.data = head
        return IrlReward(model, text, card)

    return assemble


def _fit_networks(
    problem: Problem, runs: list[Run], kept: RunStore
) -> tuple[Assemble, dict[str, Any]]:
    model, params = problem.model, problem.params
    assert model is not None, "what is to be trained?"
    texts = problem.texts["text"].tolist()
    network = RewardNetwork(model, texts, params)
    pairs = Pairs(problem.pairs("irl"), problem.pairs("valid"))
    missing = _missing(runs, kept)
    random = [run for run in missing if run.kind == "random_head"]
    trained = [run for run in missing if run.kind != "random_head"]
    if random:
        phi = torch.from_numpy(hidden_states(texts, model, pooling=params.pooling, truncate=True))
        if processes.first():
            train, valid = _deltas(phi, pairs.train), _deltas(phi, pairs.valid)
            _keep_heads(random_heads(train, valid, random, params), random, phi, kept)
    for run in shown(processes.share(trained), "runs"):
        with processes.apart():
            fit = network.fit(pairs, run)
            rewards = network.score()
        history = Fit(run, fit.loss, fit.valid_discrimination, fit.epoch, rewards)
        kept.put(history, fit.state if run.kind == "fit" else {})

    def assemble(weighted: list[tuple[float, State]], card: RewardCard) -> IrlReward:
        network.set_state(weighted[0][1])
        network.merge()
        model.module.eval()
        head = network.head().detach() if card.body == "body" else None
        return IrlReward(model, None, card, head)

    return assemble, {}


def _facts(table: pd.DataFrame, reward: IrlReward) -> dict[str, Any]:
    """Facts about the runs, none of which needs the true reward."""
    card = reward.reading
    assert isinstance(card, RewardCard)
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
