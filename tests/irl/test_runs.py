"""What makes a run, and which of several is the median one."""

import torch

from inverse_rlhf.irl.runs import Run, median_run, plan_runs
from inverse_rlhf.params import Irl


def test_runs_differ_and_repeat(short: Irl) -> None:
    first, second = Run(0, "fit", 3), Run(1, "fit", 3)
    assert not torch.equal(first.resample(50, short), second.resample(50, short))
    assert torch.equal(first.orders(9, short), Run(0, "fit", 3).orders(9, short))
    assert torch.equal(
        first.resample(5, short.model_copy(update={"bootstrap": False})), torch.arange(5)
    )


def test_plain_runs_start_as_their_failure_aware_ones(irl: Irl) -> None:
    fit, plain = Run(3, "fit", 0), Run(3, "plain", 0)
    torch.testing.assert_close(fit.initial_head(5), plain.initial_head(5), rtol=0, atol=0)
    assert fit.resample(50, irl).equal(plain.resample(50, irl))
    assert fit.orders(50, irl).equal(plain.orders(50, irl))


def test_every_run_is_planned_once(short: Irl) -> None:
    standard = [run.name for run in plan_runs(short, seed=0)]
    controls = ["shuffled-0", "shuffled-1", "random_head-0", "random_head-1"]
    assert standard == ["fit-0", "fit-1", "fit-2", "fit-3", *controls]
    aware = plan_runs(short.model_copy(update={"method": "failure_aware"}), seed=0)
    plain = ["plain-0", "plain-1", "plain-2", "plain-3"]
    assert [run.name for run in aware] == [*standard[:4], *plain, *controls]


def test_the_median_run_is_the_lower_middle_and_the_first_of_equals() -> None:
    assert median_run({0: 0.9, 1: 0.7, 2: 0.8}) == 2
    assert median_run({0: 0.9, 1: 0.7, 2: 0.8, 3: 0.6}) == 1
    assert median_run({4: 0.5, 2: 0.5, 7: 0.5}) == 4
    assert median_run({3: 0.1}) == 3
