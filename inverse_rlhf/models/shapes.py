"""What of a transformer decides the memory it takes, told from its configuration alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.blocks import blocks
from inverse_rlhf.models.checkpoints import Kind

_CLASSES = {
    "policy": AutoModelForCausalLM,
    "classifier": AutoModelForSequenceClassification,
    "body": AutoModel,
}
_MANIFEST = "manifest.json"


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
    """

    parameters: int
    block: int
    blocks: int
    above: int
    hidden: int
    cached: int
    vocabulary: int

    def trained(self, top: int | str) -> int:
        """Parameters trained where that many top blocks are, or all."""
        return self.parameters if top == "all" else int(top) * self.block + self.above

    def kept(self, top: int | str) -> int:
        """Blocks whose activations are kept for gradients."""
        return self.blocks if top == "all" else int(top)


def place_of(source: Path | str) -> Path:
    """The folder that a manifest stands for, without the check of `followed`, which takes long."""
    path = Path(source) / _MANIFEST
    if not path.is_file():
        return Path(source)
    return Path(json.loads(path.read_text(encoding="utf-8"))["source"])


def shape_of(source: Path | str, kind: Kind) -> Shape | None:
    """The shape of a model in a folder in hub layout; None where it cannot be told, as of an
    adapter: what is wrong with it is said by `load`.
    """
    try:
        place = place_of(source)
        if not (place / "config.json").is_file():
            return None
        config = AutoConfig.from_pretrained(place, trust_remote_code=False)
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
    )
