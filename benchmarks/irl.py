"""How fast reward recovery is, as ratios measured in one run on one machine.

    OMP_NUM_THREADS=2 python -m benchmarks.irl

1. Fifty heads fitted together against one head, features excluded.
2. One IRL run with its evaluation, with `head` and with `all`, in float32 and with `compute.bf16`,
   against a loop of the published kind: it reads one text at a time, steps after each pair, and
   scores every text with both rewards after each epoch. The recovered reward has Pythia-70M's
   shape, the true one RoBERTa-base's, both with random weights; matrix products are computed alike
   on both sides. A fifth of the pairs are the valid ones. The ratio falls with the length of the
   texts and hangs on the number of epochs, which are printed beside it.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from inverse_rlhf.data.corpus import generate_comments
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.irl.heads import fit_heads
from inverse_rlhf.irl.losses import pair_loss
from inverse_rlhf.irl.network import Pairs, RewardNetwork
from inverse_rlhf.irl.runs import Run
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.matmul import onednn_products
from inverse_rlhf.params import Compute, Head, Irl, load_params
from inverse_rlhf.rewards.classifier import ClassifierReward


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


def rewards(compute: Compute) -> tuple[Model, Model]:
    """Random weights of Pythia-70M's shape with one output, and of RoBERTa-base's with two."""
    texts = generate_comments(4000, seed=1)["text"]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=2000, special_tokens=["<pad>"], show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<pad>")
    torch.manual_seed(0)
    body = GPTNeoXForSequenceClassification(
        GPTNeoXConfig(
            vocab_size=50304,
            hidden_size=512,
            num_hidden_layers=6,
            num_attention_heads=8,
            intermediate_size=2048,
            pad_token_id=0,
            num_labels=1,
        )
    )
    judge = RobertaForSequenceClassification(
        RobertaConfig(vocab_size=50265, max_position_embeddings=514, pad_token_id=0)
    )
    return Model(body.eval(), tokenizer, compute), Model(judge.eval(), tokenizer, compute)


def one_text_at_a_time(
    texts: list[str], pairs: np.ndarray, body: Model, judge: Model, irl: Irl
) -> None:
    """A loop of the published kind: no batches, no cache, both rewards after each epoch."""
    reward, true = body.module, judge.module
    optimizer = torch.optim.Adam(reward.parameters(), lr=1e-5)
    settings = {"return_tensors": "pt", "return_token_type_ids": False}
    encoded = [body.tokenizer(text, **settings) for text in texts]
    for _ in range(irl.epochs):
        for aligned, base in pairs:
            delta = reward(**encoded[aligned]).logits[0] - reward(**encoded[base]).logits[0]
            optimizer.zero_grad()
            pair_loss(delta, irl).mean().backward()
            optimizer.step()
        with torch.no_grad():
            for row in encoded:
                reward(**row)
                true(**row)


def ours(texts: list[str], pairs: np.ndarray, body: Model, judge: Model, irl: Irl) -> None:
    """One run through this library, its rewards of all texts, and the true reward once."""
    run, valid = Run(0, "fit", 0), pairs[: len(pairs) // 5]
    if irl.trainable == "head":
        phi = hidden_states(texts, body, pooling=irl.pooling)
        delta = torch.from_numpy(phi[pairs[:, 0]] - phi[pairs[:, 1]])
        heads = fit_heads(delta, delta[: len(valid)], [run], irl)
        heads.weight.numpy() @ phi.T
    else:
        network = RewardNetwork(body, texts, irl)
        network.fit(Pairs(pairs, valid), run)
        network.score()
    ClassifierReward(judge, Head(toxic_label=0, higher_is="toxic", neutral=0.0)).score(texts)


def texts_of_length(count: int, words: int) -> list[str]:
    """Generated comments, put one behind another where they are shorter than `words` words."""
    comments = iter(generate_comments(40 * count, seed=2)["text"])
    texts = []
    for _ in range(count):
        text = next(comments)
        while len(text.split()) < words:
            text = f"{text} {next(comments)}"
        texts.append(text)
    return texts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--words", type=int, default=1, help="texts have at least as many")
    options = parser.parse_args()
    params = load_params()
    compute = params.compute.model_copy(update={"device": "cpu"})
    with onednn_products():
        many_heads(params.irl, pairs=4000, features=128)
        texts = texts_of_length(2 * options.pairs, options.words)
        pairs = np.arange(2 * options.pairs).reshape(-1, 2)
        irl = params.irl.model_copy(
            update={"epochs": options.epochs, "batch_size": 32, "lr": 1e-5, "loss": "max_margin"}
        )
        body, judge = rewards(compute)
        tokens = np.mean([len(ids) for ids in body.tokenizer(texts)["input_ids"]])
        slow = timed(partial(one_text_at_a_time, texts, pairs, body, judge, irl))
        told = f"{options.pairs} pairs of texts of {tokens:.0f} tokens, {options.epochs} epochs"
        print(f"one text at a time: {slow:.1f} s for {told}")
        for trainable, bf16 in product(("head", "all"), (False, True)):
            settings = irl.model_copy(update={"trainable": trainable})
            machine = compute.model_copy(update={"bf16": bf16})
            ours_body, ours_judge = (replace(model, compute=machine) for model in (body, judge))
            fast = timed(partial(ours, texts, pairs, ours_body, ours_judge, settings))
            name = f"{trainable}, bf16" if bf16 else trainable
            print(f"{name}: {fast:.1f} s, {slow / fast:.1f} times as fast ({told})")


if __name__ == "__main__":
    main()
