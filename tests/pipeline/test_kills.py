"""A stage whose process is killed and that is run again writes what an undisturbed one does."""

import random
import shutil
from pathlib import Path

import pytest

from benchmarks.kills import kill, prepare


@pytest.mark.parametrize("count", [1, 2])
def test_rl(
    count: int,
    policy_folder: Path,
    classifier_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where two processes share it, and both are killed."""
    monkeypatch.chdir(tmp_path)
    random.seed(0)
    settings = {"data": {"comments": 600, "splits": {"rl": 40, "irl": 40, "test": 40}}}
    settings["rlhf"] = {"steps": 8, "batch_size": 4, "max_new_tokens": 8}
    prepare("smoke", settings, ["prepare_data"])
    shutil.copytree(policy_folder, "models/base")
    shutil.copytree(classifier_folder, "models/true_reward")
    found = kill("rlhf_train", 1, count=count)
    assert found.updates == 8 * count
    assert found.same
    assert 0 < found.twice <= 0.25  # the update that is under way, and the one before it at most
    assert list(Path(".resume/rlhf_train").iterdir()) == [Path(".resume/rlhf_train/lock")]
