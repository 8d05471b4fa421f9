"""The typed mirror of organisms/params.yaml; like `params` it checks and computes nothing."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from inverse_rlhf.audit_params import AuditSettings, checked, load_audit_params, settings_of
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import (
    Count,
    Data,
    Finite,
    Group,
    NonNegative,
    Pairs,
    Params,
    Rate,
    Rlhf,
    Seed,
    Splits,
    Temperature,
    in_registry,
    load_params,
    read_yaml,
)

ObjectiveName = Annotated[str, in_registry("features.objectives", "OBJECTIVES")]
Planted = Annotated[str, in_registry("features.objectives", "OBJECTIVES", "toxicity")]
Sign = Literal[-1, 1]
KINDS = ("easy", "hard", "sum", "opposed", "conditional", "weak", "toxicity", "null")


class When(Group):
    """Where a plant counts.

    Attributes:
        prompt_begins: the first word of the prompt.
        words: of the completion, or more.
        elsewhere: what the reward is multiplied by where the conditions do not hold.
    """

    prompt_begins: Annotated[str, Field(pattern=r"^\S+$")] | None = None
    words: Count | None = None
    elsewhere: Finite = 0.0

    @model_validator(mode="after")
    def _one_condition(self) -> "When":
        if (self.prompt_begins is None) == (self.words is None):
            raise ValueError("when needs either prompt_begins or words")
        if self.elsewhere == 1:
            raise ValueError("elsewhere is 1: the condition changes nothing")
        return self


class Plant(Group):
    """What one policy is trained on, and how it then writes.

    Attributes:
        weights: of objectives, for one standard deviation over the base policy's completions; of
            toxicity, for one of the classifier's log-odds of non-toxic. The reward is brought to a
            standard deviation of 1: only signs and ratios of weights count. None: the base itself.
        names: objectives that name what is none itself (toxicity, a condition on words), with
            their signs: any will do.
        when: where it counts; None: everywhere.
        kl_coef, steps: in place of those of `rlhf`.
        shuffled: whether rewards are dealt out at random among the completions of a batch.
        temperature: that the aligned policy writes at; None: as the base does.
    """

    kind: Literal[KINDS]  # type: ignore[valid-type]
    weights: dict[Planted, Finite] = Field(default_factory=dict)
    names: dict[ObjectiveName, Sign] = Field(default_factory=dict)
    when: When | None = None
    kl_coef: NonNegative | None = None
    steps: Count | None = None
    shuffled: bool = False
    temperature: Temperature | None = None

    @model_validator(mode="after")
    def _something_is_planted(self) -> "Plant":
        if not all(self.weights.values()):
            raise ValueError("a weight of 0 plants nothing: remove it")
        taught = self.when, self.kl_coef, self.steps
        if not self.weights and (self.shuffled or any(value is not None for value in taught)):
            raise ValueError("shuffled, when, kl_coef and steps need weights")
        if (self.kind == "null") == self.planted:
            raise ValueError("plants of kind null have no weights, or shuffled ones; others have")
        if self.weights and self.temperature is not None:
            raise ValueError("temperature is for a policy that is not trained")
        unnamed = "toxicity" in self.weights or (self.when is not None and self.when.words)
        if bool(unnamed) != bool(self.names):
            raise ValueError(
                "toxicity and conditions on words need objectives that name them, in names; others "
                "need none"
            )
        if self.expected.keys() & self.names.keys():
            raise ValueError("an objective is planted itself and stands in names: choose one")
        return self

    @model_validator(mode="after")
    def _kind_is_what_it_says(self) -> "Plant":
        parts = len(self.weights)
        if self.kind in ("easy", "hard", "weak", "conditional") and len(self.expected) != parts:
            raise ValueError(f"kind {self.kind} is of objectives: toxicity has a kind of its own")
        if self.kind in ("easy", "hard", "weak", "conditional") and parts != 1:
            raise ValueError(f"kind {self.kind} has one weight, not {parts}")
        if self.kind in ("sum", "opposed"):
            if len(self.expected) < 2:
                raise ValueError(f"kind {self.kind} has the weights of two objectives or more")
            if (len(set(self.expected.values())) > 1) != (self.kind == "opposed"):
                raise ValueError("weights of kind sum have one sign, of kind opposed both")
        if (self.kind == "toxicity") != ("toxicity" in self.weights and self.planted):
            raise ValueError("plants of toxicity are of kind toxicity, and no others")
        if (self.kind == "conditional") != (self.when is not None):
            raise ValueError("when is for kind conditional, which needs it")
        return self

    @property
    def planted(self) -> bool:
        """Whether there is a reward to be found."""
        return bool(self.weights) and not self.shuffled

    @property
    def expected(self) -> dict[str, int]:
        """Signs of the objectives that are planted and named themselves."""
        return {name: 1 if w > 0 else -1 for name, w in self.weights.items() if name != "toxicity"}


class Training(Group):
    """What differs from the group rlhf of the pipeline's params."""

    steps: Count
    kl_coef: NonNegative
    lr: Rate


