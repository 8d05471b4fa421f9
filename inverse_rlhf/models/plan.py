"""What a stage needs of memory, disk and time: said before its work, and refused where it cannot be
had.

Reckoned from the models' shapes, the lengths of the texts and the settings, see `needs` and
`work`; of one process, where several share the stage. Of time it is the least, at the speed that
the device has shown a moment before: it is said alone, and no result knows of it.
"""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import AutoTokenizer

from inverse_rlhf.data.tables import whole_texts
from inverse_rlhf.errors import UserError, advise_on_memory, say
from inverse_rlhf.models import memory, processes, work
from inverse_rlhf.models.checkpoints import Kind, device_of, frozen_dtype
from inverse_rlhf.models.memory import Need
from inverse_rlhf.models.needs import (
    Lengths,
    adapter_need,
    completions_need,
    evaluation_need,
    fits_disk,
    fits_need,
    larger,
    likelihoods_need,
    policy_training_need,
    scratch_need,
    scratch_shape,
)
from inverse_rlhf.models.places import place_of, stays
from inverse_rlhf.models.reading import prompt_ids
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.models.shapes import Shape, shape_of
from inverse_rlhf.models.speed import in_words, speed_of
from inverse_rlhf.models.work import Work
from inverse_rlhf.params import Compute, Group, Irl, Pairs, Pretrained, Rlhf

GB = 1e9
OFF_BY = 1.25
"""How far a need may be off: a stage is refused where it lacks more than that."""
_BASE, _ALIGNED, _RERL = (Path("models") / name for name in ("base", "rlhf", "rerl"))
_OF_A_WORD = 2  # tokens, of a tokenizer that knows a thousand; more know longer pieces
OF_A_WORD_IN_THE_MEAN = 1.25
"""Tokens of the generated comments' words; human ones have more."""
_SLOWEST = 1e9  # operations a second: of any device that is in use
_OUTPUTS = {
    "generate_pairs": ("data",),
    "maxmargin_irl": ("data", "models"),
    "evaluate": ("data",),
}
Asked = SimpleNamespace
"""Groups of params by their names, as a stage's class of params has them."""


