"""Batches of like length hold every text once."""

import numpy as np

from inverse_rlhf.models.reading import by_length


def test_batches_hold_every_text_once_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, size=500)
    batches = list(by_length([[0] * length for length in lengths], batch_size=100))
    assert sorted(np.concatenate(batches)) == list(range(500))
    assert max(map(len, batches)) <= 100
    read = sum(len(rows) * lengths[rows].max() for rows in batches)
    assert read <= 1.15 * lengths.sum()
    assert [len(rows) for rows in by_length([[0]] * 5, batch_size=2)] == [2, 2, 1]
