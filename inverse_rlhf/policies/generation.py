"""How completions are drawn while a policy is trained: what `rlhf.generation` names.

`generate` is that of transformers, with our loop where it is to be fast. The others are engines
that TRL hands the prompts to: transformers' continuous batching, and vLLM.
"""

import contextlib
import functools
import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import ContinuousBatchingConfig

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.probes import alike
from inverse_rlhf.models.reading import ends_of_text
from inverse_rlhf.params import Rlhf
from inverse_rlhf.policies.decoding import decode

# It tells of every fault, which is raised here, in dozens of lines.
logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)

CONTINUOUS = "continuous_batching"
_PAGE = 16  # tokens of a completion that the cache keeps together
_TRIED = 8  # tokens


def settings(
    params: Rlhf, policy: Model, prompts: Sequence[Sequence[int]], rollouts: int
) -> dict[str, Any]:
    """What TRL's configuration has of the engine.

    Args:
        prompts: their tokens.
        rollouts: completions that a process draws at once.
    """
    ends = ends_of_text(policy)
    if params.generation.startswith("vllm"):
        return {
            "use_vllm": True,
            "vllm_mode": params.generation.removeprefix("vllm_"),
            "generation_kwargs": {"min_tokens": params.min_new_tokens, "stop_token_ids": ends},
        }
    plain = {
        "generation_kwargs": {"min_new_tokens": params.min_new_tokens, "eos_token_id": ends},
    }
    if params.generation != CONTINUOUS:
        return plain
    return plain | {
        "use_transformers_continuous_batching": True,
        "transformers_continuous_batching_config": _room(
            policy, prompts, params.max_new_tokens, rollouts
        ),
    }


def _room(
    policy: Model, prompts: Sequence[Sequence[int]], new: int, rollouts: int
) -> dict[str, Any]:
    """How large the cache of continuous batching is: half of what is free, as TRL has it; on a CPU,
    which would write through all of that at each step, what all rollouts need.
    """
    if policy.device.type != "cpu":
        return {"max_memory_percent": 0.5}
    longest = max(len(row) for row in prompts)
    return {
        "page_size": _PAGE,
        "num_blocks": rollouts * math.ceil((longest + new) / _PAGE),
        "max_batch_tokens": max(rollouts, longest),
    }


@contextlib.contextmanager
def drawing(module: Any, *, fast: bool) -> Iterator[None]:
    """Within it, completions are drawn by transformers' own methods, whatever the policy's folder
    brought; where `generate` is to be fast, with our loop.
    """
    kind = type(module)
    ours = {"custom_generate": decode} if fast else {}
    module.generate = functools.partial(kind.generate, module, **ours)
    module.generate_batch = functools.partial(_batched, module)
    try:
        yield
    finally:
        del module.generate, module.generate_batch  # the class's again


def _batched(module: Any, prompts: Sequence[Sequence[int]], **settings: Any) -> dict[str, Any]:
    """transformers' `generate_batch`, which by itself goes on without what fails."""
    try:
        found: dict[str, Any] = type(module).generate_batch(module, prompts, **settings)
    except ValueError as error:
        raise UserError(_refused(module, f"fails: {first_line(error)}")) from None
    faults = [output.error for output in found.values() if output.error is not None]
    if faults or len(found) < len(prompts):
        fault = first_line(RuntimeError(*faults[:1]))
        raise UserError(_refused(module, f"fails: {fault}"))
    return found


def _refused(module: Any, what: str) -> str:
    kind = module.config.model_type
    return f"rlhf.generation is {CONTINUOUS}, which {what}, of a {kind}: set it to generate"


@torch.no_grad()
def check_continuous(policy: Model, prompts: Sequence[Sequence[int]], new: int) -> None:
    """Check that continuous batching draws what the policy says, on its shortest and its longest
    prompt.

    Some architectures, such as GPT-J, run in it without an error and do not read the text before.

    Args:
        prompts: their tokens.
        new: the most tokens of a completion.

    Raises:
        UserError: it does not, or fails.
    """
    module = policy.module
    tried = [min(prompts, key=len), max(prompts, key=len)]
    tokens = min(new, _TRIED)
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=tokens,
        eos_token_id=-1,
        pad_token_id=policy.tokenizer.pad_token_id,
    )
    room = ContinuousBatchingConfig(**_room(policy, tried, tokens, len(tried)))
    found = _batched(module, tried, generation_config=greedy, continuous_batching_config=room)
    for head, output in zip(tried, found.values(), strict=True):
        drawn = torch.tensor(output.generated_tokens, device=policy.device)
        text = torch.cat([torch.tensor(head, device=policy.device), drawn])
        logits = module(input_ids=text[None]).logits[0, len(head) - 1 : -1].float()
        said = logits.gather(1, drawn[:, None])[:, 0]
        if not alike(said, logits.amax(1), module.dtype):
            raise UserError(_refused(module, "draws other texts than the policy's"))
