"""The typed mirror of params.yaml: the only module that knows its keys and ranges.

It checks and computes nothing, so no stage depends on it: a new key reruns the stages that declare
it. `ParamsFile` is the whole file, checked at every start; a stage is handed the class of its own
groups, which is what dvc.yaml declares for it.
"""

import importlib
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from inverse_rlhf.errors import UserError


def _word_or_integer(*words: str, lowest: int, highest: int) -> BeforeValidator:
    """One message for a union; pydantic's own is a contradictory line for each member."""

    def check(value: Any) -> Any:
        if value in words or (type(value) is int and lowest <= value <= highest):
            return value
        known = ", ".join(words)
        raise ValueError(f"it must be {known} or an integer >= {lowest} and <= {highest}")

    return BeforeValidator(check)


def _one_line(name: str) -> str:
    """Messages name files and columns, and are one line."""
    if re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029]", name):
        raise ValueError("it must be without line breaks and other control characters")
    return name


def _registry(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"inverse_rlhf.{module}"), name)


def in_registry(module: str, name: str, *others: str) -> AfterValidator:
    """The names of a registry, which is imported when a value is checked, and some others.

    Of a long registry a message names the first and says where the others are.
    """

    def check(value: str) -> str:
        known = [*others, *_registry(module, name)]
        if value not in known:
            shown, last = known[:-1], known[-1]
            if len(known) > 12:
                shown, last = known[:6], f"another of {name} in {module.replace('.', '/')}.py"
            raise ValueError(f"it must be {', '.join(shown)} or {last}")
        return value

    return AfterValidator(check)


Loss = Annotated[str, in_registry("irl.losses", "LOSSES")]
Threshold = Annotated[str, in_registry("rewards.thresholds", "THRESHOLDS")]
Feature = Annotated[str, in_registry("features.text", "TEXT_FEATURES", "hidden_state")]
Part = Annotated[str, in_registry("features.text", "NAMED", "toxicity")]
Pooling = Literal["last", "mean"]
# Upper bounds are far above any real use: beyond them a run would never end, or fit no memory.
_ROWS = 1_000_000_000
_RUNS = 10_000
_BLOCKS = 1_000
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Natural = Annotated[int, Field(ge=0, le=1_000_000)]
Rows = Annotated[int, Field(ge=1, le=_ROWS)]
Runs = Annotated[int, Field(ge=1, le=_RUNS)]
Epochs = Annotated[int, Field(ge=1, le=10_000)]
# On fewer prompts rank correlations and cuts mean nothing.
HeldOut = Annotated[int, Field(ge=10, le=_ROWS)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # what numpy takes
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0, ge=1e-4, le=1e4, allow_inf_nan=False)]
Probability = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]


LoraRank = Annotated[int, Field(ge=0, le=10_000)]
Blocks = Annotated[Literal["all"] | Count, _word_or_integer("all", lowest=1, highest=_BLOCKS)]


class Group(BaseModel):
    """A group of params: every key is required, no other is allowed, values never change.

    Strict: no text, boolean or fraction passes for an integer, nothing but true and false for a
    boolean. The YAML 1.2 reader gives numbers such as `1e-06` as numbers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _command(text: str) -> str:
    """What a stage's name can follow in a shell's `exec`."""
    try:
        words = shlex.split(text)
    except ValueError:  # a quotation without its end
        words = []
    if len(words) < 2 or words[-1] != "-m" or "=" in words[0] or re.search("[;&|<>`$#\n]", text):
        raise ValueError(
            "it must be one command that ends with -m, which a stage's name follows, such as "
            "python -m or torchrun --nproc_per_node 2 -m; variables are set by env NAME=VALUE"
        )
    return text


Command = Annotated[str, AfterValidator(_command)]


class Launch(Group):
    """How the stages that several processes can share are started; see dvc.yaml."""

    rlhf_train: Command
    generate_pairs: Command
    maxmargin_irl: Command
    rerl_with_irl_rm: Command
    evaluate: Command


class Compute(Group):
    """Where and how models run."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$")]
    dtype: Literal["float32", "bfloat16", "float16"]
    bf16: bool
    gradient_checkpointing: bool
    batch_size: Count
    fast: bool


