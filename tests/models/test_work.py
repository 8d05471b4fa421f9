"""Work is what torch counts of a model's products, and the time of it is this device's."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedModel

from inverse_rlhf.models import work
from inverse_rlhf.models.blocks import train_top_blocks
from inverse_rlhf.models.lora import beside, lora_config
from inverse_rlhf.models.plan import changed
from inverse_rlhf.models.shapes import Adapters, Part, shape_of_config
from inverse_rlhf.models.speed import Speed, in_words, speed_of
from inverse_rlhf.models.work import Work
from inverse_rlhf.params import Params

CONFIG = GPTNeoXConfig(
    vocab_size=300,
    hidden_size=64,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=256,
    attn_implementation="eager",
)
SHAPE = shape_of_config(CONFIG, "policy")
TEXTS, TOKENS = 3, 10


@pytest.fixture
def module() -> PreTrainedModel:
    return GPTNeoXForCausalLM(CONFIG)


def counted(module: Any, *, gradients: bool) -> float:
    """Operations of reading texts, by torch."""
    ids = torch.arange(TEXTS * TOKENS).reshape(TEXTS, TOKENS)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(gradients):
        logits = module(input_ids=ids).logits
        if gradients:
            logits.sum().backward()
    return counter.get_total_flops()


def test_reading(module: PreTrainedModel) -> None:
    found = work.reading(SHAPE, TEXTS, TOKENS, logits=TOKENS)
    assert found.operations == pytest.approx(counted(module, gradients=False), rel=0.03)


@pytest.mark.parametrize("part", ["all", 1, Adapters(1)])
def test_training(part: Part, module: PreTrainedModel, params: Params) -> None:
    trained: Any = module
    if isinstance(part, int):
        train_top_blocks(module, part)
    elif isinstance(part, Adapters):
        trained = beside(module, lora_config(module, part.rank))
    found = work.training(SHAPE, part, TEXTS, TOKENS, params.compute, logits=TOKENS)
    assert found.operations == pytest.approx(counted(trained, gradients=True), rel=0.08)
    again = changed(params, {"compute.gradient_checkpointing": True}).compute
    more = work.training(SHAPE, part, TEXTS, TOKENS, again, logits=TOKENS)
    blocks = work.reading(SHAPE, TEXTS, TOKENS).operations * SHAPE.kept(part) / SHAPE.blocks
    assert more.operations - found.operations == pytest.approx(blocks)


def test_completions_fetch_all_weights_for_each_token(params: Params) -> None:
    asked = changed(params, {"compute.batch_size": 8, "compute.dtype": "bfloat16"})
    few, more = (
        work.completions(SHAPE, asked.pairs, asked.compute, texts, prompt=5) for texts in (8, 9)
    )
    weights = 4 * SHAPE.block + 64 * 300
    assert few.fetched == params.pairs.max_new_tokens * 2 * weights
    assert more.fetched == 2 * few.fetched
    assert more.operations == 9 / 8 * few.operations


def test_policy_training_and_fits(params: Params) -> None:
    def training(**update: Any) -> float:
        rlhf = params.rlhf.model_copy(update=update)
        return sum(
            part.operations
            for part in work.policy_training(SHAPE, SHAPE, rlhf, params.compute, 8, prompt=5)
        )

    usual = training()
    assert training(steps=2 * params.rlhf.steps) == pytest.approx(2 * usual)
    assert training(kl_coef=0.0) < usual
    # half of the rollouts, which are read once more
    assert 0.5 * usual < training(iterations=2) < usual
    assert training(lora_rank=2) < usual
    assert training(trainable_layers=1) < usual

    def fits(**update: Any) -> float:
        irl = params.irl.model_copy(update=update)
        size = {"texts": 100, "pairs": 40, "valid": 10, "sharing": 1}
        return sum(part.operations for part in work.fits(SHAPE, irl, params.compute, 20, **size))

    kinds = [fits(trainable=kind) for kind in ("head", "last_k", "lora", "all")]
    assert kinds == sorted(kinds)
    assert fits(trainable="head", runs=1) == kinds[0]
    assert fits(trainable="all", epochs=2 * params.irl.epochs) > 1.8 * kinds[-1]


def test_time_is_of_products_or_of_memory() -> None:
    speed = Speed(operations=100, fetched=10)
    assert speed.seconds([Work(200), Work(100, 30)]) == 2 + 3


def test_the_speed_of_this_device() -> None:
    state = torch.get_rng_state()
    found = speed_of(torch.device("cpu"), torch.float32, 64)
    assert torch.equal(state, torch.get_rng_state())
    assert 1e8 < found.operations < 1e14
    assert 1e8 < found.fetched < 1e13


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (60, "1 minute"),
        (89, "1.5 minutes"),
        (754, "13 minutes"),
        (5399, "90 minutes"),
        (5400, "1.5 hours"),
        (70 * 3600, "2.9 days"),
        (1e8, "1200 days"),
    ],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
