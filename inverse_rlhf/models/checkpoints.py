"""Policies (causal LMs), classifiers and bodies: one object for all, one way to load and save."""

import contextlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors import safe_open
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

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.files import atomic
from inverse_rlhf.models import processes
from inverse_rlhf.models.adapters import TOKENIZER_FILES, Adapter, find_adapter, merge
from inverse_rlhf.models.causal import check_causal
from inverse_rlhf.models.manifest import followed, write_manifest
from inverse_rlhf.models.places import is_local, stays
from inverse_rlhf.models.probes import PROBES, alike
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
# What a checkpoint may hold beside its model: masks, positions and rotary frequencies, which are
# computed anew, and the value head of a policy that PPO trained.
_LEFTOVERS = re.compile(
    r"(\.|^)(inv_freq|position_ids|token_type_ids|masked_bias|rotary_emb\.(cos|sin)_cached)$"
    r"|(\.|^)num_batches_tracked$|^v_head\."
)
# Causal masks, under what is a weight's name in other architectures.
_MASKS = re.compile(r"\.(attn|attention|self_attn|self_attention)\.bias$")
_FLOATS = ("F64", "F32", "F16", "BF16")
_NO_CODE = (
    "later stages run no code that a model brings: take one of an architecture that transformers "
    "has, or convert it to one"
)
_OTHER_WEIGHTS = ("*.gguf", "*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.ckpt")
_TASKS: dict[str | None, Kind] = {"CAUSAL_LM": "policy", "SEQ_CLS": "classifier"}
# Where an adapter of a classifier brings a head, its rows are the labels.
_HEADS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")


def device_of(compute: Compute) -> torch.device:
    """The device that `compute.device` names; of several processes each has the GPU of its number.

    Raises:
        UserError: a CUDA device is asked for and there is none of that number.
    """
    name = compute.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and processes.together():
        name = f"cuda:{processes.local_rank()}"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"compute.device is {compute.device!r}, but this machine has "
            f"{torch.cuda.device_count()} CUDA devices: use auto or cpu"
        )
    return device


def frozen_dtype(compute: Compute) -> torch.dtype:
    """Of weights that are not trained, `compute.dtype`."""
    dtype: torch.dtype = getattr(torch, compute.dtype)
    return dtype


