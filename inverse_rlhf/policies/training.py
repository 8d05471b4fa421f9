"""RLHF with TRL: one function trains a policy on any reward."""

import contextlib
import csv
import functools
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from datasets import Dataset
from huggingface_hub import constants
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOConfig, RLOOConfig

from inverse_rlhf.data.tables import whole_texts
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic
from inverse_rlhf.models.blocks import train_top_blocks
from inverse_rlhf.models.checkpoints import Model, device_of, frozen_dtype
from inverse_rlhf.models.dropout import without_dropout
from inverse_rlhf.models.reading import check_context, completion_texts, ends_of_text, prompt_ids
from inverse_rlhf.params import Rlhf
from inverse_rlhf.policies.decoding import decode
from inverse_rlhf.policies.trl_fast import FastGrpo, FastRloo, Grpo, Rloo
from inverse_rlhf.progress import show_training

constants.HF_HUB_DISABLE_TELEMETRY = True  # else TRL sends a word home for each trainer it makes

Score = Callable[[Sequence[str], Sequence[str]], np.ndarray]
"""Prompts and their completions -> rewards, float32 of shape (completions,)."""
CURVE = ["step", "reward", "reward_std", "kl", "length", "entropy"]
_HINT = "lower rlhf.lr or raise rlhf.kl_coef"


@dataclass(frozen=True)
class Trainers:
    """TRL's trainer of an algorithm, its configuration, and the same without repeated work."""

    plain: type[Any]
    fast: type[Any]
    config: type[Any]


TRAINERS = {
    "rloo": Trainers(Rloo, FastRloo, RLOOConfig),
    "grpo": Trainers(Grpo, FastGrpo, GRPOConfig),
}


def of_whole_texts(score: Callable[[Sequence[str]], np.ndarray]) -> Score:
    """The same reward of prompts and completions, which it reads as one text each."""
    return lambda prompts, completions: score(whole_texts(prompts, completions))


def standardise(score: Score, prompts: Sequence[str], completions: Sequence[str]) -> Score:
    """The same reward with mean 0 and standard deviation 1 on the prompts' completions given.

    The scale of a recovered reward is arbitrary, and a KL coefficient means something only beside
    it: with every reward in units of its own spread the same coefficient is the same setting.
    """
    values = score(prompts, completions)
    mean, std = values.mean(), max(values.std(), np.finfo(np.float32).tiny)
    return lambda prompts, completions: (score(prompts, completions) - mean) / std


def train_on_reward(
    prompts: pd.DataFrame,
    policy: Model,
    score: Score,
    params: Rlhf,
    *,
    seed: int,
    curve: Path | str,
) -> dict[str, float]:
    """Train `policy` in place towards higher `score`, with a KL penalty to where it started.

    Rollouts, the reference and the loss are all read without dropout: at first the policy is its
    reference, and the penalty is 0.

    Args:
        prompts: column prompt.
        policy: the base policy; a copy of it is the reference of the KL penalty.
        score: the reward.
        curve: CSV file of step, mean reward, its standard deviation within a batch, KL to base
            (nats per completion), length (tokens) and entropy (nats per token); it grows under a
            temporary name while training runs.

    Returns:
        Training facts: seconds, steps, tokens per second, final values of the curve. Without a KL
        penalty TRL measures no KL: it is absent here and empty in the curve.

    Raises:
        UserError: a reward that is not finite, a KL above `params.max_kl`, or a prompt too long.
    """
    module, tokenizer, fast = policy.module, policy.tokenizer, policy.compute.fast
    ids = prompt_ids(prompts["prompt"].tolist(), tokenizer)
    check_context(ids, prompts["prompt_id"].tolist(), policy, params.max_new_tokens)
    if params.trainable_layers != "all":
        train_top_blocks(module, params.trainable_layers)
    tokenizer.padding_side = "left"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, atomic(curve) as file:
        recorder = _Curve(file, params)
        trainers = TRAINERS[params.algorithm]
        trainer = (trainers.fast if fast else trainers.plain)(
            model=module,
            reward_funcs=_reward_function(score, policy, params.reward_clip),
            args=_config(trainers.config, params, policy, folder, seed),
            train_dataset=Dataset.from_dict({"prompt": list(prompts["prompt"])}),
            processing_class=tokenizer,
            callbacks=[recorder],
            reference_dtype=frozen_dtype(policy.compute),
        )
        trainer.eos_token_ids = ends_of_text(policy)
        show_training(trainer)
        with without_dropout(module), _decoding(module, fast=fast):
            _train(trainer, recorder)
    module.requires_grad_(True).eval()
    seconds = time.monotonic() - started
    return {
        "seconds": seconds,
        "steps": params.steps,
        "tokens_per_second": recorder.tokens / seconds,
        **{f"final_{name}": recorder.last[name] for name in CURVE[1:] if name in recorder.last},
    }


