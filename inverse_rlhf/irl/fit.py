"""Fit all runs on the pairs, choose the median one, and put everything into tables."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.errors import UserError
from inverse_rlhf.features import encode, hidden_states
from inverse_rlhf.irl.linear import fit_heads
from inverse_rlhf.irl.network import RewardNetwork, Texts, fit_networks
from inverse_rlhf.irl.runs import Run, plan_runs
from inverse_rlhf.irl.selection import median_run, midpoint_threshold, otsu_threshold
from inverse_rlhf.params import Compute, Irl
from inverse_rlhf.rewards import IrlReward, RewardCard

_FROM_RUNS = (
    "run",
    "epoch",
    "valid_discrimination",
    "mean",
    "std",
    "threshold",
    "threshold_midpoint",
)


@dataclass(frozen=True)
class FittedRewards:
    """The result of all runs.

    Attributes:
        runs: one row a run and epoch, as the irl_runs table has them.
        scores: one row a run and valid or test text, as the irl_scores table has them.
        reward: the run of median discrimination.
    """

    runs: pd.DataFrame
    scores: pd.DataFrame
    reward: IrlReward

    def curve(self) -> pd.DataFrame:
        """Loss and discrimination by epoch of the run that `reward` comes from."""
        rows = (self.runs["run"] == self.reward.card.run) & ~self.runs["shuffled"]
        return self.runs.loc[rows, ["epoch", "loss", "valid_discrimination"]]

    def summary(self) -> dict[str, Any]:
        """Facts about the runs, none of which needs the true reward."""
        selected = self.runs[self.runs["selected"]]
        chosen = selected[~selected["shuffled"]]["valid_discrimination"]
        shuffled = selected[selected["shuffled"]]["valid_discrimination"]
        return {
            "runs": len(chosen),
            "median_run": self.reward.card.run,
            "epoch": self.reward.card.epoch,
            "valid_discrimination": {
                "median": chosen.median(),
                "min": chosen.min(),
                "max": chosen.max(),
                "shuffled_median": shuffled.median(),
            },
        }


@dataclass(frozen=True)
class _Fit:
    """One run: history by epoch, chosen epoch (from 1), rewards of all texts, trained weights."""

    run: Run
    loss: list[float]
    valid_discrimination: list[float]
    epoch: int
    rewards: np.ndarray
    state: Path


def fit_rewards(
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    params: Irl,
    compute: Compute,
    *,
    seed: int,
) -> FittedRewards:
    """Recover the reward from pairs: fitted on `irl`, chosen on `valid`, applied to `test`.

    Args:
        pairs: the pairs table.
        prompts: prompt_id, prompt, human_completion and split of the valid and test prompts, for
            the rewards of the human completions.
        model: the base policy's body with a one-output head (a sequence classifier).

    Raises:
        UserError: a split without pairs, or a fit that is not finite.
    """
    for split in ("irl", "valid", "test"):
        if not (pairs["split"] == split).any():
            raise UserError(f"data/pairs.parquet has no pairs in split {split}: run `dvc repro`")
    texts = _all_texts(pairs, prompts)
    with tempfile.TemporaryDirectory() as folder:
        fits = list(_fits(texts, model, tokenizer, params, compute, seed, Path(folder)))
        table = _runs_table(fits, texts)
        row = _median_row(table)
        fit = next(f for f in fits if not f.run.shuffled and f.run.number == row["run"])
        _load_state(model, fit.state)
    card = RewardCard(
        pooling=params.pooling,
        loss=params.loss,
        trainable=params.trainable,
        **{name: row[name] for name in _FROM_RUNS},
    )
    reward = IrlReward(model.eval(), tokenizer, compute, card)
    return FittedRewards(table, _scores_table(fits, texts), reward)


def _all_texts(pairs: pd.DataFrame, prompts: pd.DataFrame) -> pd.DataFrame:
    """Every text to score: prompt_id, sample, source, split, text; pairs keep their order."""
    parts = [
        pairs.assign(source=source, text=pairs["prompt"] + pairs[f"{source}_completion"])
        for source in ("base", "aligned")
    ]
    human = prompts[prompts["split"].isin(["valid", "test"])]
    text = human["prompt"] + human["human_completion"]
    parts.append(human.assign(source="human", sample=0, text=text))
    columns = ["prompt_id", "sample", "source", "split", "text"]
    return pd.concat([part[columns].astype({"split": str}) for part in parts], ignore_index=True)


def _pair_rows(texts: pd.DataFrame, split: str) -> np.ndarray:
    """Row numbers of aligned and base texts of a split's pairs, shape (pairs, 2)."""
    in_split = texts["split"] == split
    rows = [np.flatnonzero(in_split & (texts["source"] == s)) for s in ("aligned", "base")]
    return np.stack(rows, axis=1)


