"""RLHF with TRL: one function trains a policy on any reward."""

import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
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
from inverse_rlhf.models import processes
from inverse_rlhf.models.adapters import old_names
from inverse_rlhf.models.blocks import train_top_blocks
from inverse_rlhf.models.checkpoints import Model, device_of, frozen_dtype
from inverse_rlhf.models.dropout import without_dropout
from inverse_rlhf.models.lora import Trained, lora_config, merge_trained
from inverse_rlhf.models.reading import check_context, completion_texts, ends_of_text, prompt_ids
from inverse_rlhf.models.resumable import Checkpoints, or_none, train
from inverse_rlhf.params import Rlhf
from inverse_rlhf.policies import generation
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
    checkpoints: Checkpoints | None = None,
    out: Path | str | None = None,
) -> dict[str, float]:
    """Train `policy` in place towards higher `score`, with a KL penalty to where it started.

    Rollouts, the reference and the loss are all read without dropout: at first the policy is its
    reference, and the penalty is 0.

    Args:
        prompts: column prompt.
        policy: the base policy; a copy of it is the reference of the KL penalty. Where adapters
            are trained its weights may be of any `compute.dtype`, and it ends in float32 on the CPU
            if they were not float32. Where accelerate's configuration spreads weights over
            processes, the first alone has them at the end.
        score: the reward.
        curve: CSV file of step, mean reward, its standard deviation within a batch, KL to base
            (nats per completion), length (tokens) and entropy (nats per token); it grows under a
            temporary name while training runs.
        checkpoints: where there is one, training goes on from it; None: none are taken.
        out: folder that the trained policy is written to; None: none. Where `params.lora_save` is
            adapter, it is an adapter of the model that `policy` was loaded from; in `policy` it is
            merged all the same.

    Returns:
        Training facts: seconds, steps, tokens per second, final values of the curve. Without a KL
        penalty TRL measures no KL: it is absent here and empty in the curve.

    Raises:
        UserError: a reward that is not finite, a KL above `params.max_kl`, a prompt too long, or
            processes that cannot share the batch evenly.
    """
    module, tokenizer = policy.module, policy.tokenizer
    fast = policy.compute.fast and not processes.spread()
    ids = prompt_ids(prompts["prompt"].tolist(), tokenizer)
    check_context(ids, prompts["prompt_id"].tolist(), policy, params.max_new_tokens)
    _check_together(params)
    params.check_engine()
    if params.generation == generation.CONTINUOUS:
        generation.check_continuous(policy, ids, params.max_new_tokens)
    if params.trainable_layers != "all":
        train_top_blocks(module, params.trainable_layers)
    lora = None
    if params.lora_rank:
        lora = lora_config(module, params.lora_rank, task="CAUSAL_LM")
        torch.manual_seed(seed)  # of the adapter's first weights
    tokenizer.padding_side = "left"
    started = time.monotonic()
    with or_none(checkpoints) as states, atomic(curve) as file:
        recorder = _Curve(file, params)
        trainers = TRAINERS[params.algorithm]
        with old_names():
            trainer = (trainers.fast if fast else trainers.plain)(
                model=module,
                reward_funcs=_reward_function(score, policy, params.reward_clip),
                args=_config(trainers.config, params, policy, ids, seed, states),
                train_dataset=Dataset.from_dict({"prompt": list(prompts["prompt"])}),
                processing_class=tokenizer,
                callbacks=[recorder],
                peft_config=lora,
                reference_dtype=frozen_dtype(policy.compute),
            )
        trainer.eos_token_ids = ends_of_text(policy)
        if fast and params.generation == "generate" and processes.count() > 1:
            torch.manual_seed(seed)  # TRL has seeded each otherwise; here they draw alike
        show_training(trainer)
        with without_dropout(module), generation.drawing(module, fast=fast), old_names():
            before = _train(trainer, recorder)
        if processes.spread():
            _collect(trainer, module)
    adapter = None if lora is None else _merged(trainer)
    module.requires_grad_(True).eval()
    seconds = before + time.monotonic() - started
    if out is not None:
        if params.lora_save == "adapter" and adapter is not None:
            adapter.write(tokenizer, out, base=policy.name)
        else:
            policy.save(out)
    return {
        "seconds": seconds,
        "steps": params.steps,
        "tokens_per_second": recorder.tokens / seconds,
        **{f"final_{name}": recorder.last[name] for name in CURVE[1:] if name in recorder.last},
    }


def _check_together(params: Rlhf) -> None:
    """Refuse what cannot be where accelerate's configuration spreads weights over processes."""
    if not processes.spread():
        return
    spread = "but accelerate's configuration spreads weights over processes, and"
    if params.lora_rank:
        raise UserError(
            f"rlhf.lora_rank is {params.lora_rank}, {spread} an adapter is not merged into parts "
            "of them: take one that does not, or lora_rank 0"
        )
    if params.generation == generation.CONTINUOUS:
        raise UserError(
            f"rlhf.generation is {params.generation}, {spread} transformers does not do that with "
            "parts of them: take one that does not, or generation generate"
        )


