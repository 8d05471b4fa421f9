"""Params: every wrong value is one line, and a stage is handed its own keys only."""

import copy
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from inverse_rlhf import preset
from inverse_rlhf.audit_params import AuditParams, checked
from inverse_rlhf.errors import UserError
from inverse_rlhf.features.text import NAMED, TEXT_FEATURES
from inverse_rlhf.irl.losses import LOSSES
from inverse_rlhf.organism_params import OrganismParams
from inverse_rlhf.params import (
    Classifier,
    Compute,
    Group,
    Params,
    Parts,
    Reports,
    RewardSum,
    Seed,
    Transfer,
    for_stage,
    parse_params,
    read_yaml,
)
from inverse_rlhf.rewards.thresholds import THRESHOLDS

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("irl.lr", -1, "irl.lr is -1 in params.yaml: it must be greater than 0"),
        ("irl.loss", "margin", "irl.loss is 'margin' in params.yaml"),
        ("evaluate.threshold", "mean", "evaluate.threshold is 'mean' in params.yaml: it must be"),
        ("irl.threshold", "otsu", "irl.threshold in params.yaml is not a known key: remove it"),
        ("irl.features", ["words"], "it must be hidden_state, ngram, objectives, length_target,"),
        (
            "true_reward.weights",
            {"joy": 1.0},
            "it must be toxicity, length_target, keyword, length, ",
        ),
        ("true_reward.weights", {"toxicity": 0.0}, "params.yaml: every weight is 0"),
        ("irl.runs", 0, "irl.runs is 0"),
        ("irl.runs", True, "irl.runs is True in params.yaml: it must be a valid integer"),
        ("irl.epochs", "3", "irl.epochs is '3' in params.yaml: it must be a valid integer"),
        ("irl.bootstrap", "yes", "irl.bootstrap is 'yes' in params.yaml: it must be a valid bool"),
        ("irl.reward", -1, "it must be median_run, ensemble or an integer >= 0"),
        ("irl.lr", "fast", "irl.lr is 'fast'"),
        ("irl.learning_rate", 1, "irl.learning_rate in params.yaml is not a known key"),
        ("rlhf.trainable_layers", "some", "rlhf.trainable_layers is 'some'"),
        ("data.prompt_words", 99, "prompt_words must be smaller than max_words"),
        ("data.prompt_column", "prompt", "prompt_column is 'prompt', but the embedded comments"),
        (
            "data",
            {"source": "a.csv", "prompt_column": "text"},
            "prompt_column and text_column are both 'text'",
        ),
        ("compute.device", "gpu", "compute.device is 'gpu'"),
        (
            "launch.evaluate",
            "torchrun",
            "launch.evaluate is 'torchrun' in params.yaml: it must be one",
        ),
        ("launch.evaluate", "-m", "launch.evaluate is '-m' in params.yaml: it must be one command"),
        ("launch.evaluate", "torchrun 'a -m", "it must be one command that ends with -m"),
        ("launch.evaluate", "A=1 python -m", "variables are set by env NAME=VALUE"),
        ("launch.evaluate", "true; python -m", "it must be one command that ends with -m"),
        ("launch.audit", "python -m", "launch.audit in params.yaml is not a known key"),
        ("irl.lr", float("nan"), "irl.lr is nan"),
        ("irl.features", [], "irl.features is [] in params.yaml: it must be a list and have"),
        ("irl.bayes.prior_std", 1e-200, "irl.bayes.prior_std is 1e-200"),
        ("data.splits.irl", 1, "data.splits.irl is 1"),
        (
            "irl",
            {"trainable": "last_k", "last_k": 2, "blocks": 1},
            "irl in params.yaml: last_k is 2, but blocks is 1: lower it",
        ),
        (
            "irl",
            {"solver": "exact", "bootstrap": False},
            "irl in params.yaml: solver exact without bootstrap",
        ),
        ("irl.last_k", 99, "irl.last_k is 99, but base_policy.scratch.layers is"),
        ("pairs.max_new_tokens", 500, "500, but base_policy.scratch.max_tokens is"),
        (
            "rlhf.generation",
            "continuous_batching",
            "min_new_tokens is 8, which generation continuous_batching would ignore: set it to 0",
        ),
        (
            "",
            {
                "compute": {"bf16": True},
                "rlhf": {"generation": "continuous_batching", "min_new_tokens": 0},
            },
            "compute.bf16 is true, with which rlhf.generation continuous_batching would leave",
        ),
        (
            "",
            {"compute": {"device": "cuda:1"}, "rlhf": {"generation": "vllm_colocate"}},
            "compute.device is cuda:1, but rlhf.generation vllm_colocate draws on the first GPU",
        ),
        ("rlhf.batch_size", 9999, "params.yaml: rlhf.batch_size is 9999, but data.splits.rl has"),
    ],
)
def test_bad_params(raw_params: dict[str, Any], path: str, value: Any, message: str) -> None:
    content = json.loads(json.dumps(raw_params))
    for key in reversed(path.split(".") if path else []):
        value = {key: value}
    preset.merge(content, value)
    with pytest.raises(UserError) as caught:
        parse_params(content)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "[key]" not in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        "torchrun --nproc_per_node 2 -m",
        "accelerate launch --config_file 'my config.yaml' -m",
        "env OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 -m",
    ],
)
def test_a_launcher_is_a_command(raw_params: dict[str, Any], command: str) -> None:
    content = json.loads(json.dumps(raw_params))
    content["launch"]["rlhf_train"] = command
    parse_params(content)


