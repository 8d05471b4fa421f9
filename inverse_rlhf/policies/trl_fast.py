"""What overrides TRL's private methods, alone: prompts are read as everywhere, references
are copies of the policies, and policies are trained without the work that TRL repeats.

`compute.fast: false` leaves the latter out; a test holds both to the same losses and gradients, and
benchmarks/rlhf.py to their times.
"""

import contextlib
import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer import grpo_trainer, rloo_trainer

from inverse_rlhf.models import processes
from inverse_rlhf.models.checkpoints import to_dtype
from inverse_rlhf.models.reading import by_length, prompt_ids
from inverse_rlhf.models.resumable import Resumable


class _AsEverywhere:
    """Reads prompts by `prompt_ids`, counts positions from a prompt's first token, and has a copy
    of the policy for its reference.

    TRL lets a tokenizer close prompts, and typed special tokens be tokens; models that have learnt
    absolute positions take the padding before a prompt for text, though not when they generate.
    """

    processing_class: PreTrainedTokenizerBase

    def __init__(
        self,
        model: PreTrainedModel,
        *args: Any,
        reference_dtype: torch.dtype = torch.float32,
        **settings: Any,
    ) -> None:
        with _copied(model, reference_dtype):
            super().__init__(model, *args, **settings)  # type: ignore[call-arg]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """TRL's method: tokens, images and other fields of prompts."""
        return prompt_ids(prompts, self.processing_class), None, {}

    def _get_per_token_logps_and_entropies(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        *args: Any,
        **settings: Any,
    ) -> tuple[torch.Tensor | None, ...]:
        """TRL's method: log-probabilities and entropies of completion tokens."""
        padded = not attention_mask[:, 0].all()
        whole = extract_model_from_parallel(model)
        within = whole.get_base_model() if isinstance(whole, PeftModel) else whole
        named = "position_ids" in inspect.signature(within.forward).parameters
        with _positions_of_tokens(whole) if padded and named else contextlib.nullcontext():
            found: tuple[torch.Tensor | None, ...] = super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model, input_ids, attention_mask, *args, **settings
            )
        return found


@contextlib.contextmanager
def _copied(policy: PreTrainedModel, dtype: torch.dtype) -> Iterator[None]:
    """Within it, the reference, which TRL would load from the policy's folder, is a copy of it, of
    that type.

    TRL loads what the folder's config.json names as `architectures`, which may be absent or the
    name of another model.
    """

    def copied(*_: Any, **__: Any) -> PreTrainedModel:
        # What a recurrent block keeps of the last text has a graph, which cannot be copied.
        for part in policy.modules():
            for name, value in vars(part).items():
                if isinstance(value, torch.Tensor) and value.grad_fn is not None:
                    setattr(part, name, value.detach())
        reference = copy.deepcopy(policy).requires_grad_(False).eval()
        to_dtype(reference, dtype)
        return reference

    modules: tuple[Any, ...] = (rloo_trainer, grpo_trainer)
    loaders = [module.create_model_from_path for module in modules]
    for module in modules:
        module.create_model_from_path = copied
    try:
        yield
    finally:
        for module, loader in zip(modules, loaders, strict=True):
            module.create_model_from_path = loader


@contextlib.contextmanager
def _positions_of_tokens(model: PreTrainedModel) -> Iterator[None]:
    """Within it, the model is told the positions of tokens."""

    def tell(_: Any, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        positions = (given["attention_mask"].cumsum(1) - 1).clamp(min=0)
        return args, given | {"position_ids": positions}

    hook = model.register_forward_pre_hook(tell, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


class Rloo(_AsEverywhere, Resumable, RLOOTrainer):
    """TRL's, of prompts as they are read everywhere."""


class Grpo(_AsEverywhere, Resumable, GRPOTrainer):
    """TRL's, of prompts as they are read everywhere."""


class _Unpadded:
    """Reads rollouts in batches of like length, without the padding between them.

    TRL pads all rollouts of a step to the longest prompt and the longest completion, which is more
    than half of what it then reads three times.

    Several processes average their gradients here: torch's wrapper of the model, which would do
    it, wants one reading before each backward pass. They draw what one process would.
    """

    def training_step(self, *args: Any, **settings: Any) -> torch.Tensor:
        """The Trainer's method: gradients of a batch, and its loss."""
        loss: torch.Tensor = super().training_step(*args, **settings)  # type: ignore[misc]
        processes.average_gradients(self.model.parameters())  # type: ignore[attr-defined]
        return loss

    def _prepare_inputs(self, *args: Any) -> dict[str, Any]:
        """TRL's method: rollouts of an update."""
        with _drawn_alike():
            found: dict[str, Any] = super()._prepare_inputs(*args)  # type: ignore[misc]
        return found

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
        model = extract_model_from_parallel(model)
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


@contextlib.contextmanager
def _drawn_alike() -> Iterator[None]:
    """Within it, TRL's shuffle of a process's rollouts takes as many numbers from torch's generator
    as that of all rollouts in one process.
    """
    modules: tuple[Any, ...] = (rloo_trainer, grpo_trainer)
    theirs = [module.shuffle_sequence_dict for module in modules]

    def shuffled(rollouts: dict[str, Any]) -> Any:
        before = torch.get_rng_state()
        found = theirs[0](rollouts)
        torch.set_rng_state(before)
        torch.randperm(len(rollouts["prompt_ids"]) * processes.count())
        return found

    if processes.count() > 1:
        for module in modules:
            module.shuffle_sequence_dict = shuffled
    try:
        yield
    finally:
        for module, function in zip(modules, theirs, strict=True):
            module.shuffle_sequence_dict = function


class FastRloo(_Unpadded, Rloo):
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
        # What is read next without gradients is the reference: of an adapter the same model.
        reference = self._kept is not None or model is not self.model
        if reference or not once or self.args.activation_checkpointing:
            return read(model, input_ids, *args, **settings)
        settings |= {"compute_entropy": True, "compute_aux_loss": self.aux_loss_enabled}
        with torch.enable_grad():
            logps, *others = read(model, input_ids, *args, **settings)
        self._kept = input_ids, (logps, *others)
        return logps.detach(), None, None


class FastGrpo(_Unpadded, Grpo):
    """Reads rollouts without padding."""


def _places(rows: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """Where each of `rows`, (rows, tokens), stands `among` the same rows in another order; of equal
    ones any place.
    """
    _, kind = torch.unique(torch.cat([among, rows]), dim=0, return_inverse=True)
    place = torch.full_like(kind, len(among))  # an index error, should a row not be there
    place[kind[: len(among)]] = torch.arange(len(among), device=kind.device)
    return place[kind[len(among) :]]