@dataclass(frozen=True)
class Model:
    """A policy, a classifier or a body with what it takes to run it.

    Attributes:
        module: the weights, float32 or `compute.dtype`, on `device`.
        tokenizer: it pads, and never adds spaces or cleans up when it decodes.
        compute: where, at which precision and in which batches it runs.
    """

    module: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    compute: Compute

    @property
    def name(self) -> str:
        """The folder or hub id that it was loaded from; empty of a model that was made here."""
        return str(self.module.name_or_path)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.module.device

    @property
    def max_tokens(self) -> int:
        """How many tokens the model can read, special ones included, from its configuration."""
        config = self.module.config.get_text_config()
        names = ("max_position_embeddings", "max_seq_len")
        limits = [getattr(config, name, None) for name in names]
        limit = min((int(limit) for limit in limits if limit and int(limit) > 0), default=1_000_000)
        padding = _position_of_padding(self.module)
        return limit if padding is None else limit - padding - 1

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 autocast on the device when `compute.bf16` is set, else no change."""
        if not self.compute.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def save(self, path: Path | str) -> None:
        """Write a folder in hub layout (safetensors), whole or not at all."""
        with atomic(path) as folder:
            processes.by_first(self.write, folder)

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
    trained: bool = False,
    **config: Any,
) -> Model:
    """A model in evaluation mode, on its device.

    Its tokenizer pads with end-of-text where it has no padding token. Of a policy's own generation
    settings only its tokens are kept. A LoRA adapter comes merged into the base model that it
    names, with its own tokenizer where it has one.

    Args:
        kind: policy, classifier or body: an encoder, or a language model without its head.
        source: a folder in hub layout or a hub id, of a model or of an adapter; or a folder that
            stands for one, see `followed`.
        key: the param that named the source, for messages.
        revision: commit, tag or branch of a hub id.
        trained: whether its weights are to be trained, or kept: they are float32 then, else
            `compute.dtype`.
        **config: overrides of the model's configuration.

    Raises:
        UserError: no such folder or hub id, no network, no tokenizer or one that does not fit the
            model, no safetensors weights, or weights that do not fit the architecture, are no
            floating-point numbers or are not finite; an adapter without its base, that does not
            match it or that cannot be merged; a policy that a param names and that does not read
            as one, see `check_causal`.
    """
    source = followed(source)
    name = f"{key}: {source}" if key else str(source)
    _check_place(source, name)
    with _one_line(name, "model"):
        adapter = find_adapter(source, name, revision=revision)
    dtype = torch.float32 if trained else frozen_dtype(compute)
    if adapter is None:
        options = {"revision": revision, "trust_remote_code": trust_remote_code}
        model, tokenizer = _read(kind, source, name, options, config, dtype=dtype)
    else:
        model, tokenizer = _read_adapted(kind, adapter, name, trust_remote_code, config)
        to_dtype(model, dtype)
    with _one_line(name, "vocabulary"):
        _ = model.get_input_embeddings().weight
    broken = [key for key, value in model.named_parameters() if not value.isfinite().all()]
    if broken:
        raise UserError(f"{name} is broken: its weights {broken[0]} are not finite")
    _check_vocabulary(model, tokenizer, name)
    # Some classifiers find the end of a text by the padding token that they were trained with.
    _set_padding(model, tokenizer, name, keeps_own=kind == "classifier" and not config)
    if not trust_remote_code:  # what is saved names no code that it was not read by
        vars(model.config).pop("auto_map", None)
        tokenizer.init_kwargs.pop("auto_map", None)
    model.name_or_path = str(source)
    model = model.to(device_of(compute)).eval()
    if kind == "policy":
        _check_ends(model, name)
        _set_end(model, tokenizer, name)
        _forget_decoding(model, tokenizer.pad_token_id)
        if key:
            check_causal(model, tokenizer, name)
    return Model(model, tokenizer, compute)


def to_dtype(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Have a model's weights in a type, but not what it computes once, such as frequencies."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)


def _read(
    kind: Kind,
    source: str | Path,
    name: str,
    options: dict[str, Any],
    config: dict[str, Any],
    *,
    dtype: torch.dtype = torch.float32,
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
            dtype=dtype,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            **options,
            **config,
        )
    vars(model).pop("generate", None)  # a trusted folder's own, which would replace `decode`
    _check_direction(kind, model, name)
    stored = _stored(source, options["revision"])
    leftovers = [key for key in info["unexpected_keys"] if _is_leftover(key, stored)]
    _check_weights(
        kind, model, info, name, brought=brought, leftovers=leftovers, new_head=bool(config)
    )
    _check_dtypes(model, stored, name)
    return model, tokenizer


def _read_adapted(
    kind: Kind, adapter: Adapter, name: str, trust_remote_code: bool, config: dict[str, Any]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A base model with an adapter merged into it, and the tokenizer of the two."""
    if kind == "policy" and adapter.task not in ("CAUSAL_LM", None):
        raise UserError(f"{name} is no policy: it is an adapter for task_type {adapter.task}")
    here = "" if Path(adapter.base).is_dir() else " (no folder, from here or from its own)"
    base = f"{name}: its base model {adapter.base}{here}"
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
    return model.base_model if kind == "body" and read_as != "body" else model, tokenizer


