"""The typed mirror of audit/params.yaml; like `params` it checks and computes nothing."""

import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from inverse_rlhf.errors import UserError
from inverse_rlhf.params import (
    Compute,
    Group,
    Name,
    NGram,
    Pairs,
    Seed,
    Share,
    error_lines,
    read_yaml,
)

PACKAGED = Path(__file__).with_name("audit.yaml")
"""The settings of audit/params.yaml, as they are installed with the package."""


class Shares(Group):
    """Which share of the prompts goes to each split."""

    irl: Share
    valid: Share
    test: Share

    @model_validator(mode="after")
    def _sum_is_one(self) -> "Shares":
        total = self.irl + self.valid + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"irl, valid and test sum to {total:g}, they must sum to 1")
        return self


class Audit(Group):
    """How an audit is made.

    Attributes:
        level: the chance that anything is found where both sides are alike.
        body: an encoder or language model whose hidden states stand beside the objectives.
    """

    splits: Shares
    runs: Annotated[int, Field(ge=10, le=10_000)]
    null_runs: Annotated[int, Field(ge=20, le=100_000)]
    level: Annotated[float, Field(ge=0.001, le=0.5)]
    resamples: Annotated[int, Field(ge=100, le=1_000_000)]
    ngram: NGram
    body: Name | None
    body_revision: Name | None
    pooling: Literal["last", "mean"]
    slice_pairs: Annotated[int, Field(ge=20, le=1_000_000_000)]
    examples: Annotated[int, Field(ge=0, le=100)]

    @model_validator(mode="after")
    def _nulls_reach_the_level(self) -> "Audit":
        if self.null_runs * self.level < 1:
            raise ValueError(
                f"null_runs is {self.null_runs}: of so few none tells a level of {self.level:g}; "
                f"take {math.ceil(1 / self.level)} or more"
            )
        return self


class AuditSettings(Group):
    """What `audit` reads: everything but where the pairs come from."""

    seed: Seed
    compute: Compute
    audit: Audit


class Policies(Group):
    """Two policies to sample from, by a file of prompts.

    Attributes:
        base, aligned: folders in hub layout, adapters or hub ids, which need a revision.
        prompt_column: of `prompts`, with text or messages.
        chat: whether each text goes to the models as a user's message of their chat templates.
    """

    base: Name
    aligned: Name
    prompts: Name
    base_revision: Name | None = None
    aligned_revision: Name | None = None
    prompt_column: Name = "prompt"
    chat: bool = False
    trust_remote_code: bool = False


class Sampling(Group):
    """What completions of two policies depend on, beside files.

    Attributes:
        models: digests of the policies' files, or commits of the hub, by what they are of.
    """

    seed: Seed
    compute: Compute
    pairs: Pairs
    policies: Policies
    models: dict[str, str] = Field(default_factory=dict)


class Answers(Group):
    """Two files, each with one model's answers."""

    base: Name
    aligned: Name


class Source(Group):
    """One audit: its pairs, and the settings of group `audit` that differ for it."""

    pairs: Name
    columns: dict[str, str] = Field(default_factory=dict)
    set: dict[str, Any] = Field(default_factory=dict)


class AuditParams(AuditSettings):
    """All of audit/params.yaml."""

    pairs: Pairs
    audits: dict[str, Source]
    policies: dict[str, Policies]
    hub_policies: dict[str, Policies]
    answers: dict[str, Answers]


def load_audit_params(
    path: Path = PACKAGED,
    *,
    overrides: dict[str, Any] | None = None,
    name: str | None = None,
) -> AuditParams:
    """The whole file.

    Args:
        overrides: keys of it, nested ones joined by dots, and the values they have instead.
        name: where they come from, for messages; None: the file.

    Raises:
        UserError: the file is missing or no YAML, or a line for every unknown or missing key and
            every value of a wrong type or range.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no params: restore it from the repository")
    for key, value in (overrides or {}).items():
        _override(content, key, value, name or path.name)
    return checked(AuditParams, content, name or path.name)


Entry = TypeVar("Entry")


def entry(mapping: dict[str, Entry], name: str) -> Entry:
    """What audit/params.yaml has under a name.

    Raises:
        UserError: nothing.
    """
    if name not in mapping:
        known = ", ".join(mapping) or "none"
        raise UserError(f"{name!r} is not in audit/params.yaml; there are {known}")
    return mapping[name]


def settings_of(params: AuditParams, overrides: dict[str, Any], where: str) -> AuditSettings:
    """The settings of one audit.

    Args:
        overrides: keys of group `audit`, nested ones joined by dots, and their values.
        where: they come from, for messages.

    Raises:
        UserError: like `load_audit_params`.
    """
    content = params.model_dump(include=set(AuditSettings.model_fields))
    for key, value in overrides.items():
        whole = key == "seed" or key.startswith("compute.")
        _override(content if whole else content["audit"], key, value, where)
    return checked(AuditSettings, content, where)


def _override(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    group: Any = content
    *outer, last = key.split(".")
    for name in outer:
        group = group.get(name) if isinstance(group, dict) else None
    if not isinstance(group, dict) or last not in group:
        raise UserError(f"{where}: {key} is no setting of an audit: see audit/params.yaml")
    group[last] = value


Kind = TypeVar("Kind", bound=Group)


def checked(kind: type[Kind], content: Any, name: str) -> Kind:
    """The content as a group of params.

    Raises:
        UserError: a line for every key that is wrong in what is called `name`.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError("\n".join(error_lines(error, name))) from None
