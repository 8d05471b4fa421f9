"""RLHF with TRL: one function trains a policy on any reward."""

import csv
import functools
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from inverse_rlhf.decoding import decode
from inverse_rlhf.errors import UserError
from inverse_rlhf.features import by_length
from inverse_rlhf.files import atomic
from inverse_rlhf.models import device_of, train_top_blocks
from inverse_rlhf.params import Compute, Rlhf
from inverse_rlhf.sampling import check_context

Score = Callable[[Sequence[str]], np.ndarray]
CURVE = ["step", "reward", "reward_std", "kl", "length", "entropy"]
_HINT = "lower rlhf.lr or raise rlhf.kl_coef"


def standardise(score: Score, reference: Sequence[str]) -> Score:
    """The same reward with mean 0 and standard deviation 1 on the reference texts.

    The scale of a recovered reward is arbitrary, and a KL coefficient means something only beside
    it: with every reward in units of its own spread the same coefficient is the same setting.
    """
    values = score(reference)
    mean, std = values.mean(), max(values.std(), np.finfo(np.float32).tiny)
    return lambda texts: (score(texts) - mean) / std


def train_on_reward(
    prompts: pd.DataFrame,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    score: Score,
    params: Rlhf,
    compute: Compute,
    *,
    seed: int,
    curve: Path | str,
) -> dict[str, float]:
    """Train `model` in place towards higher `score`, with a KL penalty to where it started.

    Args:
        prompts: column prompt.
        model: the base policy, loaded from the folder `model.name_or_path`, which TRL reads again
            as the reference of the KL penalty.
        score: prompt-and-completion texts -> rewards, float32 of shape (texts,).
        curve: CSV file of step, mean reward, its standard deviation within a batch, KL to base
            (nats per completion), length (tokens) and entropy (nats per token); it grows under a
            temporary name while training runs.

    Returns:
        Training facts: seconds, steps, tokens per second, final values of the curve. Without a KL
        penalty TRL measures no KL: it is absent here and empty in the curve.

    Raises:
        UserError: a reward that is not finite, a KL above `params.max_kl`, or a prompt too long.
    """
    ids = tokenizer(list(prompts["prompt"]))["input_ids"]
    check_context(ids, prompts["prompt_id"].tolist(), model, params.max_new_tokens)
    if params.trainable_layers != "all":
        train_top_blocks(model, params.trainable_layers)
    tokenizer.padding_side = "left"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, atomic(curve) as file:
        recorder = _Curve(file, params)
        trainer_class, config = _config(params, compute, folder, seed)
        trainer = trainer_class(
            model=model,
            reward_funcs=_reward_function(score, params.reward_clip),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": list(prompts["prompt"])}),
            processing_class=tokenizer,
            callbacks=[recorder],
        )
        model.generate = functools.partial(model.generate, custom_generate=decode)
        try:
            _train(trainer, recorder)
        finally:
            del model.generate  # the class's again
    model.requires_grad_(True)
    seconds = time.monotonic() - started
    return {
        "seconds": seconds,
        "steps": params.steps,
        "tokens_per_second": recorder.tokens / seconds,
        **{f"final_{name}": recorder.last[name] for name in CURVE[1:] if name in recorder.last},
    }


def _train(trainer: RLOOTrainer | GRPOTrainer, recorder: "_Curve") -> None:
    try:
        trainer.train()
    except FloatingPointError as error:
        raise UserError(
            f"policy training diverged after step {recorder.last.get('step', 0)}: {error}; {_HINT}"
        ) from None


