"""Bytes that each stage needs for given params, from shapes and lengths; what `plan` says and
refuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GPTNeoXConfig, RobertaConfig

from inverse_rlhf.models import memory, processes
from inverse_rlhf.models.checkpoints import Kind, device_of
from inverse_rlhf.models.memory import Need
from inverse_rlhf.models.places import base_of
from inverse_rlhf.models.shapes import Shape, shape_of_config
from inverse_rlhf.params import Compute, Irl, Scratch


@dataclass(frozen=True)
class Lengths:
    """Tokens of texts: the mean and the most."""

    mean: float
    most: int


def scratch_shape(scratch: Scratch, kind: Kind) -> Shape:
    """The shape of a policy or a classifier that is trained from scratch."""
    from inverse_rlhf.models.scratch import sizes  # late: it loads what no other stage needs

    config = {"policy": GPTNeoXConfig, "classifier": RobertaConfig}[kind]
    limit = scratch.max_tokens + 2  # RoBERTa's positions are counted from 2
    return shape_of_config(config(**sizes(scratch), max_position_embeddings=limit), kind)


def scratch_need(scratch: Scratch, compute: Compute, kind: Kind, tokens: int) -> Need:
    """Bytes of training a policy or a classifier from scratch.

    Args:
        tokens: of the longest text, before it is cut to what the model reads.
    """
    shape = scratch_shape(scratch, kind)
    outputs = scratch.vocab_size if kind == "policy" else 0
    tokens = min(tokens, scratch.max_tokens)
    return memory.scratch_training(shape, scratch, compute, tokens=tokens, outputs=outputs)


def policy_training_need(
    params: Any, policy: Shape, classifier: Shape | None, prompts: Lengths, device: str
) -> Need:
    """Bytes of training a policy on a classifier's reward, for params with compute and rlhf.

    Args:
        device: cpu or cuda.
    """
    rlhf, compute = params.rlhf, params.compute
    rollouts = rlhf.batch_size * rlhf.generations // processes.count()
    need = memory.policy_training(
        policy, rlhf, compute, rollouts, prompt=prompts.mean, longest=prompts.most, device=device
    )
    if processes.spread():
        need |= {part: need[part] / processes.count() for part in memory.SPREAD}
    if classifier is not None:
        size = memory.size_of(compute)
        texts = min(compute.batch_size, rollouts)
        width = memory.read_width(compute)
        read = memory.reading(classifier, texts, prompts.most + rlhf.max_new_tokens, width)
        need["reward"] = size * classifier.parameters + read
    if not rlhf.lora_rank or device != "cpu":
        return need
    merging = memory.policy_merging(policy, rlhf)
    if classifier is not None:
        merging["reward"] = memory.size_of(compute) * classifier.parameters
    return larger(need, merging)


def completions_need(params: Any, policy: Shape, prompts: Lengths, rows: int) -> Need:
    """Bytes of drawing completions from a policy, for params with compute and pairs."""
    pairs, size = params.pairs, memory.size_of(params.compute)
    texts = min(params.compute.batch_size, rows)
    tokens = prompts.most + pairs.max_new_tokens
    sampled = pairs.decoding == "sample"
    width = memory.read_width(params.compute)
    drawn = memory.generating(policy, texts, tokens, width, sampled=sampled)
    return {"policy": size * policy.parameters, "completions": drawn}


def fits_disk(irl: Irl, body: Shape) -> float:
    """Bytes on disk of the weights that the runs of networks train; heads are next to nothing."""
    return 0 if irl.trainable == "head" else 4 * body.trained(memory.reward_part(irl)) * irl.runs


def fits_need(params: Any, body: Shape, tokens: float, texts: int, device: str) -> Need:
    """Bytes of fitting rewards, for params with compute and irl.

    Args:
        tokens: of a text, in the mean.
        texts: that are read.
        device: cpu or cuda.
    """
    irl, compute = params.irl, params.compute
    on_cpu = device == "cpu"
    if irl.trainable == "head":
        size = memory.size_of(compute)
        width = memory.read_width(compute)
        read = memory.reading(body, min(compute.batch_size, texts), tokens, width)
        matrix = 4 * texts * body.hidden * 4 if on_cpu else 0  # features, and their differences
        return {"body": size * body.parameters, "reading": read, "features": matrix}
    part = memory.reward_part(irl)
    need = memory.reward_training(body, part, compute, texts=2 * irl.batch_size, tokens=tokens)
    if on_cpu:
        # at first, at its best, and that which is written
        need["copies of what is trained"] = 3 * 4 * body.trained(part)
        if irl.trainable == "last_k":
            need["frozen blocks' outputs"] = 4 * texts * tokens * body.hidden
    return need


def evaluation_need(
    params: Any,
    policy: Shape,
    rewards: Sequence[Shape],
    prompts: Lengths,
    human: Lengths,
    rows: int,
) -> Need:
    """Bytes of the evaluation, for params with compute and pairs.

    Args:
        rewards: the shapes of those that read texts.
        human: lengths of human comments.
        rows: how many prompts there are.
    """
    compute, pairs = params.compute, params.pairs
    size, texts = memory.size_of(compute), compute.batch_size
    compared = likelihoods_need(params, policy, prompts.most + pairs.max_new_tokens, rows)
    drawn = completions_need(params, policy, prompts, rows * pairs.samples)
    drawn["base policy"] = size * policy.parameters
    width = memory.read_width(compute)
    longest = max(human.most, prompts.most + pairs.max_new_tokens)
    read = {
        "rewards": sum(size * shape.parameters for shape in rewards),
        "texts": max(
            (memory.reading(shape, texts, longest, width) for shape in rewards), default=0
        ),
    }
    return larger(compared, drawn, read)


def likelihoods_need(params: Any, policy: Shape, tokens: float, texts: int) -> Need:
    """Bytes of comparing two policies on completions, for params with compute."""
    size, rows = memory.size_of(params.compute), min(params.compute.batch_size, texts)
    compared = memory.likelihoods(policy, rows, tokens, memory.read_width(params.compute))
    return {"policies": 2 * size * policy.parameters, "likelihoods": compared}


def adapter_need(params: Any, shape: Shape, folder: Path, *, beside: int) -> Need:
    """Bytes of loading a policy where it is an adapter, for params with compute; see
    `memory.adapter_reading`.
    """
    if base_of(folder, str(folder)) is None or device_of(params.compute).type != "cpu":
        return {}
    return memory.adapter_reading(shape, params.compute, beside=beside)


def larger(*needs: Need) -> Need:
    """The one that is the most in all."""
    return max(needs, key=lambda need: sum(need.values()))
