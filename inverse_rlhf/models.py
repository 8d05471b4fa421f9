"""Policies (causal LMs) and classifiers: one way to load, train and save both."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic
from inverse_rlhf.params import Compute, Pretrained

Kind = Literal["policy", "classifier"]
_AUTO: dict[Kind, Any] = {
    "policy": AutoModelForCausalLM,
    "classifier": AutoModelForSequenceClassification,
}


def device_of(compute: Compute) -> torch.device:
    """The device that `compute.device` names.

    Raises:
        UserError: a CUDA device is asked for and there is none of that number.
    """
    if compute.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(compute.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"compute.device is {compute.device!r}, but this machine has "
            f"{torch.cuda.device_count()} CUDA devices: use auto or cpu"
        )
    return device


def autocast(compute: Compute) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 autocast on the device when `compute.bf16` is set, else no change."""
    if not compute.bf16:
        return contextlib.nullcontext()
    return torch.autocast(device_of(compute).type, dtype=torch.bfloat16)


def load(
    kind: Kind,
    source: str | Path,
    compute: Compute,
    *,
    key: str = "",
    revision: str | None = None,
    trust_remote_code: bool = False,
    **config: Any,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model in evaluation mode, on its device, with float32 weights, and its tokenizer.

    The tokenizer pads (with end-of-text where it has no padding token) and never adds spaces or
    cleans up when it decodes. Of a policy's own generation settings only its tokens are kept.

    Args:
        kind: policy or classifier.
        source: a folder in hub layout or a hub id.
        key: the param that named the source, for messages.
        revision: commit, tag or branch of a hub id.
        **config: overrides of the model's configuration.

    Raises:
        UserError: no such folder or hub id, no network, no tokenizer, no safetensors weights, or
            weights that do not fit the architecture or are not finite.
    """
    name = f"{key}: {source}" if key else str(source)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    _check_folder(source, name)
    with _one_line(name, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
    with _one_line(name, "weights"):
        model, info = _AUTO[kind].from_pretrained(
            source,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **options,
            **config,
        )
    missing = [key for key in info["missing_keys"] if not key.startswith("score.")]
    if missing or (info["missing_keys"] and kind == "classifier" and not config):
        raise UserError(
            f"{name} is no {kind}: its weights lack {sorted(info['missing_keys'])[0]} "
            f"(of {len(info['missing_keys'])} missing)"
        )
    broken = [key for key, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise UserError(f"{name} is broken: its weights {broken[0]} are not finite")
    _set_padding(model, tokenizer, name)
    if kind == "policy":
        _forget_decoding(model, tokenizer.pad_token_id)
    model.name_or_path = str(source)
    return model.to(device_of(compute)).eval(), tokenizer


def obtain(kind: Kind, params: Pretrained, compute: Compute, *, key: str) -> Any:
    """`load` for the source that a params group names; a hub id needs a revision."""
    if params.revision is None and not Path(params.source).is_dir():
        raise UserError(
            f"{key}.source: {params.source} is not a folder; if it is a hub id, set {key}.revision "
            "to a commit, tag or branch"
        )
    return load(
        kind,
        params.source,
        compute,
        key=f"{key}.source",
        revision=params.revision,
        trust_remote_code=params.trust_remote_code,
    )


def save(
    body: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None,
    path: Path | str,
    files: dict[str, str] | None = None,
) -> None:
    """Write model (safetensors) and tokenizer to a folder in hub layout, whole or not at all.

    Args:
        body: model and tokenizer; None: only the files.
        files: names and contents of further files.
    """
    with atomic(path) as folder:
        folder.mkdir()
        if body is not None:
            for part in body:
                part.save_pretrained(folder)
        for name, content in (files or {}).items():
            (folder / name).write_text(content, encoding="utf-8")


def max_tokens(model: PreTrainedModel) -> int:
    """How many tokens the model can read, from its configuration."""
    config = model.config.get_text_config()
    limit = int(getattr(config, "max_position_embeddings", 1_000_000))
    if config.model_type in (
        "roberta",
        "xlm-roberta",
        "camembert",
    ):  # positions start after padding
        limit -= config.pad_token_id + 1
    return limit


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


def _check_folder(source: str | Path, name: str) -> None:
    path = Path(source)
    if not path.is_dir():
        looks_local = isinstance(source, Path) or str(source).startswith((".", "/", "~"))
        if looks_local or str(source).count("/") > 1:
            advice = ": run `dvc repro`" if isinstance(source, Path) else ""
            raise UserError(f"{name} is not a folder{advice}")
        return
    if not (path / "config.json").is_file():
        raise UserError(f"{name} has no config.json: it is not a model folder")
    if not list(path.glob("*.safetensors")):
        raise UserError(f"{name} has no .safetensors weights; other formats are not loaded")
    if not any(list(path.glob(pattern)) for pattern in ("tokenizer*.json", "vocab.*", "*.model")):
        raise UserError(f"{name} has no tokenizer files")


@contextlib.contextmanager
def _one_line(name: str, part: str) -> Iterator[None]:
    """Turn what loading from a folder or the hub can raise into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        line = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        raise UserError(f"{name}: the {part} cannot be loaded: {line}") from None


def _set_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise UserError(f"{name}: the tokenizer has neither a padding nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.clean_up_tokenization_spaces = False
    model.config.pad_token_id = tokenizer.pad_token_id


def _forget_decoding(model: PreTrainedModel, pad_token_id: int) -> None:
    """Keep the end-of-text tokens, and nothing else, of how the folder says to decode.

    Beams, penalties or a cut of its own would change what is sampled, but not the likelihoods, and
    everything measured here takes completions for samples of the policy.
    """
    own = getattr(model, "generation_config", None) or GenerationConfig()
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=pad_token_id
    )
