"""What a stage needs is said before its work, and what cannot be had is refused."""

import dataclasses
import json
import re
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from inverse_rlhf import errors
from inverse_rlhf.data.tables import PROMPTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.models import memory, plan
from inverse_rlhf.models.memory import free_memory
from inverse_rlhf.models.needs import (
    Lengths,
    completions_need,
    evaluation_need,
    fits_need,
    likelihoods_need,
    policy_training_need,
)
from inverse_rlhf.models.places import place_of
from inverse_rlhf.models.plan import changed, plan_model, plan_policy_training
from inverse_rlhf.models.resumable import Checkpoints
from inverse_rlhf.models.shapes import Adapters, Shape, shape_of, shape_of_config
from inverse_rlhf.models.speed import Speed
from inverse_rlhf.params import Params, for_stage
from inverse_rlhf.parquet import write_table
from stages import rlhf_train
from stages.rlhf_train import StageParams
from tests.presets.shapes import pythia_config

PROMPT = Lengths(14.0, 20)
STATES = Checkpoints(Path(".resume"), 20)


@pytest.fixture(scope="module")
def pythia() -> Shape:
    return shape_of_config(pythia_config("pythia-70m"), "policy")


def test_shapes_count_what_is_trained(pythia: Shape) -> None:
    assert (pythia.blocks, pythia.hidden, pythia.vocabulary) == (6, 512, 50_304)
    assert pythia.trained("all") == pythia.parameters == 70_426_624
    # four blocks, the last norm and the output layer, which is not tied
    assert pythia.trained(99) == pythia.trained(pythia.blocks)
    assert pythia.trained(4) == 4 * pythia.block + 2 * 512 + 50_304 * 512
    assert pythia.cached == 2 * 512
    # of a block: queries with keys and values, their sum, and both layers of the network
    assert pythia.trained(Adapters(4)) == 4 * 6 * 512 * (1 + 3 + 1 + 1 + 1 + 4 + 4 + 1)
    tied = pythia_config("pythia-70m")
    tied.tie_word_embeddings = True
    assert shape_of_config(tied, "policy").above == 2 * 512


