"""A classifier gives each text of a batch what plain transformers gives it alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    ConvBertConfig,
    FNetConfig,
    GPT2Config,
    NystromformerConfig,
    PreTrainedConfig,
    RobertaConfig,
    XLNetConfig,
)

from inverse_rlhf.models.checkpoints import load
from inverse_rlhf.models.reading import by_length
from inverse_rlhf.params import Params
from inverse_rlhf.rewards.classifier import ClassifierReward
from tests.architectures import shared_tokenizer

END, PAD = 0, 1
TEXTS = ["a map", "see", "the list of a fool and of a friend, or none", "About", "see the map"] * 2
WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SHARED: dict[str, Any] = {"vocab_size": 320, "num_labels": 2, "initializer_range": 0.3}


def written(config: PreTrainedConfig, tokenizer: Any, folder: Path) -> Path:
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def plain(folder: Path) -> np.ndarray:
    """The log-odds of the first class, by transformers, of one text at a time."""
    module = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    logits = [module(**tokenizer(text, return_tensors="pt")).logits[0] for text in TEXTS]
    return np.array([(row[0] - row[1]).item() for row in logits])


@pytest.mark.parametrize("own", [None, END, PAD, -1])
@pytest.mark.parametrize("pads", ["<|endoftext|>", "<|padding|>", None])
@pytest.mark.parametrize("closes", [True, False])
def test_the_last_token_is_the_one_that_its_configuration_says(
    own: int | None, pads: str | None, closes: bool, params: Params, tmp_path: Path
) -> None:
    tokenizer = shared_tokenizer()
    tokenizer.pad_token = pads
    if closes:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            "$A <|endoftext|>", special_tokens=[("<|endoftext|>", END)]
        )
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 96}
    config = GPT2Config(**SHARED, **sizes, pad_token_id=own, eos_token_id=END)
    folder = written(config, tokenizer, tmp_path)
    expected = plain(folder)
    model = load("classifier", folder, params.compute)
    reward = ClassifierReward(model, params.true_reward)
    np.testing.assert_allclose(reward.score(TEXTS), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1
    assert model.module.config.pad_token_id == own
    model.save(tmp_path / "kept")
    assert plain(tmp_path / "kept").tolist() == expected.tolist()


@pytest.mark.parametrize(
    "config",
    [
        ConvBertConfig(**SHARED, **WIDE, intermediate_size=48, embedding_size=32, pad_token_id=PAD),
        FNetConfig(**SHARED, hidden_size=32, num_hidden_layers=2, intermediate_size=48),
        NystromformerConfig(**SHARED, **WIDE, intermediate_size=48, pad_token_id=PAD),
        XLNetConfig(**SHARED, d_model=32, n_layer=2, n_head=4, d_inner=48, pad_token_id=PAD),
    ],
    ids=lambda config: config.model_type,
)
def test_what_reads_padding_is_given_none(
    config: PreTrainedConfig, params: Params, tmp_path: Path
) -> None:
    folder = written(config, shared_tokenizer(), tmp_path)
    reward = ClassifierReward(load("classifier", folder, params.compute), params.true_reward)
    np.testing.assert_allclose(reward.score(TEXTS), plain(folder), atol=1e-5)


def test_what_ignores_padding_is_read_in_large_batches(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RobertaConfig(**SHARED, **WIDE, intermediate_size=48, pad_token_id=PAD)
    folder = written(config, shared_tokenizer(), tmp_path)
    model = load("classifier", folder, params.compute)
    reward = ClassifierReward(model, params.true_reward)
    calls = []
    forward = model.module.forward
    monkeypatch.setattr(model.module, "forward", lambda **on: calls.append(1) or forward(**on))
    np.testing.assert_allclose(reward.score(TEXTS), plain(folder), atol=1e-5)
    assert len(calls) == -(-len(TEXTS) // params.compute.batch_size) < len(set(map(len, TEXTS)))


def test_batches_of_one_length() -> None:
    lengths = np.array([3, 1, 3, 2, 1, 3])
    batches = list(by_length([[0] * length for length in lengths], 2, padded=False))
    assert sorted(np.concatenate(batches)) == list(range(6))
    assert [lengths[rows].tolist() for rows in batches] == [[1, 1], [2], [3, 3], [3]]
