"""Bytes that models take in training and reading, from their shapes and the settings.

Weights are counted. What is held of a token is measured (docs/log.md): the sums are within a
quarter of measured peaks.
"""

import resource
from pathlib import Path

import psutil
import torch

from inverse_rlhf.models.shapes import Adapters, Part, Shape
from inverse_rlhf.params import Compute, Irl, Rlhf, Scratch
from inverse_rlhf.policies.likelihood import AT_ONCE, LOGITS

Need = dict[str, float]
"""Bytes held at once, by what they are for."""
SPREAD = ("policy", "reference", "Adam", "gradients")
"""What FSDP and DeepSpeed spread over processes of a policy's training."""
# Numbers that are kept of a token and trained block for gradients, over the hidden size, and that
# are held of a token while a block computes without them. In bfloat16 that is a little more than
# the 34 bytes of Korthikanti et al. 2022.
_KEPT, _PASSING = 20, 12
# TRL's output layer makes logits of so many tokens and words at a time (trl.kernels), of which it
# holds so many copies on a CPU; Triton's kernels hold one.
_TILE_TOKENS, _TILE_WORDS, _TILE_COPIES = 4096, 32768, 9
_TRAINER_LOGITS = 3  # copies of all logits that transformers' loss holds with its gradient
_COMPARED = 36  # bytes of a logit that is compared: both policies', and what is made of them
_DRAWN = 56  # bytes of a row and word when a token is drawn, in double precision


def free_memory(device: torch.device) -> float:
    """Bytes that this process can still have on a device; of a CPU what the machine, the control
    group and `ulimit -v` leave.
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    left = [psutil.virtual_memory().available, _group_memory()]
    if limit != resource.RLIM_INFINITY:
        left.append(limit - psutil.Process().memory_info().vms)
    return float(max(min(left), 1))


def _group_memory(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> float:
    """Bytes that the control groups of this process leave, such as that of a Slurm job; without a
    bound infinite.
    """
    found = [float("inf")]
    for line in own.read_text().splitlines() if own.is_file() else []:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top = root / "memory" if kinds else root
        folder = top / path.strip("/")
        found += [_left(part) for part in (folder, *folder.parents) if part.is_relative_to(top)]
    return min(found)


def _left(group: Path) -> float:
    """Bytes that a control group, of either version, leaves; its file cache counts as free."""
    names = [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")]
    for limit, used in names:
        try:
            bound, taken = (int((group / name).read_text()) for name in (limit, used))
            lines = (group / "memory.stat").read_text().splitlines()
            return bound - taken + int(dict(line.split() for line in lines)["inactive_file"])
        except (OSError, ValueError, KeyError):  # no such group, or "max"
            continue
    return float("inf")


def size_of(compute: Compute) -> int:
    """Bytes of a number of weights that are not trained."""
    return 4 if compute.dtype == "float32" else 2


def read_width(compute: Compute) -> int:
    """Bytes of a number that a model gives without gradients, of weights that are not trained."""
    return 2 if compute.bf16 else size_of(compute)


def width_of(compute: Compute) -> int:
    """Bytes of a number of activations, of weights that are trained."""
    return 2 if compute.bf16 else 4


def reading(shape: Shape, texts: int, tokens: float, width: int) -> float:
    """Bytes held while a model reads texts without gradients: of one block at a time."""
    return texts * tokens * _PASSING * shape.hidden * width


def kept_activations(shape: Shape, kept_blocks: int, tokens: float, compute: Compute) -> float:
    """Bytes held of tokens for gradients."""
    numbers: float = _KEPT * kept_blocks
    if compute.gradient_checkpointing:
        numbers = kept_blocks + _KEPT
    return tokens * numbers * shape.hidden * width_of(compute)


def generating(
    shape: Shape, rows: int, tokens: float, width: int, *, sampled: bool = True
) -> float:
    """Bytes held while completions are drawn: keys and values of all tokens, and a row's draw."""
    cache = rows * tokens * shape.cached * shape.blocks * width
    return cache + rows * shape.vocabulary * (_DRAWN if sampled else 2 * 4)


