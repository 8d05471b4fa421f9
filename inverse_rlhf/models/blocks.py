"""A model's transformer blocks: which are trained, which are kept."""

import re
from typing import Any

import torch
from transformers import PreTrainedModel

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import to_dtype
from inverse_rlhf.models.probes import alike, first_tokens

# Settings that configurations give block by block.
_BY_BLOCK = re.compile(r"layer|block|indexer_types|activation_sparsity_pattern|^intermediate_size$")


def blocks(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The model's transformer blocks, bottom first; of one that also sees or hears, those of text.

    Raises:
        UserError: the architecture has no list of as many blocks as its configuration says.
    """
    count = model.config.get_text_config().num_hidden_layers
    for module in _decoder(model).modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise UserError(f"{type(model).__name__}: its {count} blocks cannot be found: train all layers")


def _decoder(model: PreTrainedModel) -> torch.nn.Module:
    """The part of the model that reads text."""
    found: torch.nn.Module | None = model.get_decoder()
    return model if found is None else found


def train_top_blocks(model: PreTrainedModel, count: int) -> None:
    """Freeze everything that the last `count` blocks read; what lies above stays trainable.

    Embeddings, of tokens and of positions, are frozen, and with them an output layer that is tied
    to them; so is what reads images or sounds.

    Raises:
        UserError: the model has fewer blocks, or reads texts by others than those that were found.
    """
    layers = blocks(model)
    if count > len(layers):
        raise UserError(f"{count} blocks cannot be trained: the model has {len(layers)}")
    read = _read_by(model, layers[len(layers) - count])
    if not read:
        raise UserError(
            f"{type(model).__name__}: what its top blocks read cannot be told: train all layers"
        )
    of_text = set(_decoder(model).parameters())
    for parameter in [*read, *(set(model.base_model.parameters()) - of_text)]:
        parameter.requires_grad_(False)


def _read_by(model: PreTrainedModel, block: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The parameters that make what a block is given, from the graph of its inputs."""
    inputs: list[Any] = []
    with (
        torch.enable_grad(),
        block.register_forward_pre_hook(
            lambda _, args, kwargs: inputs.extend([*args, *kwargs.values()]), with_kwargs=True
        ),
    ):
        model(input_ids=torch.tensor([[0, 1]], device=model.device), use_cache=False)
    open_nodes = [value.grad_fn for value in inputs if isinstance(value, torch.Tensor)]
    seen, found = set(), []
    while open_nodes:
        node = open_nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        open_nodes += [parent for parent, _ in node.next_functions]
    return found


def keep_bottom_blocks(model: PreTrainedModel, count: int) -> None:
    """Remove all transformer blocks but the lowest `count`; the final norm stays.

    Raises:
        UserError: the model has fewer blocks, or its architecture computes something else in them
            when there are fewer.
    """
    layers, config = blocks(model), model.config.get_text_config()
    if count > len(layers):
        raise UserError(f"irl.blocks is {count}, but the model has {len(layers)} blocks")
    for name, value in list(vars(config).items()):
        by_block = isinstance(value, list | tuple) and len(value) == len(layers)
        if by_block and _BY_BLOCK.search(name):
            setattr(config, name, value[:count])
    if config.model_type == "gpt_neo":  # it has one setting for two
        config.attention_types = [[list(config.attention_layers), 1]]
    del layers[count:]
    config.num_hidden_layers = count
    if not _comes_back(model):
        raise UserError(
            f"irl.blocks is {count}, but a {config.model_type} that is cut to its lowest blocks "
            "is another model: set it to all"
        )


@torch.no_grad()
def _comes_back(model: PreTrainedModel) -> bool:
    """Whether a model of the same configuration and weights, which is what its folder has, computes
    the same.
    """
    try:
        config = type(model.config).from_dict(model.config.to_dict())
        again: PreTrainedModel = type(model)(config)
        to_dtype(again, model.dtype)
        again.load_state_dict(model.state_dict())
    except (RuntimeError, ValueError):
        return False
    ids = first_tokens(model)
    expected, found = (
        part.base_model(input_ids=ids, use_cache=False).last_hidden_state
        for part in (model, again.to(model.device).eval())
    )
    return alike(found, expected, model.dtype)