class Splits(Group):
    """Prompts in each split."""

    rl: Rows
    irl: HeldOut
    valid: HeldOut
    test: HeldOut


class Place(Group):
    """Where data or a model come from: made here, a file or folder, or a hub id."""

    source: Name
    revision: Name | None


class Data(Place):
    """The comments and the prompts made of them."""

    hub_split: Name
    text_column: Name
    prompt_column: Name | None
    label_column: Name | None
    comments: Rows | None
    toxic_share: Share | None
    max_words: Count
    prompt_words: Count
    splits: Splits

    @model_validator(mode="after")
    def _prompt_is_shorter(self) -> "Data":
        if self.prompt_words >= self.max_words:
            raise ValueError("prompt_words must be smaller than max_words")
        return self

    @model_validator(mode="after")
    def _given_prompts_are_of_a_file(self) -> "Data":
        if self.prompt_column is not None and self.source == "embedded":
            raise ValueError(
                f"prompt_column is {self.prompt_column!r}, but the embedded comments have no "
                "prompts of their own: it must be null"
            )
        if self.prompt_column == self.text_column:
            raise ValueError(f"prompt_column and text_column are both {self.text_column!r}")
        return self

    @model_validator(mode="after")
    def _a_share_needs_labels(self) -> "Data":
        if self.label_column is None and self.toxic_share is not None:
            raise ValueError(
                f"toxic_share is {self.toxic_share}, but label_column is null: without labels it "
                "must be null, too"
            )
        return self


class Parts(Group):
    """What the parts of a reward that need no model mean."""

    length_target: Count
    keyword: Annotated[str, Field(pattern=r"^\w+$")]


class ScratchTokens(Group):
    """What the tokenizer of a small model has, and how much the model reads."""

    vocab_size: Annotated[int, Field(ge=300, le=1_000_000)]
    max_tokens: Annotated[int, Field(ge=8, le=1_000_000)]


class Scratch(ScratchTokens):
    """A small model trained from scratch."""

    hidden_size: Annotated[int, Field(ge=1, le=100_000)]
    layers: Annotated[int, Field(ge=1, le=_BLOCKS)]
    heads: Annotated[int, Field(ge=1, le=1_000)]
    lr: Rate
    epochs: Epochs
    batch_size: Count

    @model_validator(mode="after")
    def _heads_divide(self) -> "Scratch":
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be a multiple of 2 * heads")
        return self


class Source(Place):
    """Where a model comes from."""

    trust_remote_code: bool


class PolicyContext(Source):
    """What decides how long a model's texts can be."""

    scratch: ScratchTokens


class NewTokens(Group):
    """How long completions can be."""

    max_new_tokens: Count


class Rollouts(NewTokens):
    """What policy training needs of its prompts."""

    batch_size: Count


class Pretrained(PolicyContext):
    """A model that is given or trained."""

    scratch: Scratch


class Head(Group):
    """Which output of the toxicity classifier is read, and how."""

    toxic_label: Natural
    higher_is: Literal["toxic", "non_toxic"]
    neutral: Finite


class Classifier(Pretrained, Head):
    """The toxicity classifier."""

    @model_validator(mode="after")
    def _scratch_has_one_reading(self) -> "Classifier":
        if self.source == "scratch" and (self.toxic_label, self.higher_is) != (1, "toxic"):
            raise ValueError(
                "toxic_label must be 1 and higher_is toxic with source scratch: it is trained so"
            )
        return self


class RewardSum(Head):
    """The true reward: a weighted sum of parts, one of which is the classifier's."""

    weights: dict[Part, Finite]

    @model_validator(mode="after")
    def _not_all_zero(self) -> "RewardSum":
        if not any(self.weights.values()):
            raise ValueError("every weight is 0: there is nothing to align to")
        return self

    @property
    def planted(self) -> dict[str, float]:
        """The parts that count, and their weights."""
        return {name: weight for name, weight in self.weights.items() if weight}


