"""A stage whose process is killed and that is run again writes what an undisturbed one does."""

import random
import shutil
from pathlib import Path

import pytest

from benchmarks.kills import kill, prepare


@pytest.mark.parametrize(
    ("stage", "count"), [("rlhf_train", 1), ("rlhf_train", 2), ("generate_pairs", 1)]
)
def test_kills(
    stage: str,
    count: int,
    policy_folder: Path,
    classifier_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where two processes share it, and both are killed."""
    monkeypatch.chdir(tmp_path)
    random.seed(0)
    settings = {
        "compute": {"batch_size": 30},
        "data": {"comments": 600, "splits": {"rl": 40, "irl": 40, "test": 40}},
        "rlhf": {"steps": 8, "batch_size": 4, "max_new_tokens": 8},
    }
    prepare("smoke", settings, ["prepare_data"])
    for name in ("base", "rlhf"):
        shutil.copytree(policy_folder, f"models/{name}")
    shutil.copytree(classifier_folder, "models/true_reward")
    found = kill(stage, 1, count=count)
    assert found.steps == 8 * count  # of completions four batches of 120 prompts for each policy
    assert found.same
    assert 0 <= found.twice <= 0.25  # what is under way, and the step before it at most
    assert list(Path(".resume", stage).iterdir()) == [Path(".resume", stage, "lock")]
