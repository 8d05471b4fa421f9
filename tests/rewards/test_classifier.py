"""The classifier's reward: log-odds, in the order of the texts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Head, Params
from inverse_rlhf.rewards.classifier import ClassifierReward


@pytest.mark.parametrize(("labels", "toxic"), [(1, 1), (2, 1), (2, 0), (3, 2)])
def test_log_odds_by_hand(classifier_folder: Path, params: Params, labels: int, toxic: int) -> None:
    tokenizer = load("classifier", classifier_folder, params.compute).tokenizer
    torch.manual_seed(2)
    config = RobertaConfig(
        vocab_size=512,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=labels,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    module = RobertaForSequenceClassification(config).eval()
    model = Model(module, tokenizer, params.compute)
    reward = ClassifierReward(model, Head(toxic_label=toxic, higher_is="toxic", neutral=0.0))
    logits = module(**tokenizer("a text", return_tensors="pt")).logits[0]
    p = logits.sigmoid()[0] if labels == 1 else logits.softmax(0)[toxic]
    expected = torch.log(1 - p) - torch.log(p)
    np.testing.assert_allclose(reward.score(["a text"]), [expected.item()], rtol=1e-4)
    with pytest.raises(UserError, match="toxic_label"):
        ClassifierReward(model, Head(toxic_label=7, higher_is="toxic", neutral=0.0))


def test_scores_keep_the_order(classifier_folder: Path, params: Params) -> None:
    model = load("classifier", classifier_folder, params.compute)
    reward = ClassifierReward(model, params.true_reward)
    texts = [f"{'word ' * (n % 7)}text {n}" for n in range(20)]
    alone = np.concatenate([reward.score([text]) for text in texts])
    np.testing.assert_allclose(reward.score(texts), alone, atol=1e-5)
    assert reward.score(texts).dtype == np.float32
