"""How fast reward recovery is, as ratios measured in one run on one machine.

    OMP_NUM_THREADS=2 python -m benchmarks.irl

1. Fifty heads fitted together against one head, features excluded.
2. One IRL run with its evaluation, both rewards of Pythia-70M's shape (random weights), with `head`
   and with `all`, in float32 and with `compute.bf16`, against a loop that reads one text at a time,
   steps after each pair, and scores every text with both rewards after each epoch, on torch as it
   comes. A fifth of the pairs are the valid ones.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from inverse_rlhf.cli import manage_memory
from inverse_rlhf.corpus import generate_comments
from inverse_rlhf.irl.linear import fit_heads
from inverse_rlhf.matmul import onednn_products
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    PreTrainedTokenizerFast,
)

from inverse_rlhf.features import hidden_states
from inverse_rlhf.irl.losses import pair_loss
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.params import Compute, Irl, load_params
from inverse_rlhf.rewards import ClassifierReward


def timed(function: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def many_heads(irl: Irl, pairs: int, features: int) -> None:
    """Fifty runs against one; the median of five measurements, taken in turns."""
    generator = torch.Generator().manual_seed(0)
    delta = torch.randn(pairs, features, generator=generator) + 0.1
    runs = [Run(number, "fit", 0) for number in range(50)]
    seconds: dict[int, list[float]] = {1: [], 50: []}
    for _ in range(5):
        for count, values in seconds.items():
            values.append(timed(partial(fit_heads, delta, delta[:400], runs[:count], irl)))
    one, fifty = (float(np.median(values)) for values in seconds.values())
    print(f"50 head runs {fifty:.2f} s, one {one:.2f} s: ratio {fifty / one:.2f}")


def pythia_70m() -> tuple[Any, Any, Any]:
    """Two models of Pythia-70M's shape with random weights, and a tokenizer."""
    texts = generate_comments(4000, seed=1)["text"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=2000, special_tokens=["<pad>"], show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>")
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        pad_token_id=0,
        num_labels=1,
    )
    body, judge = (GPTNeoXForSequenceClassification(config).eval() for _ in range(2))
    return body, judge, tokenizer


def one_text_at_a_time(
    texts: list[str], pairs: np.ndarray, body: Any, judge: Any, tokenizer: Any, irl: Irl
) -> None:
    """The loop that this project replaces: no batches, no cache, both rewards after each epoch."""
    optimizer = torch.optim.Adam(body.parameters(), lr=1e-5)
    encoded = [tokenizer(text, return_tensors="pt", return_token_type_ids=False) for text in texts]
    for _ in range(irl.epochs):
        for aligned, base in pairs:
            delta = body(**encoded[aligned]).logits[0] - body(**encoded[base]).logits[0]
            optimizer.zero_grad()
            pair_loss(delta, irl).mean().backward()
            optimizer.step()
        with torch.no_grad():
            for row in encoded:
                body(**row)
                judge(**row)


def ours(
    texts: list[str],
    pairs: np.ndarray,
    body: Any,
    judge: Any,
    tokenizer: Any,
    irl: Irl,
    compute: Compute,
) -> None:
    """One run through this library, its rewards of all texts, and the true reward once."""
    run, valid = Run(0, "fit", 0), pairs[: len(pairs) // 5]
    if irl.trainable == "head":
        phi = hidden_states(texts, body, tokenizer, compute, pooling=irl.pooling)
        delta = torch.from_numpy(phi[pairs[:, 0]] - phi[pairs[:, 1]])
        heads = fit_heads(delta, delta[: len(valid)], [run], irl)
        heads.weight.numpy() @ phi.T
    else:
        network = RewardNetwork(body, tokenizer, texts, irl, compute)
        network.fit(Pairs(pairs, valid), run)
        network.score()
    ClassifierReward(judge, tokenizer, compute, toxic_label=0).score(texts)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    manage_memory()
    params = load_params()
    compute = params.compute.model_copy(update={"device": "cpu"})
    many_heads(params.irl, pairs=4000, features=128)
    texts = generate_comments(2 * options.pairs, seed=2)["text"].tolist()
    pairs = np.arange(2 * options.pairs).reshape(-1, 2)
    irl = params.irl.model_copy(
        update={"epochs": options.epochs, "batch_size": 32, "lr": 1e-5, "loss": "max_margin"}
    )
    models_and_tokenizer = pythia_70m()
    slow = timed(partial(one_text_at_a_time, texts, pairs, *models_and_tokenizer, irl))
    print(f"one text at a time: {slow:.1f} s for {options.pairs} pairs, {options.epochs} epochs")
    with onednn_products():
        for trainable, bf16 in product(("head", "all"), (False, True)):
            settings = irl.model_copy(update={"trainable": trainable})
            machine = compute.model_copy(update={"bf16": bf16})
            fast = timed(partial(ours, texts, pairs, *models_and_tokenizer, settings, machine))
            name = f"{trainable}, bf16" if bf16 else trainable
            print(f"{name}: {fast:.1f} s, {slow / fast:.1f} times as fast")


if __name__ == "__main__":
    main()