@contextlib.contextmanager
def _decoding(module: Any, *, fast: bool) -> Iterator[None]:
    """Within it, `generate` is transformers' own, whatever the policy's folder brought; where it
    is to be fast, with our loop.
    """
    ours = {"custom_generate": decode} if fast else {}
    module.generate = functools.partial(type(module).generate, module, **ours)
    try:
        yield
    finally:
        del module.generate  # the class's again


def _train(trainer: Any, recorder: "_Curve") -> None:
    with warnings.catch_warnings():  # TRL calls by names that transformers has replaced
        warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing", FutureWarning)
        try:
            trainer.train()
        except FloatingPointError as error:
            raise UserError(
                f"policy training diverged after step {recorder.last.get('step', 0)}: {error}; "
                f"{_HINT}"
            ) from None


def _reward_function(score: Score, policy: Model, clip: float) -> Callable[..., list[float]]:
    tokenizer = policy.tokenizer

    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        heads = prompt_ids(prompts, tokenizer)
        completions = completion_texts(prompts, heads, completion_ids, tokenizer)
        values = score(prompts, completions)
        if not np.isfinite(values).all():
            row = int((~np.isfinite(values)).argmax())
            text = prompts[row] + completions[row]
            raise UserError(f"the reward of {text!r} is {values[row]}: the reward model is broken")
        clipped: list[float] = np.clip(values, -clip, clip).tolist()
        return clipped

    return reward


def _config(config_class: Any, params: Rlhf, policy: Model, folder: str, seed: int) -> Any:
    compute = policy.compute
    device = device_of(compute).type
    return config_class(
        output_dir=folder,
        max_steps=params.steps,
        per_device_train_batch_size=(
            params.batch_size * params.generations // params.gradient_accumulation
        ),
        gradient_accumulation_steps=params.gradient_accumulation,
        num_generations=params.generations,
        num_iterations=params.iterations,
        learning_rate=params.lr,
        lr_scheduler_type=params.lr_schedule,
        warmup_steps=params.warmup_steps,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        beta=params.kl_coef,
        epsilon=params.clip,
        router_aux_loss_coef=0.0,  # no loss but the reward's and the penalty's
        max_completion_length=params.max_new_tokens,
        generation_kwargs={
            "min_new_tokens": params.min_new_tokens,
            "eos_token_id": ends_of_text(policy),
        },
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        bf16=compute.bf16,
        activation_checkpointing=compute.gradient_checkpointing,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        seed=seed,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
    )


class _Curve(TrainerCallback):
    """Writes the curve as it grows, and stops a diverged run."""

    def __init__(self, file: Path, params: Rlhf) -> None:
        self.file, self.params = file, params
        self.last: dict[str, float] = {}
        self.tokens = 0.0
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(CURVE)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "reward" not in logs:
            return
        length = float(logs["completions/mean_length"])
        self.last = {
            "step": state.global_step,
            "reward": float(logs["reward"]),
            "reward_std": float(logs["reward_std"]),
            "length": length,
            "entropy": float(logs["entropy"]),
        }
        if "kl" in logs:
            self.last["kl"] = float(logs["kl"]) * length  # TRL's is per token
        self.tokens = float(logs["num_tokens"])
        with self.file.open("a", newline="", encoding="utf-8") as stream:
            row = {name: f"{value:.6g}" for name, value in self.last.items()}
            csv.DictWriter(stream, CURVE).writerow(row)
        self._check(float(logs.get("loss", 0.0)))

    def _check(self, loss: float) -> None:
        step, kl = self.last["step"], self.last.get("kl", 0.0)
        if not math.isfinite(loss) or not math.isfinite(self.last["entropy"]):
            raise UserError(f"policy training diverged at step {step}: the loss is {loss}; {_HINT}")
        if not kl <= self.params.max_kl:
            raise UserError(
                f"policy training diverged at step {step}: the KL to the base policy is {kl:.1f} "
                f"nats per completion, above rlhf.max_kl {self.params.max_kl:g}; {_HINT}"
            )