def _fits(
    texts: pd.DataFrame,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    params: Irl,
    compute: Compute,
    seed: int,
    folder: Path,
) -> Iterator[_Fit]:
    runs = plan_runs(params, seed=seed)
    train, valid = _pair_rows(texts, "irl"), _pair_rows(texts, "valid")
    if params.trainable == "head":
        features = hidden_states(
            texts["text"].tolist(), model, tokenizer, compute, pooling=params.pooling
        )
        yield from _head_fits(features, train, valid, runs, params, model.device, folder)
        return
    network = RewardNetwork(model, tokenizer, params, compute)
    encoded = Texts(encode(texts["text"].tolist(), model, tokenizer), train, valid)
    for run, fit, rewards in tqdm(fit_networks(network, encoded, runs), "runs", total=len(runs)):
        path = folder / f"{run.shuffled}-{run.number}.safetensors"
        if not run.shuffled:
            save_file(fit.state, path)
        yield _Fit(run, fit.loss, fit.valid_discrimination, fit.epoch, rewards, path)


def _head_fits(
    features: np.ndarray,
    train: np.ndarray,
    valid: np.ndarray,
    runs: list[Run],
    params: Irl,
    device: torch.device,
    folder: Path,
) -> Iterator[_Fit]:
    phi = torch.from_numpy(features).to(device)
    heads = fit_heads(
        phi[train[:, 0]] - phi[train[:, 1]], phi[valid[:, 0]] - phi[valid[:, 1]], runs, params
    )
    rewards = (heads.weight @ phi.T).cpu().numpy()
    for index, run in enumerate(runs):
        path = folder / f"{run.shuffled}-{run.number}.safetensors"
        save_file({"score.weight": heads.weight[index : index + 1].cpu().clone()}, path)
        yield _Fit(
            run,
            heads.loss[index].tolist(),
            heads.valid_discrimination[index].tolist(),
            int(heads.epoch[index]),
            rewards[index],
            path,
        )


def _load_state(model: PreTrainedModel, path: Path) -> None:
    unknown = model.load_state_dict(load_file(path), strict=False).unexpected_keys
    assert not unknown, unknown


def _runs_table(fits: list[_Fit], texts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([_run_rows(fit, texts) for fit in fits], ignore_index=True)


def _run_rows(fit: _Fit, texts: pd.DataFrame) -> pd.DataFrame:
    if not np.isfinite(fit.rewards).all() or not np.isfinite(fit.loss).all():
        raise UserError(f"run {fit.run.number} is not finite: lower irl.lr or irl.max_grad_norm")
    epochs = np.arange(1, len(fit.loss) + 1)
    rows = pd.DataFrame(
        {
            "run": fit.run.number,
            "shuffled": fit.run.shuffled,
            "epoch": epochs,
            "loss": fit.loss,
            "valid_discrimination": fit.valid_discrimination,
            "selected": epochs == fit.epoch,
        }
    )
    fitted = fit.rewards[texts["split"] == "irl"].astype(np.float64)
    valid = texts["split"] == "valid"
    base = fit.rewards[valid & (texts["source"] == "base")]
    aligned = fit.rewards[valid & (texts["source"] == "aligned")]
    rows.loc[rows["selected"], ["mean", "std", "threshold", "threshold_midpoint"]] = [
        fitted.mean(),
        max(fitted.std(), np.finfo(np.float32).tiny),
        otsu_threshold(base),
        midpoint_threshold(base, aligned),
    ]
    return rows


def _median_row(runs: pd.DataFrame) -> dict[str, Any]:
    """The chosen epoch of the median run."""
    chosen = runs[runs["selected"] & ~runs["shuffled"]].sort_values("run")
    return dict(chosen.iloc[median_run(chosen["valid_discrimination"].tolist())])


def _scores_table(fits: list[_Fit], texts: pd.DataFrame) -> pd.DataFrame:
    reported = texts["split"].isin(["valid", "test"])
    columns = texts.loc[reported, ["prompt_id", "sample", "source", "split"]]
    tables = [
        columns.assign(
            run=fit.run.number, shuffled=fit.run.shuffled, irl_reward=fit.rewards[reported]
        )
        for fit in fits
    ]
    return pd.concat(tables, ignore_index=True)