def likelihoods(shape: Shape, texts: int, tokens: float, width: int) -> float:
    """Bytes held while two policies' likelihoods of texts are compared."""
    of_text = tokens * shape.vocabulary
    together = max(1, min(texts, int(LOGITS // of_text)))
    compared = min(together * of_text, AT_ONCE) * _COMPARED
    return 2 * together * of_text * width + compared + reading(shape, together, tokens, width)


def checkpoints(trained: int, count: int) -> float:
    """Bytes on disk of a training's last state, and of the one before while it is written."""
    return 2 * 12 * trained if count else 0


def policy_part(rlhf: Rlhf) -> Part:
    """What of a policy is trained."""
    return Adapters(rlhf.lora_rank) if rlhf.lora_rank else rlhf.trainable_layers


def reward_part(irl: Irl) -> Part:
    """What of a reward's body is trained, where any of it is."""
    parts: dict[str, Part] = {"all": "all", "lora": Adapters(irl.lora_rank), "last_k": irl.last_k}
    return parts[irl.trainable]


def policy_training(
    shape: Shape,
    rlhf: Rlhf,
    compute: Compute,
    rollouts: int,
    *,
    prompt: float,
    longest: int,
    device: str,
) -> Need:
    """Bytes of training a policy, less its reward.

    Args:
        rollouts: of a batch.
        prompt: tokens of a prompt, in the mean.
        longest: tokens of the longest.
        device: cpu or cuda.
    """
    part = policy_part(rlhf)
    trained, kept = shape.trained(part), shape.kept(part)
    tokens = rollouts / rlhf.gradient_accumulation * (prompt + rlhf.max_new_tokens)
    tile = min(tokens, _TILE_TOKENS) * min(shape.vocabulary, _TILE_WORDS)
    copies = _TILE_COPIES * 4 if device == "cpu" else width_of(compute)
    # What the output layer's gradient is summed in; adapters leave it as it is.
    layer = 0 if rlhf.lora_rank else shape.vocabulary * shape.hidden * 4
    drawn = generating(shape, rollouts, longest + rlhf.max_new_tokens, width_of(compute))
    activations = kept_activations(shape, kept, tokens, compute)
    update = activations + tile * copies + layer + 4 * trained
    return {
        "policy": (size_of(compute) if rlhf.lora_rank else 4) * shape.parameters,
        # Without its adapters a policy is its own reference.
        "reference": 0
        if rlhf.lora_rank or not rlhf.kl_coef
        else size_of(compute) * shape.parameters,
        "Adam": 8 * trained,
        "gradients": 4 * trained if update > drawn else 0,
        "activations": activations if update > drawn else drawn,
        "logits": tile * copies + layer if update > drawn else 0,
    }


def policy_merging(shape: Shape, rlhf: Rlhf) -> Need:
    """Bytes of merging the adapters of a trained policy, on a CPU: in float32, whatever type its
    weights had, while the trainer still has its own.
    """
    trained = shape.trained(policy_part(rlhf))
    return {
        "policy in float32": 4 * shape.parameters,
        "Adam": 8 * trained,
        "gradients": 4 * trained,
    }


def adapter_reading(shape: Shape, compute: Compute, *, beside: int) -> Need:
    """Bytes of loading an adapter, on a CPU: it is merged into its base in float32.

    Args:
        beside: policies of that shape that are in memory by then.
    """
    need: Need = {"adapter's base in float32": 4 * shape.parameters}
    return need | ({"policies": beside * size_of(compute) * shape.parameters} if beside else {})


def scratch_training(
    shape: Shape, params: Scratch, compute: Compute, *, tokens: int, outputs: int
) -> Need:
    """Bytes of training all of a model with transformers' Trainer.

    Args:
        tokens: of the longest text.
        outputs: numbers that it gives of a token: its logits, or none to speak of.
    """
    read = params.batch_size * tokens
    evaluated = compute.batch_size * tokens
    update = (
        kept_activations(shape, shape.blocks, read, compute)
        + read * outputs * 4 * _TRAINER_LOGITS
        + 4 * shape.parameters
    )
    held_out = reading(shape, compute.batch_size, tokens, 4) + evaluated * outputs * 4 * 2
    return {
        "weights": 4 * shape.parameters,
        "Adam": 8 * shape.parameters,
        "gradients and activations": max(update, held_out),
    }


def reward_training(
    shape: Shape, part: Part, compute: Compute, *, texts: int, tokens: float
) -> Need:
    """Bytes of fitting a reward network.

    Args:
        part: what is trained.
        texts: of an update.
        tokens: of a text, in the mean.
    """
    trained = shape.trained(part)
    update = kept_activations(shape, shape.kept(part), texts * tokens, compute) + 4 * trained
    scored = reading(shape, compute.batch_size, tokens, 4)
    return {
        "weights": 4 * shape.parameters,
        "Adam": 8 * trained,
        "gradients and activations": max(update, scored),
    }