def obtain(kind: Kind, params: Source, compute: Compute, *, key: str) -> Model:
    """`load` for the source that a params group names, to be kept; a hub id needs a revision.

    What is given runs without code of its own, as it does in every later stage; where it is
    trusted, that code must make the same of the weights.
    """
    if params.revision is None and not Path(params.source).is_dir():
        raise UserError(
            f"{key}.source: {params.source} is not a folder; if it is a hub id, set {key}.revision "
            "to a commit, tag or branch"
        )
    given: dict[str, Any] = {"key": f"{key}.source", "revision": params.revision, "trained": True}
    try:
        model = load(kind, params.source, compute, **given)
    except UserError as error:
        more = f"; {key}.trust_remote_code is no way out: {_NO_CODE}"
        raise UserError(f"{error}{more if params.trust_remote_code else ''}") from None
    if params.trust_remote_code:
        trusted = load(kind, params.source, compute, trust_remote_code=True, **given)
        if not _alike(model, trusted):
            raise UserError(
                f"{key}.source: {params.source} computes something else with its own code than "
                f"without it: {_NO_CODE}"
            )
    return model


@torch.no_grad()
def _alike(model: Model, other: Model) -> bool:
    """Whether two models read a text as the same tokens, and make the same of them."""
    ids, others = (part.tokenizer(PROBES[0])["input_ids"] for part in (model, other))
    if ids != others:
        return False
    batch = torch.tensor([ids], device=model.device)
    found, expected = (part.module(input_ids=batch)[0].float() for part in (model, other))
    return found.shape == expected.shape and alike(found, expected)


def keep(model: Model, params: Source, folder: Path, *, key: str) -> None:
    """Write what was trained, or what `obtain` gave, into a folder; of a whole model in a folder of
    the user's only where it stays.

    An adapter is kept merged.

    Args:
        key: of the params group.
    """
    if params.source != "scratch" and stays(params.source):
        write_manifest(Path(params.source), folder, key=f"{key}.source")
    else:
        model.write(folder)


def _check_place(source: str | Path, name: str) -> None:
    """Refuse what is neither a folder nor looks like a hub id."""
    path = Path(source)
    looks_local = isinstance(source, Path) or is_local(source)
    if not path.is_dir() and (looks_local or path.is_file()):
        advice = ": run `dvc repro`" if isinstance(source, Path) else ""
        raise UserError(f"{name} is not a folder{advice}")


def _check_folder(source: str | Path, name: str, *, needs_tokenizer: bool) -> None:
    path = Path(source)
    if not path.is_dir():
        return
    others = [file for kind in _OTHER_WEIGHTS for file in sorted(path.glob(kind))]
    if not list(path.glob("*.safetensors")) and others:
        raise UserError(
            f"{name} has no .safetensors weights but {others[0].name}; other formats are not "
            f"loaded: convert the weights to safetensors{_way_to_convert(path, others[0])}"
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


def _way_to_convert(folder: Path, weights: Path) -> str:
    """For a message: the line of Python that writes the same model as safetensors."""
    file = f", gguf_file={weights.name!r}" if weights.suffix == ".gguf" else ""
    if not file and weights.suffix != ".bin":
        return ""
    call = f"from_pretrained(old{file}).save_pretrained(new)"
    return (
        f", into a new folder, by `old, new = {str(folder)!r}, {folder.name + '-safetensors'!r}; "
        f"import transformers as t; t.AutoModelForCausalLM.{call}; t.AutoTokenizer.{call}` "
        "(of a classifier: AutoModelForSequenceClassification), if you trust the file"
    )


def _check_weights(
    kind: Kind,
    model: PreTrainedModel,
    info: dict[str, Any],
    name: str,
    *,
    brought: Collection[str],
    leftovers: Collection[str],
    new_head: bool,
) -> None:
    """Refuse weights that are missing, of other shapes, or without a place in the architecture."""
    if info["mismatched_keys"]:
        key, found, wanted = min(info["mismatched_keys"])
        raise UserError(
            f"{name}: its weights {key} have shape {list(found)}, but its config.json says "
            f"{list(wanted)}: they are of another model"
        )
    lacking = sorted(set(info["missing_keys"]) - set(brought))
    needed = [key for key in lacking if not key.startswith(_MAY_LACK[kind])]
    if needed or (lacking and kind == "classifier" and not new_head):
        raise UserError(
            f"{name} is no {kind}: its weights lack {lacking[0]} (of {len(lacking)} missing)"
        )
    left = sorted(set(info["unexpected_keys"]) - set(leftovers))
    if kind == "body" or new_head:  # the heads of what it was trained as are not read
        left = [key for key in left if _within_body(key, model)]
    if left:
        raise UserError(
            f"{name}: its weights {left[0]} (of {len(left)} such) have no place in a "
            f"{model.config.model_type} {kind} as its config.json describes it: config.json is of "
            "another model, or the weights are"
        )


def _within_body(key: str, model: PreTrainedModel) -> bool:
    """Whether a weight's name is that of a part of the model's body, which may lie a level deeper
    or less deep in the checkpoint.
    """
    body = model.base_model
    parts = key.removeprefix(f"{model.base_model_prefix}.").split(".")
    return parts[0] in dict(body.named_children()) | dict(body.named_parameters(recurse=False))


def _stored(source: str | Path, revision: str | None) -> dict[str, tuple[str, list[int]]]:
    """The type and the shape of each weight in the files, by name."""
    folder = Path(source)
    if not folder.is_dir():
        cached = try_to_load_from_cache(str(source), "config.json", revision=revision)
        if not isinstance(cached, str):
            return {}
        folder = Path(cached).parent
    found = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, "pt") as weights:
            for key in weights.keys():  # noqa: SIM118 (it is no mapping)
                part = weights.get_slice(key)
                found[key] = part.get_dtype(), part.get_shape()
    return found


