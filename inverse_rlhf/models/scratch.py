"""Training from scratch with transformers' Trainer: the base policy and the true reward."""

import math
import time
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    Trainer,
    TrainingArguments,
)

from inverse_rlhf.errors import UserError
from inverse_rlhf.models import processes
from inverse_rlhf.models.checkpoints import Model, device_of
from inverse_rlhf.models.resumable import Checkpoints, Resumable, or_none
from inverse_rlhf.models.resumable import train as train_to_the_end
from inverse_rlhf.params import Compute, Scratch, ScratchTokens
from inverse_rlhf.progress import show_training

_END = "<|endoftext|>"
_PAD = "<|padding|>"
LABELS = {0: "non-toxic", 1: "toxic"}


def train_policy(
    comments: pd.DataFrame,
    params: Scratch,
    compute: Compute,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
) -> tuple[Model, dict[str, float]]:
    """A byte-level BPE and a GPT-NeoX trained to continue comments up to the end-of-text token.

    Args:
        comments: columns text and split; trained on `train`, measured on the rest.
        checkpoints: where there is one, training goes on from it; None: none are taken.

    Returns:
        The policy and the training facts (valid_loss in nats per token).

    Raises:
        UserError: the loss is not finite.
    """
    train, valid = _by_split(comments)
    tokenizer = policy_tokenizer(comments, params)
    end = tokenizer.convert_tokens_to_ids(_END)
    config = GPTNeoXConfig(
        **sizes(params),
        max_position_embeddings=params.max_tokens,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=tokenizer.pad_token_id,
        rope_parameters={
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "partial_rotary_factor": 0.25,
        },
    )
    model = GPTNeoXForCausalLM(config)
    facts = _train(
        model,
        _tokenized(train, tokenizer, params.max_tokens - 1, suffix=[end]),
        _tokenized(valid, tokenizer, params.max_tokens - 1, suffix=[end]),
        DataCollatorForLanguageModeling(tokenizer, mlm=False),
        params,
        compute,
        seed=seed,
        checkpoints=checkpoints,
        key="base_policy.scratch",
    )
    return Model(model.eval(), tokenizer, compute), facts


def policy_tokenizer(comments: pd.DataFrame, params: ScratchTokens) -> PreTrainedTokenizerFast:
    """The byte-level BPE that `train_policy` trains on the `train` comments."""
    train, _ = _by_split(comments)
    return _train_bpe(train["text"], params, specials=[_END, _PAD])


def train_classifier(
    comments: pd.DataFrame,
    params: Scratch,
    compute: Compute,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
) -> tuple[Model, dict[str, float]]:
    """A byte-level BPE and a RoBERTa trained to tell toxic comments (label 1) from the others.

    Args:
        comments: columns text, toxic and split; trained on `train`, measured on the rest.
        checkpoints: where there is one, training goes on from it; None: none are taken.

    Returns:
        The classifier and the training facts (valid_loss in nats).

    Raises:
        UserError: the loss is not finite.
    """
    train, valid = _by_split(comments)
    tokenizer = _train_bpe(train["text"], params, specials=["<s>", _PAD, "</s>"])
    config = RobertaConfig(
        **sizes(params),
        max_position_embeddings=params.max_tokens + tokenizer.pad_token_id + 1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.convert_tokens_to_ids("<s>"),
        eos_token_id=tokenizer.convert_tokens_to_ids("</s>"),
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        id2label=LABELS,
        label2id={label: index for index, label in LABELS.items()},
    )
    model = RobertaForSequenceClassification(config)
    _start_with_sinusoids(model.roberta.embeddings.position_embeddings.weight)
    facts = _train(
        model,
        _tokenized(train, tokenizer, params.max_tokens, labels="toxic"),
        _tokenized(valid, tokenizer, params.max_tokens, labels="toxic"),
        DataCollatorWithPadding(tokenizer),
        params,
        compute,
        seed=seed,
        checkpoints=checkpoints,
        key="true_reward.scratch",
    )
    return Model(model.eval(), tokenizer, compute), facts