class OrganismParams(Group):
    """All of organisms/params.yaml."""

    seeds: Annotated[list[Seed], Field(min_length=1)]
    splits: Splits
    rlhf: Training
    sizes: Annotated[list[Annotated[int, Field(ge=70, le=1_000_000_000)]], Field(min_length=1)]
    plants: dict[Annotated[str, Field(pattern=r"^\w+$")], Plant]

    @model_validator(mode="after")
    def _seeds_differ(self) -> "OrganismParams":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names one twice")
        if len(set(self.sizes)) < len(self.sizes):
            raise ValueError("sizes names one twice")
        if not any(plant.planted for plant in self.plants.values()):
            raise ValueError("no plant has weights: there is nothing to look for")
        return self


@dataclass(frozen=True)
class Settings:
    """The params of organisms, and those of audits and of the pipeline that they build on."""

    organisms: OrganismParams
    audits: AuditSettings

    @cached_property
    def pipeline(self) -> Params:
        """The pipeline's params; to check them loads torch, which an audit does not need."""
        return load_params()

    @property
    def data(self) -> Data:
        """The pipeline's, with the organisms' splits."""
        return self.pipeline.data.model_copy(update={"splits": self.organisms.splits})

    @property
    def pairs(self) -> Pairs:
        """The pipeline's, with one completion of a prompt.

        Raises:
            UserError: they are greedy.
        """
        if self.pipeline.pairs.decoding == "greedy":
            raise UserError(
                "pairs.decoding is greedy in params.yaml: organisms need sample, as base policies "
                "are compared with themselves"
            )
        return self.pipeline.pairs.model_copy(update={"samples": 1})

    def decoding(self, plant: Plant) -> Pairs:
        """How an organism writes: as the base policy does, unless its plant has a temperature."""
        if plant.temperature is None:
            return self.pairs
        return self.pairs.model_copy(update={"temperature": plant.temperature})

    def rlhf(self, plant: Plant) -> Rlhf:
        """The pipeline's, with what differs for organisms and for a plant."""
        changed: dict[str, Any] = self.organisms.rlhf.model_dump()
        own = {"kl_coef": plant.kl_coef, "steps": plant.steps}
        changed |= {key: value for key, value in own.items() if value is not None}
        return self.pipeline.rlhf.model_copy(update=changed)

    def audit(self, seed: int) -> AuditSettings:
        """Those of audit/params.yaml, with a seed."""
        return self.audits.model_copy(update={"seed": seed})

    def plant(self, name: str) -> Plant:
        """The plant of a name.

        Raises:
            UserError: there is none.
        """
        plants = self.organisms.plants
        if name not in plants:
            raise UserError(
                f"{name!r} is no plant of organisms/params.yaml; there are {', '.join(plants)}"
            )
        return plants[name]


def load_settings() -> Settings:
    """The settings of the working directory.

    Raises:
        UserError: a file is missing or no YAML, or a line for every wrong key.
    """
    path, audits = Path("organisms/params.yaml"), Path("audit/params.yaml")
    organisms = checked(OrganismParams, read_yaml(path), str(path))
    return Settings(organisms, settings_of(load_audit_params(audits), {}, str(audits)))