def test_shapes_are_told_from_folders(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng():
        expected = torch.rand(3)
    state = torch.get_rng_state()
    shape = shape_of(policy_folder, "policy")
    assert torch.equal(state, torch.get_rng_state()), expected
    assert shape is not None
    whole = GPTNeoXForCausalLM.from_pretrained(policy_folder).num_parameters()
    assert shape.parameters == whole
    (tmp_path / "manifest.json").write_text(json.dumps({"source": str(policy_folder)}))
    assert place_of(tmp_path) == policy_folder
    assert shape_of(tmp_path, "policy") == shape
    assert shape_of(tmp_path / "nothing", "policy") is None
    (tmp_path / "manifest.json").unlink()
    commit, cached = "0" * 40, tmp_path / "hub/models--someone--policy"
    shutil.copytree(policy_folder, cached / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for module in ("huggingface_hub", "transformers.utils.hub"):
        monkeypatch.setattr(f"{module}.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    assert shape_of("someone/policy", "policy", revision=commit) == shape
    assert shape_of("someone/policy", "policy") is None
    (tmp_path / "config.json").write_text("{")
    assert shape_of(tmp_path, "policy") is None


def test_needs_follow_the_settings(params: Params, pythia: Shape) -> None:
    def training(changes: dict[str, Any], device: str = "cpu") -> float:
        asked = changed(params, changes)
        return sum(policy_training_need(asked, pythia, pythia, PROMPT, device).values())

    whole = training({})
    weights = 4 * pythia.parameters
    # policy, reference, reward, gradients and two moments
    assert whole > 6 * weights
    assert training({"rlhf.kl_coef": 0.0}) == pytest.approx(whole - weights)
    assert training({"compute.dtype": "bfloat16"}) == pytest.approx(whole - weights, rel=0.01)
    fewer = training({"rlhf.trainable_layers": 2})
    assert whole - fewer > 3.5 * 4 * (pythia.parameters - pythia.trained(2))
    assert training({"rlhf.lora_rank": 8}) < whole - 4 * 4 * pythia.parameters
    split = training({"rlhf.gradient_accumulation": 8})
    assert split < whole
    assert training({"compute.gradient_checkpointing": True}) < whole
    assert training({}, "cuda") < whole  # the output layer's kernels hold one copy


def test_fits_and_evaluation(params: Params, pythia: Shape) -> None:
    head = fits_need(params, pythia, 50, 1_000, "cpu")
    whole = fits_need(changed(params, {"irl.trainable": "all"}), pythia, 50, 1_000, "cpu")
    top = fits_need(changed(params, {"irl.trainable": "last_k"}), pythia, 50, 1_000, "cpu")
    sizes = [sum(need.values()) for need in (head, top, whole)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 6 * 4 * pythia.parameters
    # never more logits than are held at once, whatever the batch
    many = changed(params, {"compute.batch_size": 1_000_000})
    need = evaluation_need(many, pythia, [], PROMPT, PROMPT, 10**9)
    assert need.get("likelihoods", 0) < 10e9 or "completions" in need
    compared = likelihoods_need(many, pythia, 60, 10**9)
    assert compared["likelihoods"] < 4 * 4 * memory.LOGITS


@pytest.fixture
def project(
    policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], list[str]]:
    """Makes the working directory one with a policy whose configuration, not whose weights, has so
    large a hidden state; returns its prompts.
    """

    def made(hidden: int) -> list[str]:
        monkeypatch.chdir(tmp_path)
        shutil.copytree(policy_folder, "models/base")
        config = json.loads(Path("models/base/config.json").read_text())
        config |= {"hidden_size": hidden, "intermediate_size": 4 * hidden}
        Path("models/base/config.json").write_text(json.dumps(config))
        prompts = pd.DataFrame({"prompt": [f"About {n}" for n in range(60)]})
        prompts = prompts.assign(prompt_id=range(60), human_completion=" it", toxic=0, split="rl")
        write_table(prompts, "data/prompts.parquet", PROMPTS)
        return prompts["prompt"].tolist()

    return made


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the bytes of memory that are free."""
    return lambda size: monkeypatch.setattr(memory, "free_memory", lambda _: size)


@pytest.fixture
def asked(params: Params) -> StageParams:
    return for_stage(params, StageParams)


def test_plans(
    asked: StageParams,
    project: Callable[[int], list[str]],
    free: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompts = project(2048)

    def planned(size: float) -> str:
        free(size)
        plan_policy_training("rlhf_train", asked.rlhf, asked.compute, prompts, None, STATES)
        return capsys.readouterr().out

    line = planned(100e9)
    assert line.startswith("rlhf_train: needs about ")
    assert "GB on cpu, which has 100 free (" in line
    assert "Adam" in line
    assert "may not fit" not in line
    need = float(line.split()[3]) * 1e9
    assert "; it may not fit: set rlhf." in planned(0.9 * need)
    with pytest.raises(UserError, match=r"^rlhf_train needs about .* GB on cpu") as caught:
        planned(0.3 * need)
    assert "rlhf.lora_rank 16" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"even with .* take a smaller model"):
        planned(1e6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 10**6))
    with pytest.raises(UserError, match=r"rlhf_train writes .* GB, but of this folder's disk"):
        planned(100e9)


def test_batches_that_halve_themselves_refuse_nothing(
    params: Params,
    project: Callable[[int], list[str]],
    free: Callable[[float], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompts = project(256)
    many = changed(params, {"compute.batch_size": 60})
    shape, lengths = shape_of("models/base", "policy"), plan.lengths_of(prompts, Path("."))
    assert shape is not None
    most, least = (
        sum(completions_need(asked, shape, lengths, 120).values())
        for asked in (many, changed(many, {"compute.batch_size": 1}))
    )
    free((most + least) / 2)
    plan.plan_pairs(many.pairs, many.compute, prompts)
    assert "it may not fit: compute.batch_size will be lowered" in capsys.readouterr().out
    free(1e6)
    with pytest.raises(UserError, match="generate_pairs needs about"):
        plan.plan_pairs(many.pairs, many.compute, prompts)


def test_the_least_time_is_said_where_it_is_a_minute(
    asked: StageParams,
    project: Callable[[int], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prompts = project(256)

    def planned(speed: Speed, steps: int) -> str:
        monkeypatch.setattr(plan, "speed_of", lambda *_: speed)
        rlhf = asked.rlhf.model_copy(update={"steps": steps})
        plan_policy_training("rlhf_train", rlhf, asked.compute, prompts, None, STATES)
        return capsys.readouterr().out

    line = planned(Speed(2e9, 1e12), 40)
    found = re.search(r"; takes ([\d.]+) minutes at least for completions of 48 tokens", line)
    assert found is not None
    assert line.endswith(" tokens (2 GFLOP/s measured)\n")
    # written, read by the reference, and read with both gradients, by tokens and weights
    tokens = 40 * 48 * 4 * (48 + plan.lengths_of(prompts, Path("models/base")).mean)
    by_hand = (2 + 2 + 6) * 2 * 12 * 256**2 * tokens / 2e9 / 60
    assert float(found[1]) == pytest.approx(by_hand, rel=0.2)
    assert "takes" not in planned(Speed(1e15, 1e15), 40)
    slow = planned(Speed(1e15, 1e5), 40)  # of memory: tokens one after another
    assert re.search(r"takes [\d.]+ days at least .* \(1000 TFLOP/s measured\)", slow)


def test_adapters_are_merged_in_float32(
    asked: StageParams,
    params: Params,
    pythia: Shape,
    project: Callable[[int], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a CPU, whatever type weights have that are only read."""
    lora = changed(asked, {"rlhf.lora_rank": 4, "compute.dtype": "bfloat16"})
    few = changed(lora, {"rlhf.batch_size": 1, "rlhf.generations": 2})
    large = dataclasses.replace(pythia, parameters=10**9)
    whole = 4 * large.parameters
    assert policy_training_need(few, large, None, PROMPT, "cpu")["policy in float32"] == whole
    for settings, device in ((few, "cuda"), (changed(few, {"compute.dtype": "float32"}), "cpu")):
        need = policy_training_need(settings, large, None, PROMPT, device)
        assert "policy in float32" not in need
    # what is held beside it: what the trainer has, and the reward
    merged, judged = (policy_training_need(few, large, j, PROMPT, "cpu") for j in (None, large))
    assert merged["Adam"] == 2 * merged["gradients"] == 8 * large.trained(Adapters(4))
    assert judged == merged | {"reward": whole / 2}
    prompts = project(2048)
    half = changed(params, {"compute.dtype": "bfloat16", "compute.batch_size": 1})
    lines = []
    for adapter in (False, True):
        if adapter:
            Path("models/rlhf").mkdir()
            config = {"base_model_name_or_path": "models/base"}
            Path("models/rlhf/adapter_config.json").write_text(json.dumps(config))
        plan.plan_pairs(half.pairs, half.compute, prompts)
        lines.append(capsys.readouterr().out)
    assert ["adapter's base in float32" in line for line in lines] == [False, True]
    sizes = [float(line.split()[3]) for line in lines]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.1)
    assert shape_of("models/rlhf", "policy") == shape_of("models/base", "policy")


def test_memory_that_runs_out_is_the_plans_line_too(
    asked: StageParams, project: Callable[[int], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = project(2048)
    plan_policy_training("rlhf_train", asked.rlhf, asked.compute, prompts, None, STATES)
    with pytest.raises(SystemExit) as caught, errors.one_line():
        torch.empty(10**15)
    assert caught.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: out of memory: rlhf_train was to need ")
    assert "set rlhf.gradient_accumulation" in line
    assert "DefaultCPUAllocator" in line


def test_training_from_scratch(
    params: Params,
    free: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delattr(plan, "speed_of")  # of so little no speed is measured
    plan_model("base_policy", params.base_policy, params.compute, "policy", ["a few words"])
    assert re.match(r"base_policy: needs about 0\.0\d GB on cpu, which", capsys.readouterr().out)
    large = changed(
        params,
        {"base_policy.scratch.hidden_size": 8192, "base_policy.scratch.vocab_size": 50_000},
    )
    free(10e9)
    with pytest.raises(UserError, match=r"base_policy needs about .* take a smaller model"):
        plan_model("base_policy", large.base_policy, large.compute, "policy", ["a word"])


def test_a_policy_too_large_for_the_machine_is_refused_before_training(
    asked: StageParams, project: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """By what this process may still take."""
    project(16384)
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 10**9, before[1]))
    try:
        with pytest.raises(UserError, match=r"rlhf_train needs about .* take a smaller model"):
            rlhf_train.main(asked)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert not (tmp_path / "models/rlhf").exists()
    assert not (tmp_path / "metrics").exists()


def test_folders_that_cannot_be_written_to_are_refused_before_the_work(
    params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plan.os, "access", lambda place, _: place != Path("models"))
    with pytest.raises(UserError, match=r"^rlhf_train: nothing can be written to \S+/models: "):
        plan._reserve("rlhf_train", lambda _: {"policy": 1.0}, params, {})
    plan._reserve("generate_pairs", lambda _: {"policy": 1.0}, params, {})


def test_free_memory_of_control_groups(tmp_path: Path) -> None:
    own, group = tmp_path / "own", tmp_path / "job/step"
    own.write_text("0::/job/step\n")
    group.mkdir(parents=True)

    def write(folder: Path, bound: str, taken: int, prefix: tuple[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / prefix[0]).write_text(f"{bound}\n")
        (folder / prefix[1]).write_text(f"{taken}\n")
        (folder / "memory.stat").write_text("anon 400\ninactive_file 200\n")

    def left() -> float:
        return memory._group_memory(tmp_path, own)

    second = ("memory.max", "memory.current")
    assert left() == float("inf")
    write(group, "max", 600, second)
    assert left() == float("inf")
    write(group.parent, "1000", 600, second)  # of the whole job
    assert left() == 600
    write(group, "700", 600, second)
    assert left() == 300
    own.write_text("3:cpu:/a\n5:memory:/b\n")  # the first version
    assert left() == float("inf")
    write(tmp_path / "memory/b", "900", 500, ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    assert left() == 600
    assert 0 < free_memory(torch.device("cpu")) < 1e15


def test_the_default_policy_fits(params: Params) -> None:
    config = GPTNeoXConfig(
        vocab_size=1024, hidden_size=128, num_hidden_layers=3, num_attention_heads=4
    )
    need = policy_training_need(params, shape_of_config(config, "policy"), None, PROMPT, "cpu")
    assert sum(need.values()) < 2e9