@torch.no_grad()
def _start_with_sinusoids(positions: torch.Tensor) -> None:
    """Start learned position embeddings, (positions, hidden), from sinusoids (Vaswani et al. 2017).

    From random ones a small model needs several times the data to learn what stands beside what.
    """
    count, hidden = positions.shape
    rate = 200.0 ** (-torch.arange(hidden // 2) / (hidden // 2))
    angle = torch.arange(count).unsqueeze(1) * rate
    positions.copy_(0.1 * torch.cat([angle.sin(), angle.cos()], dim=1))


def word_list_accuracy(comments: pd.DataFrame) -> float:
    """Held-out accuracy of a tf-idf logistic regression: how far a word list would get.

    Args:
        comments: columns text, toxic and split; fitted on `train`, measured on `test`.
    """
    train, test = (comments[comments["split"] == split] for split in ("train", "test"))
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10)
    )
    return float(pipeline.fit(train["text"], train["toxic"]).score(test["text"], test["toxic"]))


def _by_split(comments: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    train = comments["split"] == "train"
    return comments[train], comments[~train]


def sizes(params: Scratch) -> dict[str, int]:
    """The sizes of a model by the names that configurations have for them."""
    return {
        "vocab_size": params.vocab_size,
        "hidden_size": params.hidden_size,
        "num_hidden_layers": params.layers,
        "num_attention_heads": params.heads,
        "intermediate_size": 4 * params.hidden_size,
    }


def _train_bpe(
    texts: "pd.Series[str]", params: ScratchTokens, *, specials: list[str]
) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocab_size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    names: dict[str, Any] = {"pad_token": _PAD, "eos_token": _END, "bos_token": _END}
    if "<s>" in specials:
        start, end = specials.index("<s>"), specials.index("</s>")
        bpe.post_processor = processors.RobertaProcessing(
            ("</s>", end), ("<s>", start), add_prefix_space=False
        )
        names |= {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        model_max_length=params.max_tokens,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **names,
    )


def _tokenized(
    comments: pd.DataFrame,
    tokenizer: PreTrainedTokenizerBase,
    limit: int,
    *,
    suffix: list[int] | None = None,
    labels: str | None = None,
) -> Dataset:
    ids = tokenizer(  # what looks like a special token in a comment is text
        list(comments["text"]), truncation=True, max_length=limit, split_special_tokens=True
    )["input_ids"]
    columns: dict[str, Any] = {"input_ids": [row + (suffix or []) for row in ids]}
    columns["length"] = [len(row) for row in columns["input_ids"]]
    if labels:
        columns["labels"] = comments[labels].astype(int).tolist()
    return Dataset.from_dict(columns)


class _Trainer(Resumable, Trainer):
    """transformers' own."""


def _train(
    model: PreTrainedModel,
    train: Dataset,
    valid: Dataset,
    collator: Any,
    params: Scratch,
    compute: Compute,
    *,
    seed: int,
    checkpoints: Checkpoints | None,
    key: str,
) -> dict[str, float]:
    """Train in place; the group of params, `key`, is named where the loss is not finite."""
    started, device = time.monotonic(), device_of(compute)
    steps = params.epochs * math.ceil(len(train) / params.batch_size)
    with or_none(checkpoints) as states:
        arguments = TrainingArguments(
            num_train_epochs=params.epochs,
            per_device_train_batch_size=params.batch_size,
            per_device_eval_batch_size=compute.batch_size,
            learning_rate=params.lr,
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            weight_decay=0.01,
            train_sampling_strategy="group_by_length",
            seed=seed,
            bf16=compute.bf16,
            activation_checkpointing=compute.gradient_checkpointing,
            use_cpu=device.type == "cpu",
            dataloader_pin_memory=device.type == "cuda",
            **states.settings(steps),
            logging_steps=50,
            report_to=[],
        )
        processes.keep_to_one_device(arguments, device)
        trainer = _Trainer(
            model=model,
            args=arguments,
            train_dataset=train,
            eval_dataset=valid,
            data_collator=collator,
        )
        show_training(trainer)
        before = train_to_the_end(trainer)
        valid_loss = trainer.evaluate()["eval_loss"]
    if not math.isfinite(valid_loss):
        raise UserError(
            f"{key}: training from scratch diverged (the held-out loss is {valid_loss} after "
            f"{trainer.state.global_step} updates): lower {key}.lr, which is {params.lr:g}"
        )
    seconds = before + time.monotonic() - started
    tokens = params.epochs * sum(train["length"])
    return {
        "seconds": seconds,
        "steps": trainer.state.global_step,
        "tokens_per_second": tokens / seconds,
        "parameters": model.num_parameters(),
        "valid_loss": valid_loss,
    }