class TrueReward(Classifier, RewardSum):
    """The reward that the aligned policy is trained on."""


class Decoding(NewTokens):
    """How completions are drawn."""

    min_new_tokens: Natural
    temperature: Temperature
    top_k: Natural
    top_p: Probability

    @model_validator(mode="after")
    def _lengths_in_order(self) -> "Decoding":
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError("min_new_tokens must not exceed max_new_tokens")
        return self


class Rlhf(Decoding, Rollouts):
    """Policy training, on either reward."""

    algorithm: Literal["rloo", "grpo"]
    steps: Count
    generations: Annotated[int, Field(ge=2, le=10_000)]
    gradient_accumulation: Count
    iterations: Annotated[int, Field(ge=1, le=1_000)]
    lr: Rate
    lr_schedule: Literal["linear", "cosine", "constant_with_warmup"]
    warmup_steps: Natural
    weight_decay: NonNegative
    max_grad_norm: Positive
    kl_coef: NonNegative
    max_kl: Positive
    clip: Positive
    reward_clip: Positive
    trainable_layers: Blocks
    lora_rank: LoraRank
    lora_save: Literal["merged", "adapter"]
    generation: Literal["generate", "continuous_batching", "vllm_colocate", "vllm_server"]

    def check_engine(self) -> None:
        """Check that what draws completions is installed.

        Raises:
            UserError: it is not.
        """
        if self.generation.startswith("vllm") and find_spec("vllm") is None:
            raise UserError(
                f"rlhf.generation is {self.generation}, but vLLM is not installed: "
                "`pip install 'trl[vllm]'`, on a machine with a GPU, or set it to generate"
            )

    @model_validator(mode="after")
    def _continuous_batches_end_anywhere(self) -> "Rlhf":
        if self.generation == "continuous_batching" and self.min_new_tokens:
            raise ValueError(
                f"min_new_tokens is {self.min_new_tokens}, which generation continuous_batching "
                "would ignore: set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _adapters_are_of_all_layers(self) -> "Rlhf":
        if self.lora_rank and self.trainable_layers != "all":
            raise ValueError(
                f"trainable_layers is {self.trainable_layers}, but lora_rank {self.lora_rank} "
                "trains adapters of all layers: set trainable_layers to all, or lora_rank to 0"
            )
        if self.lora_save == "adapter" and not self.lora_rank:
            raise ValueError("lora_save adapter needs a lora_rank above 0: set it to merged")
        return self

    @model_validator(mode="after")
    def _batch_splits(self) -> "Rlhf":
        if (self.batch_size * self.generations) % self.gradient_accumulation:
            raise ValueError("gradient_accumulation must divide batch_size * generations")
        return self


class Pairs(Decoding):
    """The completions that are compared."""

    decoding: Literal["sample", "greedy"]
    samples: Annotated[int, Field(ge=1, le=10_000)]

    @model_validator(mode="after")
    def _greedy_is_single(self) -> "Pairs":
        if self.decoding == "greedy" and self.samples > 1:
            raise ValueError(
                "samples must be 1 with greedy decoding: every sample would be the same"
            )
        return self


class NGram(Group):
    """tf-idf features."""

    analyzer: Literal["word", "char_wb"]
    min_n: Annotated[int, Field(ge=1, le=100)]
    max_n: Annotated[int, Field(ge=1, le=100)]
    max_features: Annotated[int, Field(ge=1, le=10_000_000)]
    min_texts: Rows

    @model_validator(mode="after")
    def _lengths_in_order(self) -> "NGram":
        if self.min_n > self.max_n:
            raise ValueError("min_n must not exceed max_n")
        return self


class Bayes(Group):
    """The Gaussian posterior of the reward's weights."""

    prior_std: Annotated[float, Field(ge=1e-3, le=1e3)]
    rounds: Count


class FailureAware(Group):
    """The correction of a first reward."""

    tied: NonNegative
    margin: Positive
    bound: Positive
    epochs: Epochs


class Body(Group):
    """Whose hidden states are weighed."""

    body: Name
    body_revision: Name | None


class Irl(Body):
    """The fits that recover the reward."""

    method: Literal["standard", "bayes", "failure_aware"]
    runs: Runs
    control_runs: Runs
    reward: Annotated[
        Literal["median_run", "ensemble"] | Natural,
        _word_or_integer("median_run", "ensemble", lowest=0, highest=_RUNS),
    ]
    features: Annotated[list[Feature], Field(min_length=1)]
    blocks: Blocks
    pooling: Pooling
    ngram: NGram
    solver: Literal["adam", "exact"]
    loss: Loss
    margin: Positive
    temperature: Temperature
    l2: NonNegative
    trainable: Literal["head", "last_k", "lora", "all"]
    last_k: Annotated[int, Field(ge=1, le=_BLOCKS)]
    lora_rank: Annotated[LoraRank, Field(ge=1)]
    optimizer: Literal["adam", "adamw"]
    lr: Rate
    weight_decay: NonNegative
    max_grad_norm: Positive
    epochs: Epochs
    batch_size: Count
    bootstrap: bool
    bayes: Bayes
    failure_aware: FailureAware

    @model_validator(mode="after")
    def _fits_together(self) -> "Irl":
        if len(set(self.features)) < len(self.features):
            raise ValueError("features names one kind twice")
        if isinstance(self.reward, int) and self.reward >= self.runs:
            raise ValueError(
                f"reward is run {self.reward}, but runs are counted from 0 to runs - 1"
            )
        if self.trainable != "head":
            frozen = {
                "features": self.features == ["hidden_state"],
                "solver": self.solver == "adam",
                "method": self.method == "standard",
                "reward": self.reward != "ensemble",
            }
            for key, possible in frozen.items():
                if not possible:
                    value = getattr(self, key)
                    raise ValueError(f"{key} {value} needs trainable: head, a linear reward")
        solved = self.needs_policies or self.loss in _registry("irl.solvers", "SOLVERS")
        if self.solver == "exact" and not solved:
            raise ValueError(f"solver exact has no solution for loss {self.loss}: take adam")
        if self.solver == "exact" and self.loss == "hinge" and self.l2 == 0:
            raise ValueError("solver exact with loss hinge needs an l2 above 0")
        if self.trainable == "last_k" and self.blocks != "all" and self.last_k > self.blocks:
            raise ValueError(f"last_k is {self.last_k}, but blocks is {self.blocks}: lower it")
        same = self.method == "standard" and self.solver == "exact" and not self.bootstrap
        if same and self.runs > 1:
            raise ValueError("solver exact without bootstrap fits the same reward runs times")
        if self.method == "failure_aware" and self.solver == "exact":
            raise ValueError("solver exact does not go with method failure_aware")
        return self

    @property
    def needs_policies(self) -> bool:
        """Whether the loss compares with what both policies say of a completion."""
        return bool(_registry("irl.losses", "LOSSES")[self.loss].needs_policies)

    @model_validator(mode="after")
    def _body_is_frozen_unless_base(self) -> "Irl":
        if self.body == "none" and "hidden_state" in self.features:
            raise ValueError("features name hidden_state, but body is none: take base or another")
        if self.body not in ("base", "none"):
            for key, only in (("trainable", "head"), ("blocks", "all")):
                if (value := getattr(self, key)) != only:
                    raise ValueError(f"{key} {value} needs body: base; another one is read whole")
        return self

    @model_validator(mode="after")
    def _policies_teach_exactly(self) -> "Irl":
        if not self.needs_policies:
            return self
        only = {"solver": "exact", "trainable": "head", "method": "standard"}
        for key, value in only.items():
            if getattr(self, key) != value:
                raise ValueError(f"loss {self.loss} needs {key}: {value}")
        if self.l2 == 0:
            raise ValueError(f"loss {self.loss} needs an l2 above 0")
        return self


class TransferFile(Group):
    """The file of prompts of another domain."""

    transfer_prompts: Name | None


class Transfer(TransferFile):
    """Prompts of another domain."""

    transfer_column: Name
    transfer_count: Rows


class Reports(Group):
    """How the reports are made."""

    resamples: Annotated[int, Field(ge=100, le=1_000_000)]
    threshold: Threshold


class Evaluate(Transfer, Reports):
    """The last stage."""


class Params(Group):
    """All of params.yaml that a result depends on."""

    seed: Seed
    checkpoints: Natural
    compute: Compute
    data: Data
    parts: Parts
    base_policy: Pretrained
    true_reward: TrueReward
    rlhf: Rlhf
    pairs: Pairs
    irl: Irl
    evaluate: Evaluate

    @model_validator(mode="after")
    def _enough_prompts(self) -> "Params":
        if self.rlhf.batch_size > self.data.splits.rl:
            raise ValueError(
                f"rlhf.batch_size is {self.rlhf.batch_size}, but data.splits.rl has "
                f"{self.data.splits.rl} prompts: lower it"
            )
        return self

    @model_validator(mode="after")
    def _trained_weights_keep_their_precision(self) -> "Params":
        if self.compute.bf16 and self.rlhf.generation == "continuous_batching":
            raise ValueError(
                "compute.bf16 is true, with which rlhf.generation continuous_batching would leave "
                "the trained weights in bfloat16: set bf16 to false, or generation to generate"
            )
        return self

    @model_validator(mode="after")
    def _vllm_is_where_the_policy_is(self) -> "Params":
        if self.compute.device.startswith("cuda:") and self.rlhf.generation == "vllm_colocate":
            raise ValueError(
                f"compute.device is {self.compute.device}, but rlhf.generation vllm_colocate draws "
                "on the first GPU: set device to cuda, and CUDA_VISIBLE_DEVICES in the environment"
            )
        return self

    @model_validator(mode="after")
    def _a_classifier_needs_labels(self) -> "Params":
        if self.data.label_column is None and self.true_reward.source == "scratch":
            raise ValueError(
                "true_reward.source is scratch, but data.label_column is null: name a column of "
                "labels to train the classifier on, or a classifier"
            )
        return self

    @model_validator(mode="after")
    def _half_of_the_comments_are_toxic(self) -> "Params":
        if self.evaluate.threshold != "human_median":
            return self
        share = self.data.toxic_share
        if share != 0.5:
            raise ValueError(
                f"evaluate.threshold human_median takes half of the comments for toxic, but "
                f"data.toxic_share is {share}: set another threshold"
            )
        if not self.true_reward.weights.get("toxicity"):
            raise ValueError(
                "evaluate.threshold human_median cuts where half of the comments are toxic, but "
                "true_reward.weights.toxicity is 0: set another threshold"
            )
        return self

    @model_validator(mode="after")
    def _scratch_is_large_enough(self) -> "Params":
        """Of a policy trained here the size is known before any work."""
        if self.base_policy.source != "scratch":
            return self
        scratch = self.base_policy.scratch
        fault = self.too_large(
            scratch.layers,
            scratch.max_tokens,
            called=("base_policy.scratch.layers", "base_policy.scratch.max_tokens"),
        )
        if fault:
            raise ValueError(fault)
        return self

    def too_large(self, blocks: int, context: int, *, called: tuple[str, str]) -> str | None:
        """What is wrong with settings that the base policy's size bounds; None: nothing.

        Args:
            blocks: how many transformer blocks it has.
            context: how many tokens it reads.
            called: what the message calls these two.
        """
        of_blocks: dict[str, Any] = {
            "rlhf.trainable_layers": self.rlhf.trainable_layers,
            "irl.blocks": self.irl.blocks,
            "irl.last_k": self.irl.last_k,
        }
        for key, value in of_blocks.items():
            if value != "all" and value > blocks:
                return f"{key} is {value}, but {called[0]} is {blocks}: lower it"
        for key, decoding in (("rlhf", self.rlhf), ("pairs", self.pairs)):
            if (new := decoding.max_new_tokens) >= context:
                return f"{key}.max_new_tokens is {new}, but {called[1]} is {context}: lower it"
        return None


class ParamsFile(Params):
    """All of params.yaml."""

    launch: Launch


class Launched(Group):
    """What says how stages are started."""

    launch: Launch


Stage = TypeVar("Stage", bound=Group)


def for_stage(params: Params, kind: type[Stage]) -> Stage:
    """The groups and keys of `params` that a stage's class names, and no others."""
    return kind.model_validate(params.model_dump(include=_fields(kind)))


def _fields(kind: Any) -> dict[str, Any]:
    """The keys of a class and of the groups in it, as pydantic's `include`."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        is_group = isinstance(inner, type) and issubclass(inner, Group)
        found[name] = _fields(inner) if is_group else True
    return found


def load_part(kind: type[Stage], path: Path = Path("params.yaml")) -> Stage:
    """A stage's own part of a YAML file; the rest is not checked, which would load torch.

    Raises:
        UserError: see `parse_params`.
    """
    content = _only(read_yaml(path), _fields(kind))
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, path.name))) from None


def _only(content: Any, fields: Any) -> Any:
    if not isinstance(content, dict) or not isinstance(fields, dict):
        return content
    return {key: _only(value, fields[key]) for key, value in content.items() if key in fields}


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, as YAML 1.2 (so that `1e-06` is a number).

    Raises:
        UserError: the file is missing or is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run from the project's root") from None
    except (YAMLError, ValueError) as error:  # such as a number of thousands of digits
        line = " ".join(str(error).split())
        raise UserError(f"{path} is not valid YAML: {line[:500]}") from None


def parse_params(content: Any, name: str = "params.yaml") -> Params:
    """Params from the parsed content of a YAML file.

    Args:
        content: nested mappings, as `read_yaml` returns them.
        name: the file's name, for messages.

    Raises:
        UserError: no mapping, or a line for every unknown or missing key and every value of a wrong
            type or range.
    """
    if not isinstance(content, dict):
        raise UserError(f"{name} holds no params: restore it from the repository")
    try:
        return ParamsFile.model_validate(content)
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, name))) from None


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Params from a YAML file; see `parse_params`."""
    return parse_params(read_yaml(path), path.name)


def error_lines(error: ValidationError, name: str) -> list[str]:
    """A line for each thing that is wrong in the file of that name."""
    return list(dict.fromkeys(_describe(dict(item), name) for item in error.errors()))


def _describe(error: dict[str, Any], name: str) -> str:
    path = [str(part) for part in error["loc"]]
    path = [part for part in path if not part.startswith(("literal[", "function-"))]
    key = _plain(".".join(path)) or name
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return f"{key} is missing in {name}: add it"
    if kind in ("extra_forbidden", "invalid_key"):
        return f"{key} in {name} is not a known key: remove it or correct its spelling"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = message.replace("String should", "a string and")
    message = message.replace("List should", "a list and")
    if path and path[-1] == "[key]":
        return f"{_plain('.'.join(path[:-1]))} in {name} is not a known key: {message}"
    given = _shown(value)
    if kind == "value_error":
        if isinstance(value, dict):
            return f"{key} in {name}: {message}" if path else f"{name}: {message}"
        return f"{key} is {given} in {name}: {message}"
    return f"{key} is {given} in {name}: it must be {message}"


def _plain(key: str) -> str:
    """A key as messages have it, which are of one line."""
    key = key if key.isprintable() else repr(key)
    return key if len(key) <= 200 else f"{key[:200]}..."


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:60]}...{text[-30:]}"
