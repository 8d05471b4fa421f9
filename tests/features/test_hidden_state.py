"""Hidden states of a text do not depend on the texts beside it."""

import numpy as np

from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.models.checkpoints import Model


def test_padding_and_order_do_not_matter(reward_network: Model) -> None:
    texts = ["one", "a much longer text about a map and a table", "two words"]
    for pooling in ("last", "mean"):
        together = hidden_states(texts, reward_network, pooling=pooling)  # type: ignore[arg-type]
        for index, text in enumerate(texts):
            alone = hidden_states([text], reward_network, pooling=pooling)  # type: ignore[arg-type]
            np.testing.assert_allclose(together[index], alone[0], atol=1e-5)
