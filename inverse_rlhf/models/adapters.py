"""LoRA adapters: found in a folder or on the hub, and merged into the base model they name."""

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.models.places import ADAPTER, base_of, base_revision
from inverse_rlhf.models.probes import alike, first_tokens

WEIGHTS = "adapter_model.safetensors"
TOKENIZER_FILES = ("tokenizer*.json", "vocab.*", "*.model")
# They start from parts of the base's weights and leave the rest of these as the base, so that the
# saved A and B add up with a base that is nowhere saved.
_CHANGE_THE_BASE = ("pissa", "corda", "olora", "loftq", "lora_ga")


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter, read but not applied.

    Attributes:
        folder: with its files.
        base: folder or hub id of the model that it adapts.
        base_revision: commit, tag or branch of a hub id, where the adapter names one.
        config: peft's.
        weights: by their names in the file.
    """

    folder: Path
    base: str
    base_revision: str | None
    config: Any
    weights: dict[str, torch.Tensor]

    @property
    def task(self) -> str | None:
        """What it was trained as, in peft's words: CAUSAL_LM, SEQ_CLS or others."""
        task = self.config.task_type
        return None if task is None else str(getattr(task, "value", task))

    @property
    def has_tokenizer(self) -> bool:
        """Whether its folder has a tokenizer of its own."""
        return any(list(self.folder.glob(pattern)) for pattern in TOKENIZER_FILES)

    @property
    def whole(self) -> dict[str, torch.Tensor]:
        """The weights that it brings instead of changes to them, by their names in the base."""
        return {
            name.removeprefix("base_model.model."): value
            for name, value in self.weights.items()
            if "lora_" not in name
        }


def find_adapter(source: str | Path, name: str, *, revision: str | None) -> Adapter | None:
    """The adapter in a folder or under a hub id, or None where there is none.

    A hub id that has both an adapter and a whole model is taken for the adapter, as transformers
    does; a folder that has both is refused.

    Args:
        name: of the source, for messages.

    Raises:
        UserError: an adapter that is not LoRA, that was trained from changed base weights, that has
            no safetensors weights or names no base, or is unknown to this version of peft.
        OSError: the hub has no such id or revision.
    """
    if find_adapter_config_file(str(source), revision=revision) is None:
        return None
    folder = Path(source)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        wanted = ["adapter_*", "chat_template*", "*token*", "vocab*", "merges.txt", "*.model"]
        folder = Path(snapshot_download(str(source), revision=revision, allow_patterns=wanted))
    elif [path for path in folder.glob("*.safetensors") if path.name != WEIGHTS]:
        raise UserError(
            f"{name} has both an adapter ({ADAPTER}) and the weights of a whole model: "
            "keep one of them in the folder"
        )
    return _read(folder, name)


def _read(folder: Path, name: str) -> Adapter:
    from peft import PeftConfig
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_settings(folder, name)
    base = base_of(folder, name)
    if base is None:
        raise UserError(
            f"{name} names no base model: set base_model_name_or_path in its {ADAPTER} to a folder "
            "or a hub id"
        )
    if not (folder / WEIGHTS).is_file():
        other = " but an adapter_model.bin" if (folder / "adapter_model.bin").is_file() else ""
        raise UserError(
            f"{name} has no {WEIGHTS}{other}: only safetensors are loaded, convert the weights"
        )
    try:
        config = PeftConfig.from_pretrained(str(folder))
        weights = load_file(folder / WEIGHTS)
    except (TypeError, ValueError, SafetensorError) as error:
        raise UserError(f"{name}: the adapter cannot be loaded: {first_line(error)}") from None
    return Adapter(folder, str(base), base_revision(folder, name), config, weights)