def _is_leftover(key: str, stored: dict[str, tuple[str, list[int]]]) -> bool:
    """Whether a weight that has no place in the model may be left out.

    Args:
        key: its name, which may lie a level deeper or less deep than in the files.
    """
    if not _MASKS.search(key):
        return bool(_LEFTOVERS.search(key))
    shapes = [
        shape for name, (_, shape) in stored.items() if name.endswith(key) or key.endswith(name)
    ]
    return any(len(shape) == 4 and shape[-1] == shape[-2] for shape in shapes)


def _check_dtypes(
    model: PreTrainedModel, stored: dict[str, tuple[str, list[int]]], name: str
) -> None:
    """Refuse weights that are no floating-point numbers of 16 bits or more, and that would be taken
    for such.
    """
    whole = {  # the last parts of the names of what are integers in the model, too
        key.rpartition(".")[2]
        for key, value in model.state_dict().items()
        if not value.is_floating_point()
    }
    for key, (dtype, _) in stored.items():
        if dtype in _FLOATS or key.rpartition(".")[2] in whole:
            continue
        if not _is_leftover(key, stored):
            raise UserError(
                f"{name}: its weights {key} are {dtype}, no floating-point numbers of 16 bits or "
                "more: name the model before it was quantised"
            )


def _check_ends(model: PreTrainedModel, name: str) -> None:
    """Refuse a policy whose ends of text are no tokens of it."""
    rows = model.get_input_embeddings().weight.shape[0]
    parts = {
        "config.json": model.config,
        "text_config of config.json": model.config.get_text_config(),
        "generation_config.json": model.generation_config,
    }
    for file, part in parts.items():
        own = getattr(part, "eos_token_id", None)
        for end in own if isinstance(own, list | tuple) else [own]:
            if end is not None and (not isinstance(end, int) or not 0 <= end < rows):
                raise UserError(
                    f"{name}: eos_token_id in its {file} names token {end}, but the model embeds "
                    f"tokens 0 to {rows - 1}: set it to the token that ends its texts"
                )


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    """Refuse a tokenizer some of whose tokens the model does not embed, or one of whose special
    tokens has the number of a word.
    """
    known = tokenizer.get_vocab()
    token, highest = max(known.items(), key=lambda item: item[1])
    rows = model.get_input_embeddings().weight.shape[0]
    if highest >= rows:
        raise UserError(
            f"{name}: its tokenizer has tokens up to {highest} ({token!r}), but the model embeds "
            f"{rows}: name a tokenizer of its own, or resize the model's embeddings to "
            f"{highest + 1} and name the resized folder"
        )
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    special.pop(tokenizer.unk_token_id, None)  # unknown words may share it
    named = {*special.values(), *map(str, tokenizer.added_tokens_decoder.values())}
    for word, number in known.items():
        if number in special and word not in named:
            raise UserError(
                f"{name}: its tokenizer has one number, {number}, for {special[number]!r} and for "
                f"{word!r}: give {special[number]!r} one of its own and train the model with it"
            )


