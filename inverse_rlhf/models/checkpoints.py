"""Policies (causal LMs), classifiers and bodies: one object for all, one way to load and save."""

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils.peft_utils import find_adapter_config_file

from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic
from inverse_rlhf.models.adapters import TOKENIZER_FILES, Adapter, find_adapter, merge
from inverse_rlhf.params import Compute, Source

Kind = Literal["policy", "classifier", "body"]
_AUTO: dict[Kind, Any] = {
    "policy": AutoModelForCausalLM,
    "classifier": AutoModelForSequenceClassification,
    "body": AutoModel,
}
# Weights that a model of a kind may start without: the classifier's head where one of another size
# is asked for, and what pools the hidden states, which is not read.
_MAY_LACK: dict[Kind, tuple[str, ...]] = {
    "policy": (),
    "classifier": ("score.",),
    "body": ("pooler.",),
}
_OTHER_WEIGHTS = ("*.bin", "*.gguf", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ckpt")
_TASKS: dict[str | None, Kind] = {"CAUSAL_LM": "policy", "SEQ_CLS": "classifier"}
# Where an adapter of a classifier brings a head, its rows are the labels.
_HEADS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")
# The first position of a text comes after that of padding.
_POSITIONS_AFTER_PADDING = (
    "camembert",
    "data2vec-text",
    "ibert",
    "longformer",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)


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


@dataclass(frozen=True)
class Model:
    """A policy, a classifier or a body with what it takes to run it.

    Attributes:
        module: the weights, float32, on `device`.
        tokenizer: it pads, and never adds spaces or cleans up when it decodes.
        compute: where, at which precision and in which batches it runs.
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    compute: Compute

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.module.device

    @property
    def max_tokens(self) -> int:
        """How many tokens the model can read, special ones included, from its configuration."""
        config = self.module.config.get_text_config()
        limit = int(getattr(config, "max_position_embeddings", 1_000_000))
        if config.model_type in _POSITIONS_AFTER_PADDING:
            limit -= config.pad_token_id + 1
        return limit

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 autocast on the device when `compute.bf16` is set, else no change."""
        if not self.compute.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def save(self, path: Path | str) -> None:
        """Write a folder in hub layout (safetensors), whole or not at all."""
        with atomic(path) as folder:
            self.write(folder)

    def write(self, folder: Path) -> None:
        """Write weights and tokenizer into a folder."""
        self.module.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load(
    kind: Kind,
    source: str | Path,
    compute: Compute,
    *,
    key: str = "",
    revision: str | None = None,
    trust_remote_code: bool = False,
    **config: Any,
) -> Model:
    """A model in evaluation mode, on its device.

    Its tokenizer pads with end-of-text where it has no padding token. Of a policy's own generation
    settings only its tokens are kept. A LoRA adapter comes merged into the base model that it
    names, with its own tokenizer where it has one.

    Args:
        kind: policy, classifier or body: an encoder, or a language model without its head.
        source: a folder in hub layout or a hub id, of a model or of an adapter.
        key: the param that named the source, for messages.
        revision: commit, tag or branch of a hub id.
        **config: overrides of the model's configuration.

    Raises:
        UserError: no such folder or hub id, no network, no tokenizer, no safetensors weights, or
            weights that do not fit the architecture or are not finite; an adapter without its base,
            that does not match it or that cannot be merged.
    """
    name = f"{key}: {source}" if key else str(source)
    _check_place(source, name)
    with _one_line(name, "model"):
        adapter = find_adapter(source, name, revision=revision)
    if adapter is None:
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        model, tokenizer = _read(kind, source, name, options, config)
    else:
        model, tokenizer = _read_adapted(kind, adapter, name, trust_remote_code, config)
    broken = [key for key, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise UserError(f"{name} is broken: its weights {broken[0]} are not finite")
    _set_padding(model, tokenizer, name)
    if kind == "policy":
        _forget_decoding(model, tokenizer.pad_token_id)
    model.name_or_path = str(source)
    return Model(model.to(device_of(compute)).eval(), tokenizer, compute)


def _read(
    kind: Kind,
    source: str | Path,
    name: str,
    options: dict[str, Any],
    config: dict[str, Any],
    *,
    tokenizer_from: Path | None = None,
    brought: Collection[str] = (),
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A whole model and a tokenizer.

    Args:
        name: of the source, for messages.
        options: revision and trust_remote_code.
        config: overrides of the model's configuration.
        tokenizer_from: a folder with a tokenizer that replaces the model's own.
        brought: names of weights that an adapter brings, and that may be missing.
    """
    _check_folder(source, name, needs_tokenizer=tokenizer_from is None)
    with _one_line(name, "tokenizer"):
        if tokenizer_from is None:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        else:
            trusted = {"trust_remote_code": options["trust_remote_code"]}
            tokenizer = AutoTokenizer.from_pretrained(tokenizer_from, **trusted)
    with _one_line(name, "weights"):
        model, info = _AUTO[kind].from_pretrained(
            source,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **options,
            **config,
        )
    _check_direction(kind, model, name)
    lacking = sorted(set(info["missing_keys"]) - set(brought))
    needed = [key for key in lacking if not key.startswith(_MAY_LACK[kind])]
    if needed or (lacking and kind == "classifier" and not config):
        raise UserError(
            f"{name} is no {kind}: its weights lack {lacking[0]} (of {len(lacking)} missing)"
        )
    return model, tokenizer


def _read_adapted(
    kind: Kind, adapter: Adapter, name: str, trust_remote_code: bool, config: dict[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base model with an adapter merged into it, and the tokenizer of the two."""
    if kind == "policy" and adapter.task not in ("CAUSAL_LM", None):
        raise UserError(f"{name} is no policy: it is an adapter for task_type {adapter.task}")
    base = f"{name}: its base model {adapter.base}"
    options = {"revision": adapter.base_revision, "trust_remote_code": trust_remote_code}
    with _one_line(base, "model"):
        nested = find_adapter_config_file(adapter.base, revision=adapter.base_revision)
    if nested is not None:
        raise UserError(f"{base} is an adapter itself: merge that one and name the merged folder")
    # An adapter's weights are named within the model that it was trained as, head included.
    read_as = _TASKS.get(adapter.task, kind) if kind == "body" else kind
    heads = [value for key, value in adapter.whole.items() if key in _HEADS]
    if read_as == "classifier" and heads:
        config = {"num_labels": len(heads[0])} | config
    model, tokenizer = _read(
        read_as,
        adapter.base,
        base,
        options,
        config,
        tokenizer_from=adapter.folder if adapter.has_tokenizer else None,
        brought=adapter.whole,
    )
    model = merge(model, adapter, name)
    highest, rows = max(tokenizer.get_vocab().values()), len(model.get_input_embeddings().weight)
    if highest >= rows:
        raise UserError(
            f"{name}: its tokenizer has tokens up to {highest}, but its base model embeds {rows}: "
            "resize the base, merge the adapter yourself and name the merged folder"
        )
    return model.base_model if kind == "body" and read_as != "body" else model, tokenizer


def obtain(kind: Kind, params: Source, compute: Compute, *, key: str) -> Model:
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


def _check_place(source: str | Path, name: str) -> None:
    """Refuse what is neither a folder nor looks like a hub id."""
    path = Path(source)
    looks_local = isinstance(source, Path) or str(source).startswith((".", "/", "~"))
    if not path.is_dir() and (looks_local or path.is_file() or str(source).count("/") > 1):
        advice = ": run `dvc repro`" if isinstance(source, Path) else ""
        raise UserError(f"{name} is not a folder{advice}")


def _check_folder(source: str | Path, name: str, *, needs_tokenizer: bool) -> None:
    path = Path(source)
    if not path.is_dir():
        return
    others = sorted(file for kind in _OTHER_WEIGHTS for file in path.glob(kind))
    if not list(path.glob("*.safetensors")) and others:
        raise UserError(
            f"{name} has no .safetensors weights but {others[0].name}; other formats are not "
            "loaded: convert the weights to safetensors"
        )
    if not (path / "config.json").is_file():
        raise UserError(f"{name} has no config.json: it is not a model folder")
    if not list(path.glob("*.safetensors")):
        raise UserError(f"{name} has no .safetensors weights; other formats are not loaded")
    if needs_tokenizer and not any(list(path.glob(pattern)) for pattern in TOKENIZER_FILES):
        raise UserError(f"{name} has no tokenizer files")


def _check_direction(kind: Kind, model: PreTrainedModel, name: str) -> None:
    """Refuse what would run as another kind of model than it is."""
    config = model.config
    masked = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if kind == "policy" and masked and not getattr(config, "is_decoder", False):
        raise UserError(f"{name} is no policy: a {config.model_type} reads in both directions")
    if kind == "body" and config.is_encoder_decoder:
        raise UserError(f"{name} is an encoder with a decoder: name a model that is one of the two")


@contextlib.contextmanager
def _one_line(name: str, part: str) -> Iterator[None]:
    """Turn what loading from a folder or the hub can raise into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        line = next((line for line in str(error).splitlines() if line.strip()), repr(error))
        if "use_safetensors" in line:  # the hub's advice is to load what is not loaded here
            line = "it has no .safetensors weights: convert them to safetensors"
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