def test_every_error_is_named(raw_params: dict[str, Any]) -> None:
    content = json.loads(json.dumps(raw_params))
    del content["irl"]["lr"]
    content["seed"] = 2**32
    content["pairs"]["samples"] = 0
    with pytest.raises(UserError) as caught:
        parse_params(content)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("seed is 4294967296" in line for line in lines)
    assert any("irl.lr is missing" in line for line in lines)
    assert any("pairs.samples is 0" in line for line in lines)


def test_exponent_without_point_is_a_number(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("margin: 1.0 ", "margin: 1e-06 "))
    assert parse_params(read_yaml(tmp_path / "params.yaml")).irl.margin == 1e-6


def numbers(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers of a file of params are."""
    inner = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in inner:
        if isinstance(value, dict | list):
            yield from numbers(value, (*path, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*path, key)


PIPELINE = read_yaml(ROOT / "params.yaml")
UNBOUNDED = ["irl.blocks", "rlhf.trainable_layers", "irl.reward"]  # words by default
AUDITS = read_yaml(ROOT / "audit/params.yaml")
ORGANISMS = read_yaml(ROOT / "organisms/params.yaml")
LEAVES = [
    *((parse_params, PIPELINE, path) for path in numbers(PIPELINE)),
    *((parse_params, PIPELINE, tuple(name.split("."))) for name in UNBOUNDED),
    *((partial(checked, AuditParams, name="f"), AUDITS, path) for path in numbers(AUDITS)),
    *((partial(checked, OrganismParams, name="f"), ORGANISMS, p) for p in numbers(ORGANISMS)),
]


@pytest.mark.parametrize(("parse", "content", "path"), LEAVES)
def test_every_number_has_bounds(
    parse: Callable[[Any], Any], content: Any, path: tuple[Any, ...]
) -> None:
    changed = json.loads(json.dumps(content))
    group = changed
    for key in path[:-1]:
        group = group[key]
    for value in (1e30, 10**12, 10**400, 10**5000, -(10**12)):
        group[path[-1]] = value
        with pytest.raises(UserError) as caught:
            parse(changed)
        (line,) = str(caught.value).splitlines()
        assert ".".join(map(str, path)) in line
        assert "it must be" in line
        assert len(line) < 300


@pytest.mark.parametrize("group", ["", "irl.bayes", "true_reward.weights"])
@pytest.mark.parametrize("key", ["a\nb", "a\u202eb", "k" * 5000, 1, None, True, ("a", "b")])
def test_a_key_of_any_kind_is_one_line(raw_params: dict[str, Any], key: Any, group: str) -> None:
    content = copy.deepcopy(raw_params)
    target = content
    for name in filter(None, group.split(".")):
        target = target[name]
    target[key] = 1
    with pytest.raises(UserError, match=r"in params\.yaml is not a known key") as caught:
        parse_params(content)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 800


def test_a_number_of_thousands_of_digits_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text().replace("seed: 0 ", f"seed: {'9' * 5000} "))
    with pytest.raises(UserError, match=r"params\.yaml is not valid YAML") as caught:
        read_yaml(path)
    assert len(str(caught.value).splitlines()) == 1


def test_bounds_are_above_what_is_used() -> None:
    large = {
        "base_policy.scratch": {"vocab_size": 262_144, "hidden_size": 16_384, "layers": 128},
        "rlhf": {"steps": 500_000, "generations": 512, "max_grad_norm": 1e9, "max_kl": 1e6},
        "irl": {"runs": 5_000, "epochs": 5_000, "l2": 1e6, "last_k": 100},
        "data": {"comments": 500_000_000, "max_words": 100_000},
        "evaluate": {"resamples": 100_000, "transfer_count": 10_000_000},
    }
    content = copy.deepcopy(PIPELINE)
    for name, values in large.items():
        group = content
        for key in name.split("."):
            group = group[key]
        group |= values
    parse_params(content)


def test_the_median_of_comments_wants_balanced_ones() -> None:
    content = read_yaml(ROOT / "params.yaml")
    content["evaluate"]["threshold"] = "human_median"
    parse_params(content, "params.yaml")
    for share in (0.3, None):
        content["data"]["toxic_share"] = share
        with pytest.raises(UserError, match=rf"data\.toxic_share is {share}"):
            parse_params(content, "params.yaml")
    content["data"]["toxic_share"] = 0.5
    content["true_reward"]["weights"] |= {"toxicity": 0, "length_target": 1.0}
    with pytest.raises(UserError, match=r"true_reward\.weights\.toxicity is 0"):
        parse_params(content, "params.yaml")


def with_value(content: dict[str, Any], path: str, value: Any) -> Params:
    """The params with another value at a path."""
    changed = json.loads(json.dumps(content))
    *groups, key = path.split(".")
    group = changed
    for name in groups:
        group = group[name]
    group[key] = value
    return parse_params(changed)


def test_every_registered_name_is_a_setting(raw_params: dict[str, Any]) -> None:
    exact = raw_params | {"irl": raw_params["irl"] | {"solver": "exact"}}
    for name in LOSSES:
        assert with_value(exact, "irl.loss", name).irl.loss == name
    for name in THRESHOLDS:
        assert with_value(raw_params, "evaluate.threshold", name).evaluate.threshold == name
    features = ["hidden_state", *TEXT_FEATURES]
    assert with_value(raw_params, "irl.features", features).irl.features == features


def test_a_part_that_is_not_named_counts_nothing(raw_params: dict[str, Any]) -> None:
    for names in (["toxicity"], ["toxicity", *NAMED]):
        weights = dict.fromkeys(["toxicity", *NAMED], 0.0) | dict.fromkeys(names, 2.0)
        found = with_value(raw_params, "true_reward.weights", weights).true_reward
        assert found.planted == dict.fromkeys(names, 2.0)
        short = with_value(raw_params, "true_reward.weights", found.planted).true_reward
        assert short.planted == found.planted


class OneStage(Group):
    seed: Seed
    compute: Compute
    parts: Parts
    true_reward: RewardSum
    evaluate: Reports


class OtherStage(Group):
    true_reward: Classifier
    evaluate: Transfer


def test_a_stage_is_handed_its_own_keys(params: Params) -> None:
    one, other = for_stage(params, OneStage), for_stage(params, OtherStage)
    assert type(one) is OneStage
    assert one.seed == params.seed
    assert one.compute == params.compute
    assert one.parts == params.parts
    assert one.true_reward.planted == params.true_reward.planted
    assert one.evaluate.threshold == params.evaluate.threshold
    assert other.true_reward.scratch == params.true_reward.scratch
    assert other.evaluate.transfer_prompts is None


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (OneStage, "irl"),
        (OneStage, "rlhf"),
        (OneStage, "data"),
        (OneStage, "true_reward.scratch"),
        (OneStage, "true_reward.source"),
        (OneStage, "evaluate.transfer_prompts"),
        (OtherStage, "seed"),
        (OtherStage, "true_reward.weights"),
        (OtherStage, "evaluate.threshold"),
        (OtherStage, "evaluate.resamples"),
    ],
)
def test_a_stage_is_handed_no_other_key(params: Params, kind: type[Group], path: str) -> None:
    *groups, key = path.split(".")
    group: Any = for_stage(params, kind)
    whole: Any = params
    for name in groups:
        group, whole = getattr(group, name), getattr(whole, name)
    assert hasattr(whole, key)
    with pytest.raises(AttributeError, match=key):
        getattr(group, key)
