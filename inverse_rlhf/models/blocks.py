"""A model's transformer blocks: which are trained, which are kept."""

import torch
from transformers import PreTrainedModel

from inverse_rlhf.errors import UserError


def blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The model's transformer blocks, bottom first.

    Raises:
        UserError: the architecture has no list of as many blocks as its configuration says.
    """
    count = model.config.get_text_config().num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise UserError(f"{type(model).__name__}: its {count} blocks cannot be found: train all layers")


def train_top_blocks(model: PreTrainedModel, count: int) -> None:
    """Freeze everything up to the last `count` blocks; what lies above them stays trainable.

    Embeddings are frozen, and with them an output layer that is tied to them.

    Raises:
        UserError: the model has fewer blocks.
    """
    layers = blocks(model)
    if count > len(layers):
        raise UserError(f"{count} blocks cannot be trained: the model has {len(layers)}")
    frozen = [*layers[: len(layers) - count], model.get_input_embeddings()]
    for module in frozen:
        module.requires_grad_(False)


def keep_bottom_blocks(model: PreTrainedModel, count: int) -> None:
    """Remove all transformer blocks but the lowest `count`; the final norm stays.

    Raises:
        UserError: the model has fewer blocks.
    """
    layers, config = blocks(model), model.config.get_text_config()
    if count > len(layers):
        raise UserError(f"irl.blocks is {count}, but the model has {len(layers)} blocks")
    del layers[count:]
    config.num_hidden_layers = count
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]
