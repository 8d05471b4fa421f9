"""LoRA by peft: trained beside frozen weights, then merged into them, or kept alone."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.files import atomic
from inverse_rlhf.models.adapters import WEIGHTS, merge_alike, old_names


def lora_config(module: PreTrainedModel, rank: int, *, task: str | None = None) -> LoraConfig:
    """Adapters of all linear layers but the head, scaled by alpha = 2 rank, without dropout.

    Args:
        task: CAUSAL_LM for a policy; None: `module` is called as it is without them.
    """
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=["score"] if hasattr(module, "score") else None,
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in module.modules()),
        task_type=task,
    )


def beside(module: Any, config: LoraConfig) -> Any:
    """peft's model of a model with fresh adapters in it, whose other weights are frozen."""
    with old_names():
        return get_peft_model(module, config)


def check_lora(module: PreTrainedModel, key: str) -> None:
    """Refuse an architecture that peft adapts no linear layers of.

    Args:
        key: the param that asks for it, for the message.
    """
    with torch.device("meta"):
        like: Any = type(module)(module.config)
        try:
            beside(like, lora_config(like, 1, task="CAUSAL_LM"))
        except (NotImplementedError, RuntimeError, ValueError) as error:
            kind = module.config.model_type
            raise UserError(
                f"{key}: the linear layers of a {kind} take no LoRA: {first_line(error)}: train "
                "whole weights"
            ) from None


@dataclass(frozen=True)
class Trained:
    """An adapter apart from its model.

    Attributes:
        config: peft's.
        weights: by their names in peft's files.
    """

    config: LoraConfig
    weights: dict[str, torch.Tensor]

    def write(self, tokenizer: PreTrainedTokenizerBase, path: Path | str, *, base: str) -> None:
        """Write peft's layout, with a tokenizer, whole or not at all.

        Args:
            base: folder or hub id of the model that it was trained from, as whoever loads the
                adapter is to find it.
        """
        config = copy.copy(self.config)
        config.base_model_name_or_path, config.inference_mode = base, True
        config.target_modules = sorted(config.target_modules or ())  # sets differ in their order
        with atomic(path) as folder:
            folder.mkdir()
            save_file(self.weights, folder / WEIGHTS, {"format": "pt"})
            config.save_pretrained(str(folder))
            tokenizer.save_pretrained(folder)


def merge_trained(adapted: PeftModel, key: str) -> Trained:
    """Merge an adapter into the model that it was trained in, which is plain then.

    Args:
        key: the param that asked for it, for the message.

    Raises:
        UserError: the model would compute something else than with the adapter beside it.
    """
    found = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    weights = {name: value.detach().cpu().clone() for name, value in found.items()}
    config: Any = adapted.peft_config["default"]
    if merge_alike(adapted) is None:
        raise UserError(
            f"{key}: merged into the model its adapter computes something else than beside it: "
            "train whole weights"
        )
    return Trained(config, weights)
