"""The transformer whose hidden states a reward weighs: the base policy's, another one, or none."""

from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.features.hidden_state import (
    head_of,
    hidden_states,
    pooled_hidden_state,
    scalar_head,
)
from inverse_rlhf.models.blocks import keep_bottom_blocks
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.manifest import followed
from inverse_rlhf.models.probes import PROBES, alike
from inverse_rlhf.models.reading import encode, pad
from inverse_rlhf.params import Compute, Irl
from inverse_rlhf.rewards.portable import check_classifier


def load_body(params: Irl, compute: Compute, base: Path) -> Model | None:
    """The body that `irl.body` names; None where nothing reads hidden states.

    Besides the rewards, method bayes reads them: it tells unusual texts by them.

    Args:
        base: folder of the base policy. Its body comes with a one-output head where transformers
            has a sequence classifier of its architecture that reads as rewards are read here.

    Raises:
        UserError: a hub id without a revision; or see `load`.
    """
    needed = "hidden_state" in params.features or params.method == "bayes"
    if params.body == "none" or not needed:
        return None
    if params.body == "base":
        # A mean over tokens is no classifier's way of reading.
        whole = _with_head(base, params, compute) if params.pooling == "last" else None
        return whole or load("body", base, compute, trained=params.trainable != "head")
    if params.body_revision is None and not Path(params.body).is_dir():
        raise UserError(
            f"irl.body: {params.body} is not a folder; if it is a hub id, set irl.body_revision to "
            "a commit, tag or branch"
        )
    return load("body", params.body, compute, key="irl.body", revision=params.body_revision)


def check_body(params: Irl, compute: Compute, base: Path) -> None:
    """Check, before any training, that the body that `irl.body` names gives hidden states.

    Raises:
        UserError: see `load_body`, `keep_bottom_blocks` and `write_classifier`; or its states
            change with padding.
    """
    body = load_body(params, compute, base)
    if body is None:
        return
    if params.blocks != "all":
        keep_bottom_blocks(body.module, params.blocks)
    try:
        together = hidden_states(PROBES, body, pooling=params.pooling)
        alone = [hidden_states([text], body, pooling=params.pooling)[0] for text in PROBES]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{_named(body)} gives no hidden states: {first_line(error)}") from None
    outputs = torch.from_numpy(together), torch.from_numpy(np.stack(alone))
    if not alike(*outputs, body.module.dtype):
        raise UserError(f"{_named(body)} reads something else of a text that is padded")
    if params.pooling == "last" and head_of(body.module) is not None:
        check_classifier(body)


def _named(body: Model) -> str:
    kind = body.module.config.model_type
    return f"irl.body: a {kind} carries no reward: take another body or other features: it"


def _with_head(base: Path, params: Irl, compute: Compute) -> Model | None:
    """The base policy's body within a sequence classifier of one output; None where there is none,
    or it reads something else than the last token's hidden state by one linear layer.
    """
    base = Path(followed(base))
    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        return None
    with torch.device("meta"):
        head = getattr(AutoModelForSequenceClassification.from_config(config), "score", None)
    if not isinstance(head, torch.nn.Linear) or head.bias is not None:
        return None
    trained = params.trainable != "head"
    model = load("classifier", base, compute, trained=trained, num_labels=1)
    return model if _reads_the_last_token(model) else None


@torch.no_grad()
def _reads_the_last_token(model: Model) -> bool:
    """Whether a classifier, of padded texts, gives what `scalar_head` does."""
    module = model.module
    batch = pad(encode(PROBES, model), range(len(PROBES)), model)
    head = head_of(module)
    assert head is not None
    expected = scalar_head(pooled_hidden_state(module, batch, "last"), head)
    found = module(**batch, use_cache=False).logits[:, 0].float()
    return alike(found, expected, module.dtype)
