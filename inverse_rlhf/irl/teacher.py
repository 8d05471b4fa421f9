"""What both policies say of the pairs' completions, where both are at hand."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from inverse_rlhf.data.tables import KEYS, completions_of, pair_rows
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.policies.likelihood import likelihood_table


def pair_log_ratios(
    pairs: pd.DataFrame, aligned: Model, base: Model, *, kept: Path | None = None
) -> Float[np.ndarray, "pairs 2"]:
    """log pi_aligned(y|x) / pi_base(y|x), nats, of each pair's aligned and base completion.

    Args:
        pairs: the pairs table, or rows of it.
        kept: a folder of unfinished work, see `resume.unfinished`.

    Raises:
        UserError: a likelihood is not finite.
    """
    rows = completions_of(pairs)
    found = likelihood_table(rows, aligned, base, kept=kept)
    keys = pd.MultiIndex.from_frame(rows[KEYS].astype({"split": str, "source": str}))
    ratio = (found["nll"] - found["own_nll"]).reindex(keys).to_numpy(dtype=np.float64)
    if not np.isfinite(ratio).all():
        raise UserError("the policies' likelihoods of the pairs' completions are not finite")
    return np.asarray(ratio[pair_rows(rows)])
