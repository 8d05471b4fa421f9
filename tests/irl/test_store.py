"""Finished runs are fitted once: after a kill, for more runs, and never for another problem."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from inverse_rlhf.errors import UserError
from inverse_rlhf.irl import fit as fitting
from inverse_rlhf.irl.exact import solve_heads
from inverse_rlhf.irl.fit import FittedRewards
from inverse_rlhf.irl.runs import Fit, Run
from inverse_rlhf.irl.store import RunStore, open_store
from inverse_rlhf.params import Irl

FitIn = Callable[..., FittedRewards]
FORK = multiprocessing.get_context("fork")  # no seconds of imports


def test_killed_fit_goes_on_with_the_runs_it_lacks(
    fit_in: FitIn, irl: Irl, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = irl.model_copy(update={"trainable": "all", "epochs": 1, "lr": 1e-3})
    whole = fit_in("whole", settings)
    fitted_runs: list[str] = []
    original = fitting.RewardNetwork.fit

    def counted(self: Any, texts: Any, run: Run) -> Any:
        fitted_runs.append(run.name)
        if fitted_runs == ["fit-0", "fit-1", "fit-2"]:
            raise KeyboardInterrupt
        return original(self, texts, run)

    monkeypatch.setattr(fitting.RewardNetwork, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        fit_in("killed", settings)
    again = fit_in("killed", settings)
    assert fitted_runs[3:] == ["fit-2", "shuffled-0", "shuffled-1"]
    pd.testing.assert_frame_equal(again.scores, whole.scores)
    pd.testing.assert_frame_equal(again.runs, whole.runs)


def test_resumed_correction_is_the_same(fit_in: FitIn, irl: Irl, tmp_path: Path) -> None:
    settings = irl.model_copy(update={"method": "failure_aware", "epochs": 3})
    whole = fit_in("runs_of_it", settings)
    for path in (tmp_path / "runs_of_it").rglob("*-[02].safetensors"):
        path.unlink()
    again = fit_in("runs_of_it", settings)
    pd.testing.assert_frame_equal(again.scores, whole.scores, check_exact=True)
    pd.testing.assert_frame_equal(again.runs, whole.runs, check_exact=True)


def test_killed_exact_fit_keeps_what_it_solved(
    fit_in: FitIn, irl: Irl, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = irl.model_copy(update={"solver": "exact", "loss": "logistic"})
    whole = fit_in("whole", settings)
    solved: list[str] = []

    def counted(train: Any, valid: Any, runs: list[Run], settings: Irl) -> Any:
        solved.extend(run.name for run in runs)
        if solved == ["fit-0", "fit-1"]:
            raise KeyboardInterrupt
        return solve_heads(train, valid, runs, settings)

    monkeypatch.setattr(fitting, "solve_heads", counted)
    with pytest.raises(KeyboardInterrupt):
        fit_in("killed", settings)
    again = fit_in("killed", settings)
    assert solved.count("fit-0") == 1
    assert solved.count("fit-1") == 2
    pd.testing.assert_frame_equal(again.runs, whole.runs)


RUN = Run(0, "fit", 0)
FIT = Fit(RUN, [1.0], [0.5], 1, np.arange(3, dtype=np.float32))


def test_store_forgets_other_problems(tmp_path: Path) -> None:
    with open_store(tmp_path, "one") as kept:
        kept.put(FIT, {"weight": torch.ones(2)})
    with open_store(tmp_path, "one") as kept:
        assert kept.get(RUN) is not None
    with open_store(tmp_path, "two") as kept:
        assert kept.get(RUN) is None
    with open_store(tmp_path, "one") as kept:
        assert kept.get(RUN) is None


def test_stores_in_use_are_nobody_elses(tmp_path: Path) -> None:
    with open_store(tmp_path, "one") as kept:
        kept.put(FIT, {"weight": torch.ones(2)})
        with open_store(tmp_path, "two") as other:
            other.put(FIT, {"weight": torch.zeros(2)})
        assert kept.all([RUN]) == [kept.get(RUN)]
        assert torch.equal(kept.state(RUN)["weight"], torch.ones(2))
        with (
            pytest.raises(UserError, match="another process is at work on this: wait until"),
            open_store(tmp_path, "one"),
        ):
            pass
    with open_store(tmp_path, "three"):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "three"]


def test_a_killed_process_leaves_its_store_to_others(tmp_path: Path) -> None:
    process = FORK.Process(target=_killed, args=[tmp_path])
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (tmp_path / "one").is_dir()
    with open_store(tmp_path, "one"):
        pass


def _killed(folder: Path) -> None:
    with open_store(folder, "one"):
        os.kill(os.getpid(), signal.SIGKILL)


def _opening(folder: Path, name: str) -> None:
    for number in range(300):
        with open_store(folder, f"{name}{number % 3}"):
            lock = folder / f"{name}{number % 3}/lock"
            own = [path for path in Path("/proc/self/fd").iterdir() if path.exists()]
            assert any(path.samefile(lock) for path in own)


def test_processes_open_stores_at_once(tmp_path: Path) -> None:
    """Each has its own, with a lock that others find: a file that is still there."""
    started = [FORK.Process(target=_opening, args=[tmp_path, name]) for name in "abc"]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0, 0]


def test_a_damaged_file_is_a_missing_run(tmp_path: Path) -> None:
    """Whichever byte it is."""
    RunStore(tmp_path, "one").put(FIT, {"weight": torch.ones(2)})
    path = tmp_path / "fit-0.safetensors"
    content = path.read_bytes()
    lost = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        found = RunStore(tmp_path, "one").get(RUN)
        lost += found is None
        if found is not None:
            assert (found.run, found.loss, found.epoch) == (RUN, [1.0], 1)
            assert found.rewards.tolist() == [0, 1, 2]
    assert lost > 0.9 * len(content)
    for size in (0, 8, 100, len(content) - 1):
        path.write_bytes(content[:size])
        assert RunStore(tmp_path, "one").get(RUN) is None


def test_a_run_that_is_read_does_not_hold_its_file(tmp_path: Path) -> None:
    """Which is mapped into memory with all its weights."""
    run = Run(0, "fit", 0)
    with open_store(tmp_path, "key") as kept:
        kept.put(Fit(run, [0.5], [0.7], 1, np.ones(3, dtype=np.float32)), {"w": torch.ones(4)})
    with open_store(tmp_path, "key") as kept:
        fit = kept.get(run)
    assert fit is not None
    assert fit.rewards.flags.owndata


def test_a_foreign_file_is_a_missing_run(tmp_path: Path) -> None:
    RunStore(tmp_path, "one").put(FIT, {"weight": torch.ones(2)})
    path = tmp_path / "fit-0.safetensors"
    path.with_name("fit-1.safetensors").write_bytes(path.read_bytes())
    kept = RunStore(tmp_path, "one")
    assert kept.get(RUN) is not None
    for run in (Run(1, "fit", 0), Run(0, "fit", 1), Run(0, "plain", 0)):
        assert kept.get(run) is None
    assert RunStore(tmp_path, "two").get(RUN) is None
    save_file(load_file(path), path)  # without what ours say of themselves
    assert RunStore(tmp_path, "one").get(RUN) is None
    path.unlink()
    path.mkdir()
    kept = RunStore(tmp_path, "one")
    assert kept.get(RUN) is None
    kept.put(FIT, {"weight": torch.ones(2)})
    assert kept.get(RUN) is not None


def test_a_run_that_is_lost_meanwhile_is_an_error(
    fit_in: FitIn, irl: Irl, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = RunStore.put

    def losing(self: RunStore, fit: Fit, state: Any) -> None:
        original(self, fit, state)
        if fit.run.name == "fit-1":
            self._path(fit.run).unlink()

    monkeypatch.setattr(RunStore, "put", losing)
    with pytest.raises(UserError, match=r"1 of \d+ finished runs were taken away or damaged: run"):
        fit_in("runs", irl.model_copy(update={"epochs": 1}))
    monkeypatch.setattr(RunStore, "put", original)
    assert fit_in("runs", irl.model_copy(update={"epochs": 1})).facts["runs"] == irl.runs


@pytest.fixture
def fitted_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that anything is computed for, as they come."""
    names: list[str] = []

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def count(*args: Any) -> Any:
            for runs in args:
                if isinstance(runs, list):
                    names.extend(run.name for run in runs if isinstance(run, Run))
            return function(*args)

        return count

    for name in ("fit_heads", "solve_heads", "random_heads"):
        monkeypatch.setattr(fitting, name, counted(getattr(fitting, name)))
    original = fitting.RewardNetwork.fit

    def network(self: Any, pairs: Any, run: Run) -> Any:
        names.append(run.name)
        return original(self, pairs, run)

    monkeypatch.setattr(fitting.RewardNetwork, "fit", network)
    return names


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"features": ["ngram"], "solver": "exact", "loss": "hinge"},
        {"method": "failure_aware"},
        {"trainable": "last_k", "lr": 1e-3},
    ],
    ids=str,
)
def test_finished_runs_survive_more_of_them(
    changes: dict[str, Any],
    fit_in: FitIn,
    irl: Irl,
    fitted_runs: list[str],
) -> None:
    settings = irl.model_copy(update={"epochs": 1, "runs": 5, **changes})
    few = fit_in("runs", settings)
    controls = ["shuffled-0", "shuffled-1", "random_head-0", "random_head-1"]
    kinds = ["fit", "plain"] if settings.method == "failure_aware" else ["fit"]
    expected = [f"{kind}-{number}" for kind in kinds for number in range(5)]
    assert sorted(fitted_runs) == sorted([*expected, *controls])

    fitted_runs.clear()
    many = fit_in("runs", settings.model_copy(update={"runs": 7}))
    assert sorted(fitted_runs) == sorted(f"{kind}-{n}" for kind in kinds for n in (5, 6))
    for name in ("scores", "runs"):
        table = getattr(many, name)
        first = table[table["run"] < 5].reset_index(drop=True)
        pd.testing.assert_frame_equal(first, getattr(few, name), check_exact=True)
    assert set(many.runs.loc[many.runs["kind"] == "fit", "run"]) == set(range(7))

    fitted_runs.clear()
    other = {"runs": 3, "control_runs": 1, "reward": 1}
    fewer = fit_in("runs", settings.model_copy(update=other))
    assert fitted_runs == []
    assert fewer.facts["runs"] == 3
    again = fit_in("runs", settings.model_copy(update={"runs": 7}))
    assert fitted_runs == []
    pd.testing.assert_frame_equal(again.scores, many.scores, check_exact=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"features": ["ngram"]},
        {"method": "failure_aware"},
        {"trainable": "last_k", "lr": 1e-3},
    ],
    ids=str,
)
def test_runs_added_later_are_those_of_one_fit(
    changes: dict[str, Any], fit_in: FitIn, irl: Irl
) -> None:
    settings = irl.model_copy(update={"epochs": 1, "runs": 1, "control_runs": 1, **changes})
    fit_in("grown", settings)
    settings = settings.model_copy(update={"runs": 3})
    grown, whole = fit_in("grown", settings), fit_in("whole", settings)
    pd.testing.assert_frame_equal(grown.runs, whole.runs, rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(grown.scores, whole.scores, rtol=1e-4, atol=1e-5)


def test_another_learning_rate_fits_everything_again(
    fit_in: FitIn, irl: Irl, fitted_runs: list[str], tmp_path: Path
) -> None:
    settings = irl.model_copy(update={"epochs": 1})
    fit_in("runs", settings)
    once = fitted_runs.copy()
    fit_in("runs", settings.model_copy(update={"lr": 0.02}))
    assert fitted_runs == 2 * once
    assert len(list((tmp_path / "runs").glob("*/"))) == 1  # the other problem's runs are gone
