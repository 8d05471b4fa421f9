"""How a recovered reward is read: what reward.json in its folder says of that."""

from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from inverse_rlhf.errors import UserError, first_line
from inverse_rlhf.params import Pooling

BodyKind = Literal["sequence_classifier", "body", "none"]


class Reading(BaseModel):
    """What reward.json says of how a recovered reward is read; the rest of it is `RewardCard`'s.

    Attributes:
        features: what the reward reads.
        body: sequence_classifier: the folder's transformer has the head as its output layer and is
            the whole reward, body: the head is in head.safetensors beside it, none: there is no
            transformer.
        pooling: where it reads hidden states: at the last token, or their mean over the tokens.
        mean, std: of the reward on the texts it was fitted on; re-RL uses (score - mean) / std.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    features: list[str]
    body: BodyKind = "sequence_classifier"
    pooling: Pooling
    mean: float
    std: float


Card = TypeVar("Card", bound=Reading)


def read_card(path: Path, kind: type[Card]) -> Card:
    """What reward.json in a recovered reward's folder says.

    Raises:
        UserError: there is no valid reward.json.
    """
    try:
        return kind.model_validate_json((path / "reward.json").read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise UserError(
            f"{path} is no recovered reward: reward.json: {first_line(error)}"
        ) from None
