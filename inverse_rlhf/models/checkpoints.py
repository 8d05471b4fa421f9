"""Policies (causal LMs) and classifiers: one object for both, one way to load and save it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Model:
    """A policy or a classifier with what it takes to run it.

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
        """How many tokens the model can read, from its configuration."""
        config = self.module.config.get_text_config()
        limit = int(getattr(config, "max_position_embeddings", 1_000_000))
        if config.model_type in ("roberta", "xlm-roberta", "camembert"):
            limit -= config.pad_token_id + 1  # positions start after padding
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
    settings only its tokens are kept.

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
    return Model(model.to(device_of(compute)).eval(), tokenizer, compute)


def obtain(kind: Kind, params: Pretrained, compute: Compute, *, key: str) -> Model:
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
