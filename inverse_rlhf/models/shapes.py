"""What of a transformer decides the memory it takes, told from its configuration alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.blocks import blocks
from inverse_rlhf.models.checkpoints import Kind
from inverse_rlhf.models.places import base_of, base_revision, place_of

_CLASSES = {
    "policy": AutoModelForCausalLM,
    "classifier": AutoModelForSequenceClassification,
    "body": AutoModel,
}


@dataclass(frozen=True)
class Adapters:
    """LoRA of all linear layers, as `lora_config` has it."""

    rank: int


Part = int | Literal["all"] | Adapters
"""What of a transformer is trained: so many of its top blocks, all, or adapters of it."""


@dataclass(frozen=True)
class Shape:
    """A transformer's size.

    Attributes:
        parameters: of all of it.
        block: parameters of a transformer block.
        blocks: how many there are.
        above: parameters that only the top block's output goes through, an output layer that is
            tied to the embeddings not counted.
        hidden: numbers of a hidden state.
        cached: numbers that a block keeps of a token when it generates.
        vocabulary: how many tokens its logits are of.
        adapted: parameters of LoRA adapters of rank 1 of all linear layers but the output layer.
    """

    parameters: int
    block: int
    blocks: int
    above: int
    hidden: int
    cached: int
    vocabulary: int
    adapted: int

    def trained(self, part: Part) -> int:
        """Parameters that are trained where a part is."""
        if isinstance(part, Adapters):
            return part.rank * self.adapted
        return self.parameters if part == "all" else self.kept(part) * self.block + self.above

    def kept(self, part: Part) -> int:
        """Blocks whose activations are kept for gradients."""
        return min(part, self.blocks) if isinstance(part, int) else self.blocks


def shape_of(source: Path | str, kind: Kind, *, revision: str | None = None) -> Shape | None:
    """The shape of a model in a folder in hub layout, or of the base of an adapter there; None
    where it cannot be told: what is wrong with it is said by `load`.

    Args:
        revision: commit, tag or branch of a hub id, of which its configuration alone is fetched.
    """
    try:
        base = base_of(source, str(source))
        if isinstance(base, str):
            source, revision = base, base_revision(source, base) or "main"
        place = base if isinstance(base, Path) else place_of(source)
        if revision is None and not (place / "config.json").is_file():
            return None
        config = AutoConfig.from_pretrained(
            place if place.is_dir() else str(source), revision=revision, trust_remote_code=False
        )
        return shape_of_config(config, kind)
    except Exception:  # whatever an architecture raises that `load` refuses in words
        return None


def shape_of_config(config: PreTrainedConfig, kind: Kind) -> Shape:
    """The shape of a model that a configuration describes, of which nothing is computed."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = _CLASSES[kind].from_config(config)
    text = model.config.get_text_config()
    layers, total = int(text.num_hidden_layers), model.num_parameters()
    try:
        block = sum(parameter.numel() for parameter in blocks(model)[-1].parameters())
    except UserError:
        block = total // layers
    embedded = model.get_input_embeddings().weight.numel()
    hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
    keys = getattr(text, "num_key_value_heads", None) or heads
    return Shape(
        parameters=total,
        block=block,
        blocks=layers,
        above=max(total - layers * block - embedded, 0),
        hidden=hidden,
        cached=2 * keys * int(getattr(text, "head_dim", None) or hidden // heads),
        vocabulary=int(text.vocab_size),
        adapted=_adapted(model),
    )


def _adapted(model: PreTrainedModel) -> int:
    """Inputs and outputs of all linear layers within the body."""
    linear = (
        part.weight.shape
        for part in model.base_model.modules()
        if isinstance(part, torch.nn.Linear | Conv1D)
    )
    return sum(sum(shape) for shape in linear)
