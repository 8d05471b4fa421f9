"""All that reward.json says of a recovered reward; scoring needs its `Reading` only."""

from pydantic import ConfigDict

from inverse_rlhf.rewards.reading import Reading


class RewardCard(Reading):
    """What reward.json says beside a recovered reward's weights.

    Attributes:
        thresholds: every cut by name: texts below it are called toxic. `evaluate.threshold` says
            which one is used.
        run: number of the run that the weights come from; None: the ensemble of all runs.
        epoch, valid_discrimination: of that run; the ensemble has no epoch.
        method, loss, trainable: how it was fitted.
        pairs: how many it was fitted on; None: of an earlier version, which did not say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    thresholds: dict[str, float]
    run: int | None
    epoch: int | None
    valid_discrimination: float
    method: str
    loss: str
    trainable: str
    pairs: int | None = None
