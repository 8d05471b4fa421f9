"""The transformer whose hidden states a reward weighs: the base policy's, another one, or none."""

from pathlib import Path

from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Compute, Irl


def load_body(params: Irl, compute: Compute, base: Path) -> Model | None:
    """The body that `irl.body` names; None where nothing reads hidden states.

    Besides the rewards, method bayes reads them: it tells unusual texts by them.

    Args:
        base: folder of the base policy. Its body comes with a one-output head.

    Raises:
        UserError: a hub id without a revision; or see `load`.
    """
    needed = "hidden_state" in params.features or params.method == "bayes"
    if params.body == "none" or not needed:
        return None
    if params.body == "base":
        return load("classifier", base, compute, num_labels=1)
    if params.body_revision is None and not Path(params.body).is_dir():
        raise UserError(
            f"irl.body: {params.body} is not a folder; if it is a hub id, set irl.body_revision to "
            "a commit, tag or branch"
        )
    return load("body", params.body, compute, key="irl.body", revision=params.body_revision)