@contextlib.contextmanager
def _one_line(name: str, part: str) -> Iterator[None]:
    """Turn what loading from a folder or the hub can raise into one line.

    That is anything: libraries, and a trusted folder's own code, raise what they like about files
    that they do not expect. What the machine lacks is not the folder's fault.
    """
    try:
        yield
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        line = first_line(error)
        if isinstance(error, KeyError):
            line = f"{error!r}: a setting that is missing or unknown"
        if "use_safetensors" in line:  # the hub's advice is to load what is not loaded here
            line = "it has no .safetensors weights: convert them to safetensors"
        raise UserError(f"{name}: the {part} cannot be loaded: {line}") from None


def _position_of_padding(module: PreTrainedModel) -> int | None:
    """The position that padding has where positions are learned and those of a text come after it,
    as in RoBERTa's kin; None where positions count from 0.
    """
    for name, part in module.named_modules():
        if name.endswith("position_embeddings"):
            padding: int | None = getattr(part, "padding_idx", None)
            return padding
    return None


def _set_padding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str, *, keeps_own: bool
) -> None:
    """Have the tokenizer pad, and, unless the model keeps its own padding token, the configuration
    with the same token.
    """
    position = _position_of_padding(model)
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None and position is None:
            raise UserError(f"{name}: the tokenizer has neither a padding nor an end token")
        own = None if position is None else tokenizer.convert_ids_to_tokens(position)
        tokenizer.pad_token = own or tokenizer.eos_token
    if position is not None and tokenizer.pad_token_id != position:
        raise UserError(
            f"{name}: its tokenizer pads with token {tokenizer.pad_token_id}, but the model counts "
            f"positions from its padding token, {position}: set pad_token in tokenizer_config.json "
            "to that token"
        )
    tokenizer.clean_up_tokenization_spaces = False
    if keeps_own and position is None:
        return
    for config in (model.config, model.config.get_text_config()):
        config.pad_token_id = tokenizer.pad_token_id


def _set_end(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Give a policy's tokenizer the end of text that the model's configuration names."""
    if tokenizer.eos_token is not None:
        return
    known = getattr(model.generation_config, "eos_token_id", None)
    first = known[0] if isinstance(known, list) and known else known
    token = tokenizer.convert_ids_to_tokens(first) if isinstance(first, int) else None
    if token is None:
        raise UserError(
            f"{name} is no policy: neither its tokenizer nor its generation_config.json has an end "
            "of text, without which no completion ends: set eos_token in tokenizer_config.json"
        )
    tokenizer.eos_token = token


def _forget_decoding(model: PreTrainedModel, pad_token_id: int) -> None:
    """Keep the end-of-text tokens, and nothing else, of how the folder says to decode.

    Beams, penalties or a cut of its own would change what is sampled, but not the likelihoods, and
    everything measured here takes completions for samples of the policy.
    """
    own = getattr(model, "generation_config", None) or GenerationConfig()
    model.generation_config = GenerationConfig(
        bos_token_id=own.bos_token_id, eos_token_id=own.eos_token_id, pad_token_id=pad_token_id
    )