def lengths_of(texts: Sequence[str], folder: Path) -> Lengths:
    """How many tokens texts have by the tokenizer in a folder; by words where it has none that can
    be read, which `load` says.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(place_of(folder), trust_remote_code=False)
        counts = [len(ids) for ids in prompt_ids(texts, tokenizer)]
    except Exception:  # whatever a broken folder makes a library raise
        counts = [len(text.split()) for text in texts]
    return Lengths(sum(counts) / max(len(counts), 1), max(counts, default=1))


def plan_model(
    stage: str, group: Pretrained, compute: Compute, kind: Kind, comments: Sequence[str]
) -> None:
    """Plan to train a model from scratch, or to take one from a folder.

    Args:
        group: that is called as the stage is.
        kind: policy or classifier.
        comments: that it is trained on.
    """
    params = Asked(compute=compute, **{stage: group})
    if group.source != "scratch":
        given = shape_of(group.source, kind, revision=group.revision)
        # It is read with its own code, too; a policy also as the body of a reward, to try it.
        copies = 2 if group.trust_remote_code or kind == "policy" else 1
        if given is not None:
            written = 0 if stays(group.source) else 4 * given.parameters
            need_of_all: Need = {kind: copies * 4 * given.parameters}
            _reserve(stage, lambda _: need_of_all, params, {}, disk=written)
        return
    words = [len(text.split()) for text in comments]
    tokens, mean = _OF_A_WORD * max(words), OF_A_WORD_IN_THE_MEAN * float(np.mean(words))
    read = min(mean, group.scratch.max_tokens)
    shape = scratch_shape(group.scratch, kind)
    works = work.scratch_training(
        shape, group.scratch, compute, texts=len(words), tokens=read, logits=kind == "policy"
    )

    def need(asked: Any) -> Need:
        return scratch_need(getattr(asked, stage).scratch, asked.compute, kind, tokens)

    options: dict[str, Sequence[Any]] = {
        "compute.batch_size": _halves(compute.batch_size),
        "compute.gradient_checkpointing": [True],
        f"{stage}.scratch.batch_size": _halves(group.scratch.batch_size),
    }
    time = _time(works, compute, shape, torch.float32)
    _reserve(stage, need, params, options, time=time)


def plan_policy_training(
    stage: str,
    rlhf: Rlhf,
    compute: Compute,
    prompts: Sequence[str],
    reward: Path | None,
    checkpoints: Checkpoints,
) -> None:
    """Plan the training of a policy on a reward.

    Args:
        prompts: that it is trained on.
        reward: folder of the transformer that gives it; None: none does.
        checkpoints: where it keeps its state.
    """
    policy, classifier = shape_of(_BASE, "policy"), None
    if reward is not None:
        classifier = shape_of(reward, "classifier")
    if policy is None:
        return
    lengths, device = lengths_of(prompts, _BASE), device_of(compute).type

    def need(asked: Any) -> Need:
        return policy_training_need(asked, policy, classifier, lengths, device)

    rollouts = rlhf.batch_size * rlhf.generations
    parts = [2**n for n in range(1, 20) if rollouts % 2**n == 0]
    options: dict[str, Sequence[Any]] = {
        "rlhf.gradient_accumulation": [n for n in parts if n > rlhf.gradient_accumulation],
        "compute.gradient_checkpointing": [True],
        "compute.dtype": ["bfloat16"],
        "compute.batch_size": _halves(compute.batch_size),
    }
    if rlhf.trainable_layers != "all":
        options["rlhf.trainable_layers"] = _halves(rlhf.trainable_layers)
    elif not rlhf.lora_rank:
        options["rlhf.lora_rank"] = [16]
    params = Asked(compute=compute, rlhf=rlhf)
    trained = policy.trained(memory.policy_part(rlhf))
    written = 4 * trained if rlhf.lora_save == "adapter" else 4 * policy.parameters
    disk = written + memory.checkpoints(trained, checkpoints.count)
    own = rollouts // processes.count()
    works = work.policy_training(policy, classifier, rlhf, compute, own, prompt=lengths.mean)
    dtype = frozen_dtype(compute) if rlhf.lora_rank else torch.float32
    time = _time(works, compute, policy, dtype, new=rlhf.max_new_tokens)
    _reserve(stage, need, params, options, disk=disk, time=time)


def plan_pairs(pairs: Pairs, compute: Compute, prompts: Sequence[str]) -> None:
    """Plan the completions of both policies, one of which is in memory at a time."""
    policy = shape_of(_BASE, "policy")
    if policy is None:
        return
    lengths = lengths_of(prompts, _BASE)
    rows = len(prompts) * pairs.samples

    def need(asked: Any) -> Need:
        drawn = completions_need(asked, policy, lengths, rows)
        return larger(drawn, adapter_need(asked, policy, _ALIGNED, beside=0))

    options = {"compute.dtype": ["bfloat16"]}
    params, yields = Asked(compute=compute, pairs=pairs), {"compute.batch_size": 1}
    own = rows / processes.count()
    works = [work.completions(policy, pairs, compute, own, prompt=lengths.mean)] * 2
    time = _time(works, compute, policy, frozen_dtype(compute), new=pairs.max_new_tokens)
    _reserve("generate_pairs", need, params, options, yields=yields, time=time)


def plan_fits(
    irl: Irl, compute: Compute, pairs: pd.DataFrame, prompts: pd.DataFrame, store: Path
) -> None:
    """Plan the fits of rewards.

    Args:
        pairs: the pairs table.
        prompts: whose comments are scored, too.
        store: folder of finished runs.
    """
    body, place = None, _BASE if irl.body == "base" else Path(irl.body)
    if irl.body != "none" and ("hidden_state" in irl.features or irl.method == "bayes"):
        body = shape_of(place, "body", revision=irl.body_revision)
    policy = shape_of(_BASE, "policy") if irl.needs_policies else None
    if body is None and policy is None:
        return
    new = float(np.mean([len(ids) for s in ("base_ids", "aligned_ids") for ids in pairs[s]]))
    prompt = lengths_of(prompts["prompt"].tolist(), _BASE).mean
    tokens = prompt + new
    texts = 2 * len(pairs) + len(prompts)
    device = device_of(compute).type

    def need(asked: Any) -> Need:
        fits = {}
        if body is not None:
            read = adapter_need(asked, body, place, beside=0)
            fits = larger(fits_need(asked, body, tokens, texts, device), read)
        if policy is None:
            return fits
        compared = likelihoods_need(asked, policy, tokens, texts)
        return larger(fits, compared, adapter_need(asked, policy, _ALIGNED, beside=1))

    options: dict[str, Sequence[Any]] = {
        "irl.batch_size": _halves(irl.batch_size),
        "compute.gradient_checkpointing": [True],
        "irl.trainable": ["lora", "last_k", "head"],
        "compute.dtype": ["bfloat16"],
    }
    if irl.trainable == "head":
        options = {"compute.dtype": ["bfloat16"]}
    disk = 0.0
    if body is not None:
        kept = sum(file.stat().st_size for file in store.rglob("*") if file.is_file())
        disk = 4 * body.parameters + max(fits_disk(irl, body) - kept, 0)
    fitted, judged = (int((pairs["split"] == split).sum()) for split in ("irl", "valid"))
    sharing, works = processes.count(), []
    if body is not None:
        works = work.fits(
            body, irl, compute, tokens, texts=texts, pairs=fitted, valid=judged, sharing=sharing
        )
    if policy is not None:
        works += work.compared(policy, 2 * fitted / sharing, prompt=prompt, new=new)
    dtype = frozen_dtype(compute) if irl.trainable == "head" else torch.float32
    time = _time(works, compute, body or policy, dtype)
    params, yields = Asked(compute=compute, irl=irl), {"compute.batch_size": 1}
    _reserve("maxmargin_irl", need, params, options, disk=disk, yields=yields, time=time)


def plan_evaluation(
    pairs: Pairs,
    compute: Compute,
    prompts: pd.DataFrame,
    classifier: Path,
    reward: Path,
    *,
    left_out: int,
) -> None:
    """Plan to read both trained policies beside the base, and the two rewards after them.

    The KL between two policies sums over both distributions of each token, so that two policies are
    in memory together; the rewards are not there yet.

    Args:
        pairs: how completions are drawn.
        prompts: the prompts table's test rows.
        classifier, reward: folders of the two rewards.
        left_out: texts without a word that the recovered reward is asked about at the most.
    """
    policy = shape_of(_BASE, "policy")
    if policy is None:
        return
    scored = [
        shape for shape in (shape_of(classifier, "classifier"), shape_of(reward, "body")) if shape
    ]
    asked_of = prompts["prompt"].tolist()
    comments = whole_texts(asked_of, prompts["human_completion"])
    lengths, human = lengths_of(asked_of, _BASE), lengths_of(comments, _BASE)

    def need(asked: Any) -> Need:
        found = evaluation_need(asked, policy, scored, lengths, human, len(prompts))
        adapters = (adapter_need(asked, policy, path, beside=1) for path in (_ALIGNED, _RERL))
        return larger(found, *adapters)

    options = {"compute.dtype": ["bfloat16"]}
    params, yields = Asked(compute=compute, pairs=pairs), {"compute.batch_size": 1}
    works = work.evaluation(
        policy,
        scored,
        pairs,
        compute,
        prompts=len(prompts) / processes.count(),
        prompt=lengths.mean,
        left_out=left_out / processes.count(),
    )
    time = _time(works, compute, policy, frozen_dtype(compute), new=pairs.max_new_tokens)
    _reserve("evaluate", need, params, options, yields=yields, time=time)


def _halves(value: int) -> list[int]:
    """Half of a number, a quarter of it, and so on down to 1."""
    return [value >> n for n in range(1, value.bit_length())]


def _reserve(
    stage: str,
    need: Callable[[Any], Need],
    params: Any,
    options: Mapping[str, Sequence[Any]],
    *,
    disk: float = 0,
    yields: Mapping[str, Any] | None = None,
    time: Callable[[], str] = str,
) -> None:
    """Say what a stage needs; refuse it where that cannot be had.

    Args:
        stage: its name.
        need: bytes on the device for params of the stage, which have the group compute.
        options: keys that lower the need, and values for them, the mildest first.
        disk: bytes that it writes.
        yields: values that keys come down to by themselves where memory is short.
        time: what there is to say of it, see `_time`.

    Raises:
        UserError: it needs more than is free, by more than the figures may be off; the settings
            that help are named.
    """
    _check_folders(stage)
    device, found = device_of(params.compute), need(params)
    free, free_disk = memory.free_memory(device), shutil.disk_usage(Path()).free
    if device.type == "cpu":
        free /= processes.on_this_machine()
    total, least = (sum(part.values()) for part in (found, need(changed(params, yields or {}))))
    if least > OFF_BY * free:
        advice = _advice(need, changed(params, yields or {}), free, options)
        raise UserError(
            f"{stage} needs about {_gb(least)} GB on {device}, which has {_gb(free)} free: {advice}"
        )
    if disk > free_disk:
        raise UserError(
            f"{stage} writes {_gb(disk)} GB, but of this folder's disk {_gb(free_disk)} is free: "
            "free some, or work on another disk"
        )
    parts = ", ".join(f"{name} {_gb(size)}" for name, size in found.items() if size > 0.05 * total)
    line = f"needs about {_gb(total)} GB on {device}, which has {_gb(free)} free ({parts})"
    if disk:
        line += f"; writes {_gb(disk)} GB, of disk {_gb(free_disk)} is free"
    if total > free:
        lowered = f"{' and '.join(yields or {})} will be lowered" if least <= free else ""
        line += f"; it may not fit: {lowered or _advice(need, params, free, options)}"
    if processes.speaks():
        say(f"{stage}: {line}{time()}")
    advise_on_memory(
        lambda: (
            f"{stage} was to need {_gb(total)} GB on {device}, of {_gb(free)} free: "
            f"{_advice(need, params, total / 2, options)}"
        )
    )


def _check_folders(stage: str) -> None:
    for name in written_by(stage):
        place = Path(name) if Path(name).exists() else Path()
        if not os.access(place, os.W_OK):
            raise UserError(
                f"{stage}: nothing can be written to {place.absolute()}: change its permissions, "
                "or work on another disk"
            )


def written_by(stage: str) -> tuple[str, ...]:
    """The folders of a stage's outputs."""
    return ("metrics", *_OUTPUTS.get(stage, ("models",)))


