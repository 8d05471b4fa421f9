"""Floating-point operations that models take in training and reading, from their shapes and the
settings.

Products are counted, after Kaplan et al. 2020, section 2.1: two operations a weight and token that
is read, two more for each gradient, and what attention adds. Of a mixture all experts count.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

from inverse_rlhf.models import memory
from inverse_rlhf.models.shapes import Adapters, Part, Shape
from inverse_rlhf.params import Compute, Irl, Pairs, Rlhf, Scratch


@dataclass(frozen=True)
class Work:
    """What a device has to do.

    Attributes:
        operations: of products, in floating point.
        fetched: bytes of weights that come from memory where tokens are drawn one after another,
            which may take longer than the products.
    """

    operations: float
    fetched: float = 0.0


def reading(shape: Shape, texts: float, tokens: float, *, logits: float = 0) -> Work:
    """Texts that are read without gradients.

    Args:
        tokens: of a text, in the mean.
        logits: how many of them the output layer is asked about.
    """
    return Work(texts * (_of_blocks(shape, tokens) + _of_logits(shape, logits)))


def drawing(
    shape: Shape, texts: float, compute: Compute, *, prompt: float, new: float, at_once: float
) -> Work:
    """Completions that are drawn.

    Args:
        prompt: tokens of a prompt, in the mean.
        new: tokens of a completion.
        at_once: texts of a batch.
    """
    weights = shape.blocks * shape.block + shape.vocabulary * shape.hidden
    steps = math.ceil(texts / at_once) * new
    operations = reading(shape, texts, prompt + new, logits=new).operations
    return Work(operations, steps * memory.size_of(compute) * weights)


def training(
    shape: Shape, part: Part, texts: float, tokens: float, compute: Compute, *, logits: float = 0
) -> Work:
    """Texts that are read with gradients; arguments as those of `reading`.

    Args:
        part: what is trained.
    """
    # Weights beside adapters are passed through, and have no gradients of their own.
    own = not isinstance(part, Adapters)
    again = 1 + own + compute.gradient_checkpointing
    blocks = _of_blocks(shape, tokens) * (1 + again * shape.kept(part) / shape.blocks)
    return Work(texts * (blocks + _of_logits(shape, logits) * (2 + own)))


def scratch_training(
    shape: Shape, params: Scratch, compute: Compute, *, texts: int, tokens: float, logits: bool
) -> list[Work]:
    """Training all of a model.

    Args:
        logits: whether it gives those of each token.
    """
    read = texts * params.epochs
    return [training(shape, "all", read, tokens, compute, logits=tokens if logits else 0)]


def policy_training(
    shape: Shape, judge: Shape | None, rlhf: Rlhf, compute: Compute, rollouts: int, *, prompt: float
) -> list[Work]:
    """Training a policy.

    Args:
        judge: the reward's, where a transformer gives it.
        rollouts: of a batch.
        prompt: tokens of a prompt, in the mean.
    """
    new = rlhf.max_new_tokens
    tokens, drawn = prompt + new, rollouts * math.ceil(rlhf.steps / rlhf.iterations)
    read = reading(shape, drawn, tokens, logits=new)
    part = memory.policy_part(rlhf)
    return [
        drawing(shape, drawn, compute, prompt=prompt, new=new, at_once=rollouts),
        # the reference, and what drew the rollouts where it is another policy by then
        *[read] * (bool(rlhf.kl_coef) + (rlhf.iterations > 1)),
        *([] if judge is None else [reading(judge, drawn, tokens)]),
        training(shape, part, rollouts * rlhf.steps, tokens, compute, logits=new),
    ]


def completions(
    shape: Shape, pairs: Pairs, compute: Compute, texts: float, *, prompt: float
) -> Work:
    """Completions of one policy."""
    size = min(compute.batch_size, texts)
    return drawing(shape, texts, compute, prompt=prompt, new=pairs.max_new_tokens, at_once=size)


def compared(shape: Shape, texts: float, *, prompt: float, new: float) -> list[Work]:
    """Likelihoods of completions under two policies."""
    return [reading(shape, texts, prompt + new, logits=new)] * 2


def fits(
    body: Shape,
    irl: Irl,
    compute: Compute,
    tokens: float,
    *,
    texts: int,
    pairs: int,
    valid: int,
    sharing: int,
) -> list[Work]:
    """Fitting rewards; where only heads are trained, no more than the texts that are read for them.

    Args:
        texts: that are scored.
        pairs: of an epoch; valid: those that it is judged by.
        sharing: processes.
    """
    if irl.trainable == "head":
        return [reading(body, texts / sharing, tokens)]
    part = memory.reward_part(irl)
    once = []
    if isinstance(part, int):  # what lies below is read once, and kept
        once = [reading(body, texts, tokens)]
        body = dataclasses.replace(body, blocks=body.kept(part))
    runs = (irl.runs + irl.control_runs) / sharing
    return [
        *once,
        training(body, part, runs * irl.epochs * 2 * pairs, tokens, compute),
        reading(body, runs * (irl.epochs * 2 * valid + texts), tokens),
    ]


def evaluation(
    policy: Shape,
    rewards: Sequence[Shape],
    pairs: Pairs,
    compute: Compute,
    *,
    prompts: float,
    prompt: float,
    left_out: float,
) -> list[Work]:
    """Comparing policies and rewards.

    Args:
        rewards: of those that read texts, the recovered one last.
        prompts: how many; prompt: tokens of one, in the mean.
        left_out: texts without a word that the recovered reward is asked about at the most.
    """
    new, texts = pairs.max_new_tokens, prompts * pairs.samples
    tokens = prompt + new
    words = min(2 * texts * new / 2, left_out)  # of both policies' completions
    return [
        completions(policy, pairs, compute, texts, prompt=prompt),
        *compared(policy, 2 * texts, prompt=prompt, new=new),
        *(reading(shape, 3 * texts + prompts, tokens) for shape in rewards),
        *(reading(shape, words, tokens) for shape in rewards[-1:]),
    ]


def _of_blocks(shape: Shape, tokens: float) -> float:
    """Of a text in the blocks; of attention's products half, as much as is causal."""
    return 2 * shape.blocks * tokens * (shape.block + tokens * shape.hidden)


def _of_logits(shape: Shape, tokens: float) -> float:
    return 2 * tokens * shape.vocabulary * shape.hidden