def _reward_function(score: Score, clip: float) -> Callable[..., list[float]]:
    def reward(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        texts = [prompt + text for prompt, text in zip(prompts, completions, strict=True)]
        values = score(texts)
        if not np.isfinite(values).all():
            row = int((~np.isfinite(values)).argmax())
            raise UserError(
                f"the reward of {texts[row]!r} is {values[row]}: the reward model is broken"
            )
        clipped: list[float] = np.clip(values, -clip, clip).tolist()
        return clipped

    return reward


def _config(
    params: Rlhf, compute: Compute, folder: str, seed: int
) -> tuple[Any, RLOOConfig | GRPOConfig]:
    trainer_class, config_class = {
        "rloo": (_Rloo, RLOOConfig),
        "grpo": (_Grpo, GRPOConfig),
    }[params.algorithm]
    device = device_of(compute).type
    config = config_class(
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
        max_completion_length=params.max_new_tokens,
        generation_kwargs={"min_new_tokens": params.min_new_tokens},
        temperature=params.temperature,
        top_k=params.top_k,
        top_p=params.top_p,
        bf16=compute.bf16,
        gradient_checkpointing=compute.gradient_checkpointing,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device == "cuda",
        seed=seed,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
    )
    return trainer_class, config


class _Unpadded:
    """Reads rollouts in batches of like length, without the padding between them.

    TRL pads all rollouts of a step to the longest prompt and the longest completion, which is more
    than half of what it then reads three times.
    """

    def _get_per_token_logps_and_entropies(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **settings: Any,
    ) -> tuple[torch.Tensor | None, ...]:
        """TRL's method: log-probabilities and entropies of completion tokens, 0 where padded.

        Args:
            input_ids, attention_mask: (rollouts, tokens): prompts padded on the left, completions
                on the right.
            logits_to_keep: how many of the last columns are the completions'.
            batch_size: most rollouts read at once; None: all.
        """
        lengths, start = attention_mask.sum(1), attention_mask.argmax(1)
        first = input_ids.shape[1] - logits_to_keep  # column of the completions
        collected: list[tuple[torch.Tensor | None, ...]] = []
        taken: list[torch.Tensor] = []
        spans = [range(length) for length in lengths.tolist()]
        for chosen in by_length(spans, batch_size or len(spans)):
            rows = torch.from_numpy(chosen).to(input_ids.device)
            column = start[rows, None] + torch.arange(
                int(lengths[rows].max()), device=input_ids.device
            )
            mask = column < (start + lengths)[rows, None]
            keep = column.shape[1] - int((first - start[rows]).min())
            ids = input_ids[rows].gather(1, column.clamp(max=input_ids.shape[1] - 1))
            found = super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model, ids, mask.to(attention_mask.dtype), keep, **settings
            )
            column, mask = column[:, -keep:], mask[:, -keep:]
            mask &= column >= first
            taken.append((rows[:, None] * logits_to_keep + column - first)[mask])
            tokens = [values if values is None else values[mask] for values in found[:2]]
            collected.append((*tokens, found[2]))
        place = torch.cat(taken)

        def spread(values: tuple[torch.Tensor | None, ...]) -> torch.Tensor | None:
            if values[0] is None:
                return None
            flat = torch.cat([part for part in values if part is not None])
            empty = flat.new_zeros(len(spans) * logits_to_keep)
            return empty.index_put((place,), flat).view(len(spans), logits_to_keep)

        logps, entropies, losses = zip(*collected, strict=True)
        loss = None if losses[0] is None else torch.stack(losses).mean()  # of routers
        return spread(logps), spread(entropies), loss


class _Rloo(_Unpadded, RLOOTrainer):
    """Reads rollouts once under the policy, where each is used for one update.

    TRL reads them before the update, for the KL penalty, and again for the loss, when the policy is
    still the same.
    """

    _kept: tuple[torch.Tensor, Any] | None = None  # rollouts, and what was read with its graph

    def _get_per_token_logps_and_entropies(
        self, model: PreTrainedModel, input_ids: torch.Tensor, *args: Any, **settings: Any
    ) -> tuple[torch.Tensor | None, ...]:
        read: Callable[..., Any] = super()._get_per_token_logps_and_entropies
        if self._kept is not None and torch.is_grad_enabled():
            (kept, found), self._kept = self._kept, None
            order = _places(input_ids, kept)  # TRL shuffles in between
            return (*(values[order] for values in found[:2]), found[2])
        once = self.args.gradient_accumulation_steps == self.args.num_iterations == 1
        if model is not self.model or not once or self.args.activation_checkpointing:
            return read(model, input_ids, *args, **settings)
        settings |= {"compute_entropy": True, "compute_aux_loss": self.aux_loss_enabled}
        with torch.enable_grad():
            logps, *others = read(model, input_ids, *args, **settings)
        self._kept = input_ids, (logps, *others)
        return logps.detach(), None, None


def _places(rows: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """Where each of `rows`, (rows, tokens), stands `among` the same rows in another order; of equal
    ones any place.
    """
    _, kind = torch.unique(torch.cat([among, rows]), dim=0, return_inverse=True)
    place = torch.full_like(kind, len(among))  # an index error, should a row not be there
    place[kind[: len(among)]] = torch.arange(len(among), device=kind.device)
    return place[kind[len(among) :]]


class _Grpo(_Unpadded, GRPOTrainer):
    pass


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