def _time(
    works: Sequence[Work],
    compute: Compute,
    shape: Shape | None,
    dtype: torch.dtype,
    *,
    new: int | None = None,
) -> Callable[[], str]:
    """Says, when it is called, the least time of works, from a minute on.

    Args:
        shape: of the model that has most of them.
        dtype: of its weights.
        new: tokens of completions, where it is not known how many of them will be drawn.
    """

    def said() -> str:
        if shape is None or sum(work.operations for work in works) < 60 * _SLOWEST:
            return ""
        products = torch.bfloat16 if compute.bf16 else dtype
        speed = speed_of(device_of(compute), products, shape.hidden)
        if (seconds := speed.seconds(works)) < 60:
            return ""
        drawn = "" if new is None else f" for completions of {new} tokens"
        return f"; takes {in_words(seconds)} at least{drawn} ({speed} measured)"

    return said


def _advice(
    need: Callable[[Any], Need],
    params: Any,
    free: float,
    options: Mapping[str, Sequence[Any]],
) -> str:
    """The settings with which the stage fits, and what it needs then."""

    def total(changes: Mapping[str, Any]) -> float:
        return sum(need(changed(params, changes)).values())

    now = total({})
    fitting, helping = [], {}
    for key, values in options.items():
        sizes = {value: total({key: value}) for value in values}
        fits = next((value for value, size in sizes.items() if size <= free), None)
        if fits is not None:
            fitting.append(f"{key} {_text(fits)} ({_gb(sizes[fits])} GB)")
        elif sizes and min(sizes.values()) < 0.95 * now:
            helping[key] = min(sizes, key=lambda value: sizes[value])
    if fitting:
        return f"set {' or '.join(fitting)}"
    names = " and ".join(f"{key} {_text(value)}" for key, value in helping.items())
    least = total(helping)
    if least <= free:
        return f"set {names} ({_gb(least)} GB)"
    even = f"even with {names} it needs {_gb(least)} GB: " if helping else ""
    return f"{even}take a smaller model, or a device with more memory"


def changed(params: Any, changes: Mapping[str, Any]) -> Any:
    """The same params with other values of keys such as `rlhf.steps`."""
    for key, value in changes.items():
        group, *inner = key.split(".", 1)
        new = changed(getattr(params, group), {inner[0]: value}) if inner else value
        if isinstance(params, Group):
            params = params.model_copy(update={group: new})
        else:
            params = Asked(**vars(params) | {group: new})
    return params


def _gb(size: float) -> str:
    amount = max(size / GB, 0.01)
    return (
        f"{amount:.0f}"
        if amount >= 9.95
        else f"{amount:.1f}"
        if amount >= 0.95
        else f"{amount:.2f}"
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
