"""The toxicity part of the true reward: a classifier's log-odds."""

import inspect
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import expit
from transformers import BatchEncoding, PreTrainedConfig

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.probes import PROBES, rounding
from inverse_rlhf.models.reading import around, encode, map_texts, pad
from inverse_rlhf.params import Head

# Labels of Jigsaw's two challenges, any number of which a comment has, and names for none of them.
_JIGSAW = {
    *("toxic", "toxicity", "severe_toxic", "severe_toxicity", "obscene", "threat", "insult"),
    *("identity_hate", "identity_attack", "sexual_explicit"),
}
_CLEAN = re.compile("(non|not|no|none|clean|neutral|normal|safe|civil|ok|okay)(_|$)|nontoxic")
# Texts of unlike lengths, to see whether a classifier reads padding.
READ_TOGETHER = (*PROBES, "and one, then another; " * 6)
# Finer than `alike`: outputs may be large, and tell texts apart by little.
_NOTICED = 1e-3  # of what tells the texts apart
_ROUNDING = 1e-6


@runtime_checkable
class Reward(Protocol):
    """What every reward can do."""

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards of prompt-and-completion texts: float32 array of shape (texts,)."""
        ...


class ClassifierReward:
    """R*(x, y) = log p(non-toxic) - log p(toxic) of a classifier: 0 is p = 1/2 (design, section 3).

    The head is read by the `problem_type` of its configuration and by its number of outputs:

    - one output is a logit of p(toxic), or a score where problem_type is regression;
    - multi_label_classification: each output is a logit of its own, and the toxic one is read;
    - regression with several outputs: the toxic one is a score;
    - single_label_classification: classes that exclude each other (softmax), as transformers takes
      several outputs without a problem_type to be. With two or more of Jigsaw's labels among them
      (toxic, severe_toxic, insult, ...) and none for clean text they are logits of their own.

    Of a score R* is the distance from `neutral` in the score's unit, and what `toxicity_of` makes
    of it no probability: toxicity rates count the texts beyond `neutral`, means of it say little.

    Args:
        params: toxic_label, the index of the toxic class, of which a classifier with one output has
            no other; higher_is, what a higher value of that output means; neutral, the output (of
            classes the log-odds) where a text is as toxic as not.

    Attributes:
        head: how it is read, in words.

    Raises:
        UserError: the classifier has no such class, or it cannot read a text.
    """

    def __init__(self, model: Model, params: Head) -> None:
        config = model.module.config
        if params.toxic_label >= max(config.num_labels, 2):
            raise UserError(
                f"true_reward.toxic_label is {params.toxic_label}, but the classifier's labels are "
                f"{config.id2label}"
            )
        self.model, self.neutral = model, params.neutral
        self.toxic_label = params.toxic_label if config.num_labels > 1 else 0
        self._sign = -1 if params.higher_is == "toxic" else 1
        self._softmax = _exclude_each_other(config)
        kind = "a score" if config.problem_type == "regression" else "a logit"
        name = f"{config.id2label[self.toxic_label]!r}, output {self.toxic_label}"
        how = "by softmax" if self._softmax else kind
        self.head = f"{name} of {config.num_labels}, {how}, higher is {params.higher_is}"
        try:
            self._padded = _ignores_padding(model)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # whatever an architecture raises without what it needs
            raise UserError(
                f"true_reward.source: {model.module.name_or_path}: this {config.model_type} cannot "
                f"read a text as its config.json describes it: {first_line(error)}"
            ) from None

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """Rewards, float32 of shape (texts,): of each text what it has alone."""
        encoded = _encoded(texts, self.model)
        return map_texts(self._rewards, encoded, self.model, padded=self._padded)

    def _rewards(self, batch: BatchEncoding) -> torch.Tensor:
        logits = _logits(self.model, batch)
        output = logits[:, self.toxic_label]
        if self._softmax:
            others = torch.arange(logits.shape[1], device=logits.device) != self.toxic_label
            output = output - logits[:, others].logsumexp(1)
        return self._sign * (output - self.neutral)


def _encoded(texts: Sequence[str], model: Model) -> BatchEncoding:
    """Token ids and attention masks, see `encode`, and the segments of tokens where the tokenizer
    gives them and the classifier reads them: XLNet's last token has one of its own.
    """
    encoded = encode(texts, model)
    segments = model.tokenizer("a", verbose=False).get("token_type_ids")
    if segments and "token_type_ids" in inspect.signature(model.module.forward).parameters:
        opening, closing = map(len, around(texts, model.tokenizer))
        end = len(segments) - closing
        encoded["token_type_ids"] = [
            segments[:opening]
            + segments[end - 1 : end] * (len(row) - opening - closing)
            + segments[end:]
            for row in encoded["input_ids"]
        ]
    return encoded


def _logits(model: Model, batch: BatchEncoding) -> torch.Tensor:
    """The outputs for right-padded texts, float32 of shape (texts, outputs).

    Causal classifiers read the last token that is not the configured padding token, by its number,
    and, where none is configured, the last token, of one text at a time.
    """
    ids, mask = batch["input_ids"], batch["attention_mask"]
    own = model.module.config.get_text_config().pad_token_id
    rows = range(model.module.get_input_embeddings().weight.shape[0])
    token = own
    if own not in rows:
        ends = set(ids.gather(1, (mask.sum(1, keepdim=True) - 1).clamp(min=0)).flatten().tolist())
        candidates = itertools.chain([model.tokenizer.pad_token_id], rows)
        token = next(token for token in candidates if token not in ends)
    inputs = {**batch, "input_ids": ids.masked_fill(mask == 0, token)}
    with _padding_token(model, token):
        logits: torch.Tensor = model.module(**inputs).logits
    return logits.float()


@contextmanager
def _padding_token(model: Model, token: int) -> Iterator[None]:
    """Have the configuration name a padding token for a while."""
    config = model.module.config
    parts = (config, config.get_text_config())
    before = [part.pad_token_id for part in parts]
    for part in parts:
        part.pad_token_id = token
    try:
        yield
    finally:
        for part, own in zip(parts, before, strict=True):
            part.pad_token_id = own


@torch.no_grad()
def _ignores_padding(model: Model) -> bool:
    """Whether texts of unlike lengths in one batch have the outputs that each has alone."""
    model.module.eval()
    encoded = _encoded(READ_TOGETHER, model)
    rows = [row for row, ids in enumerate(encoded["input_ids"]) if ids]
    if len({len(encoded["input_ids"][row]) for row in rows}) < 2:
        return False  # it cannot be seen
    together = _logits(model, pad(encoded, rows, model))
    alone = torch.cat([_logits(model, pad(encoded, [row], model)) for row in rows])
    spread = (alone.amax(0) - alone.amin(0)).max()
    dtype = model.module.dtype
    if dtype == torch.float32:
        noticed, least = _NOTICED, _ROUNDING
    else:
        noticed, least = rounding(dtype), torch.finfo(dtype).eps
    allowed = noticed * spread + least * (1 + alone.abs().max())
    return bool((together - alone).abs().max() <= allowed)


def _exclude_each_other(config: PreTrainedConfig) -> bool:
    """Whether the outputs are logits of classes of which a text has one."""
    if config.num_labels == 1 or config.problem_type in (
        "multi_label_classification",
        "regression",
    ):
        return False
    if config.problem_type is not None:
        return True
    labels = {re.sub(r"[\W_]+", "_", str(label).lower()) for label in config.id2label.values()}
    return len(labels & _JIGSAW) < 2 or any(_CLEAN.match(label) for label in labels)


def toxicity_of(reward: np.ndarray) -> np.ndarray:
    """p(toxic) from a `ClassifierReward`'s rewards, float32 of the same shape."""
    return expit(-reward.astype(np.float64)).astype(np.float32)