def _check_settings(folder: Path, name: str) -> None:
    """Refuse an adapter whose configuration is not of a LoRA that can be merged."""
    from peft import LoraConfig, __version__

    try:
        content = json.loads((folder / ADAPTER).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{name}: its {ADAPTER} is not JSON: {error}") from None
    kind = content.get("peft_type") if isinstance(content, dict) else None
    if kind != "LORA":
        raise UserError(
            f"{name} is an adapter of peft_type {kind!r}, only LORA is merged into its base: "
            "merge it yourself and name the merged folder"
        )
    fields = LoraConfig.__dataclass_fields__.keys() | {"runtime_config"}
    unknown = [key for key, value in content.items() if key not in fields and value]
    if unknown:
        raise UserError(
            f"{name}: its {ADAPTER} sets {unknown[0]}, which peft {__version__} does not know: "
            "update peft, or merge it yourself and name the merged folder"
        )
    start = content.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGE_THE_BASE):
        raise UserError(
            f"{name}: its init_lora_weights is {start!r}, which also changes the base's weights: "
            "save it as a plain LoRA, or merge it yourself and name the merged folder"
        )


def merge(model: PreTrainedModel, adapter: Adapter, name: str) -> PreTrainedModel:
    """The base model with the adapter merged into its weights, in evaluation mode.

    Args:
        model: the base, changed in place.
        name: of the adapter, for messages.

    Raises:
        UserError: the adapter's weights do not match the base, or merged weights would compute
            something else than the adapter beside the base does.
    """
    from peft import PeftModel
    from peft.utils import set_peft_model_state_dict

    _check_rows(model, adapter, name)
    misfit = f"{name}: the adapter does not match its base model {adapter.base}: "
    adapter.config.inference_mode = True
    try:
        with old_names():
            beside = PeftModel(model, adapter.config)
        found: Any = set_peft_model_state_dict(beside, adapter.weights)
    except KeyError as error:
        raise UserError(f"{misfit}it lacks {error.args[0]}") from None
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(misfit + first_line(error)) from None
    # Weights of the base are not in the file: those of the adapter have its name, "default".
    missing = sorted(key for key in found.missing_keys if "default" in key.split("."))
    for keys, what in ((missing, "it lacks"), (sorted(found.unexpected_keys), "no place for")):
        if keys:
            more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            raise UserError(f"{misfit}{what} {keys[0]}{more}")
    try:
        merged = merge_alike(beside)
    except (NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise UserError(
            f"{name}: the adapter cannot be merged into its base model {adapter.base}: "
            f"{first_line(error)}"
        ) from None
    if merged is None:
        raise UserError(
            f"{name}: merged into its base model {adapter.base} the adapter computes something "
            "else than beside it (tied embeddings, or a kind of LoRA that cannot be merged): "
            "merge it yourself and name the merged folder"
        )
    return merged.requires_grad_(True).eval()


@contextlib.contextmanager
def old_names() -> Iterator[None]:
    """TRL and peft call by names that transformers has replaced."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`(is_)?gradient_checkpointing", FutureWarning)
        yield


def merge_alike(beside: Any) -> PreTrainedModel | None:
    """The plain model of peft's, adapters merged into its weights; None: it computes something else
    than with them beside it.
    """
    expected = _outputs(beside.eval())
    merged: PreTrainedModel = beside.merge_and_unload()
    # Where not finite, the weights are broken, which is said of them whoever brought them.
    if expected.isfinite().all() and not alike(_outputs(merged), expected):
        return None
    return merged


def _check_rows(model: PreTrainedModel, adapter: Adapter, name: str) -> None:
    """Refuse an adapter that was trained with more or fewer tokens than its base embeds."""
    own = dict(model.named_parameters())
    for key, value in adapter.whole.items():
        of_base = own.get(key.replace(".base_layer.", "."))
        is_table = of_base is not None and value.dim() == 2 and value.shape[1:] == of_base.shape[1:]
        if of_base is not None and is_table and len(value) != len(of_base):
            raise UserError(
                f"{name}: it brings {len(value)} rows of {key}, but its base model {adapter.base} "
                f"has {len(of_base)}: resize the base's embeddings, merge the adapter yourself and "
                "name the merged folder"
            )


@torch.no_grad()
def _outputs(model: Any) -> torch.Tensor:
    """What a model makes of its first tokens: logits or hidden states."""
    return model(input_ids=first_tokens(model))[0].float()