def _train(trainer: Any, recorder: "_Curve") -> float:
    """Train; the seconds that earlier processes took for what was gone on with."""
    try:
        return train(trainer)
    except FloatingPointError as error:
        raise UserError(
            f"policy training diverged after step {recorder.last.get('step', 0)}: {error}; {_HINT}"
        ) from None


def _collect(trainer: Any, module: Any) -> None:
    """Give the first process the whole weights, which the processes have had in parts."""
    whole = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if processes.first():
        for name, parameter in list(module.named_parameters()):
            owner, _, own_name = name.rpartition(".")
            values = whole[name].to(parameter.dtype)
            setattr(module.get_submodule(owner), own_name, torch.nn.Parameter(values))
        module.tie_weights()


def _merged(trainer: Any) -> Trained:
    """The adapter that was trained; its model has it merged then."""
    # As it computes by itself: the trainer's autocast rounds, and would seem the merge's fault.
    adapted = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    if adapted.get_base_model().dtype != torch.float32:
        # There the little that an adapter adds to a weight may be lost.
        adapted.to("cpu", torch.float32)
    return merge_trained(adapted, "rlhf.lora_rank")


def _reward_function(score: Score, policy: Model, clip: float) -> Callable[..., list[float]]:
    tokenizer = policy.tokenizer

    def reward(prompts: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        heads = prompt_ids(prompts, tokenizer)
        completions = completion_texts(prompts, heads, completion_ids, tokenizer)
        with processes.apart():  # each has completions of its own
            values = score(prompts, completions)
        if not np.isfinite(values).all():
            row = int((~np.isfinite(values)).argmax())
            text = prompts[row] + completions[row]
            raise UserError(f"the reward of {text!r} is {values[row]}: the reward model is broken")
        clipped: list[float] = np.clip(values, -clip, clip).tolist()
        return clipped

    return reward


def _config(
    config_class: Any,
    params: Rlhf,
    policy: Model,
    prompts: Sequence[Sequence[int]],
    seed: int,
    states: Checkpoints,
) -> Any:
    compute, rollouts = policy.compute, _rollouts_at_once(params)
    device = device_of(compute)
    config = config_class(
        max_steps=params.steps,
        per_device_train_batch_size=rollouts,
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
        **generation.settings(params, policy, prompts, rollouts * params.gradient_accumulation),
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        bf16=compute.bf16,
        activation_checkpointing=compute.gradient_checkpointing,
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        seed=seed,
        # Where a rollout batch is used up, none of it is left to be kept.
        **states.settings(params.steps, multiple=params.iterations),
        logging_steps=1,
        report_to=[],
    )
    processes.keep_to_one_device(config, device)
    return config


def _rollouts_at_once(params: Rlhf) -> int:
    """How many rollouts a process reads at once; the batch is that of all processes.

    Raises:
        UserError: they cannot share it evenly.
    """
    size = params.batch_size * params.generations // params.gradient_accumulation
    if size % (count := processes.count()):
        raise UserError(
            f"{count} processes cannot share {size} completions evenly: they must divide "
            f"rlhf.batch_size ({params.batch_size}) * rlhf.generations ({params.generations}) / "
            f"rlhf.gradient_accumulation ({params.gradient_accumulation})"
        )
    return size // count


class _Curve(TrainerCallback):
    """Writes the curve as it grows, and stops a diverged run."""

    def __init__(self, file: Path, params: Rlhf) -> None:
        self.file, self.params = file, params
        self.last: dict[str, float] = {}
        self.tokens = 0.0
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(CURVE)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        for logs in state.log_history:  # of the training that this one goes on with
            self._row(int(logs["step"]), logs)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if logs and "reward" in logs:
            self._row(state.global_step, logs)
            self._check(float(logs.get("loss", 0.0)))

    def _row(self, step: int, logs: dict[str, Any]) -> None:
        if "reward" not in logs:
            return
        length = float(logs["completions/mean_length"])
        self.last = {
            "step": step,
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

    def _check(self, loss: float) -> None:
        step, kl = self.last["step"], self.last.get("kl", 0.0)
        if not math.isfinite(loss) or not math.isfinite(self.last["entropy"]):
            raise UserError(f"policy training diverged at step {step}: the loss is {loss}; {_HINT}")
        if not kl <= self.params.max_kl:
            raise UserError(
                f"policy training diverged at step {step}: the KL to the base policy is {kl:.1f} "
                f"nats per completion, above rlhf.max_kl {self.params.max_kl:g}; {_HINT}"
            )
