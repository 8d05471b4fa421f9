import numpy as np
import pytest

from inverse_rlhf.irl.found import (
    L2_GRID,
    Weights,
    choose_l2,
    fit_weights,
    solve_adaptive,
    told_together,
)
from inverse_rlhf.irl.solvers import solve_logistic


def pairs(effect: list[float], count: int, seed: int) -> np.ndarray:
    """Differences of pairs whose first side is the aligned one as Bradley and Terry have it."""
    draw = np.random.default_rng(seed)
    deltas = draw.normal(size=(count, len(effect)))
    flip = draw.random(count) > 1 / (1 + np.exp(-(deltas @ np.array(effect))))
    deltas[flip] *= -1
    return deltas


def fit(deltas: np.ndarray, prompts: np.ndarray | None = None, **settings: float) -> Weights:
    where = np.arange(len(deltas)) if prompts is None else prompts
    chosen = {"l2": 1e-3, "runs": 20, "null_runs": 60, "level": 0.05, "seed": 0} | settings
    return fit_weights(deltas, where, **chosen)  # type: ignore[arg-type]


def test_weights_are_the_log_ratios() -> None:
    deltas = pairs([1.0, -0.5, 0.0], 20_000, 0)
    weights = fit(deltas, l2=1e-6, runs=10, null_runs=20)
    np.testing.assert_allclose(weights.median, [1.0, -0.5, 0.0], atol=0.06)
    assert weights.found().tolist() == [True, True, False]


def test_an_objective_is_found_only_beyond_the_null_and_with_one_sign() -> None:
    null = np.array([[0.1, -0.3], [0.2, 0.1]] * 10)
    runs = np.array([[0.5, 0.5], [0.6, -0.1], [0.4, 0.9]])
    weights = Weights(runs, null, 0.05, 0.1, np.eye(2))
    assert weights.critical == pytest.approx(0.3)
    assert weights.found().tolist() == [True, False]  # the second changes its sign
    assert Weights(runs / 10, null, 0.05, 0.1, np.eye(2)).found().tolist() == [False, False]


def test_weights_are_medians_and_the_level_is_the_nulls() -> None:
    runs = np.array([[0.5], [0.6], [0.4], [9.0], [0.55]])
    null = np.linspace(0.01, 1, 100)[:, None] * [[1.0, -1.0]]
    weights = Weights(np.tile(runs, 2), null, 0.5, 0.1, np.eye(null.shape[1]))
    assert weights.median.tolist() == pytest.approx([0.55, 0.55])
    assert weights.critical == pytest.approx(0.505)
    assert Weights(
        np.tile(runs, 2), null, 0.1, 0.1, np.eye(null.shape[1])
    ).critical == pytest.approx(0.901)
    fitted = fit(pairs([0.0], 100, 0), null_runs=40, level=0.25)
    assert (np.abs(fitted.null).max(axis=1) > fitted.critical).mean() == pytest.approx(0.25)


def test_runs_vary_as_samples_of_prompts_do() -> None:
    """Of no effect the weight's variance is 4 / pairs (Fisher's information)."""
    deltas = pairs([0.0, 0.0], 400, 0)
    runs = fit(deltas, l2=1e-6, runs=80, null_runs=20).runs
    np.testing.assert_allclose(runs.std(axis=0), 0.1, rtol=0.3)
    again = fit(deltas, l2=1e-6, runs=80, null_runs=20)
    np.testing.assert_array_equal(again.runs, runs)
    assert (fit(deltas, l2=1e-6, runs=5, null_runs=20, seed=1).runs != runs[:5]).all()


def test_half_of_the_prompts_are_swapped() -> None:
    """What tells all pairs apart then tells one half of them."""
    null = fit(np.ones((40, 1)), runs=2, null_runs=20).null
    np.testing.assert_allclose(null, 0, atol=1e-9)


def test_nothing_is_found_where_the_sides_are_alike() -> None:
    found = [
        fit(pairs([0.0] * 8, 200, seed), runs=10, null_runs=40, seed=seed).found().any()
        for seed in range(6)
    ]
    assert sum(found) <= 1


def test_repeated_pairs_of_a_prompt_are_no_evidence() -> None:
    """Twenty copies of each pair are as good as one: prompts are resampled and swapped whole."""
    few = pairs([0.0] * 8, 40, 3)
    prompts = np.arange(40)
    many, owners = np.tile(few, (20, 1)), np.tile(prompts, 20)
    once, copied = fit(few, prompts, l2=0.1), fit(many, owners, l2=0.1)
    np.testing.assert_allclose(copied.null, once.null, atol=1e-6)
    alone = fit(many, np.arange(800), l2=0.1)
    assert alone.critical < once.critical / 2


def test_a_run_depends_on_its_number_alone() -> None:
    deltas = pairs([1.0, 0.0], 100, 0)
    few, many = fit(deltas, runs=3, null_runs=20), fit(deltas, runs=6, null_runs=40)
    np.testing.assert_array_equal(many.runs[:3], few.runs)
    np.testing.assert_array_equal(many.null[:20], few.null)


def test_l2_is_the_one_under_which_valid_pairs_are_likeliest() -> None:
    clear, nothing = pairs([2.0, -1.0, 0.5], 2000, 0), pairs([0.0] * 30, 100, 0)
    settings = {"adaptive": True, "seed": 0}
    small = choose_l2(clear, np.arange(2000), **settings)
    large = choose_l2(nothing, np.arange(100), **settings)
    assert small <= 0.03
    assert large >= 0.1


def test_of_penalties_that_are_equal_the_largest() -> None:
    assert choose_l2(np.zeros((20, 3)), np.arange(20), adaptive=True, seed=0) == max(L2_GRID)


def test_copies_of_a_prompts_pairs_do_not_choose_a_smaller_l2() -> None:
    """A fold that held copies of what was fitted on would find every penalty too large."""
    few = pairs([0.0] * 30, 60, 0)
    many, owners = np.tile(few, (5, 1)), np.tile(np.arange(60), 5)
    for adaptive in (True, False):
        l2 = choose_l2(many, owners, adaptive=adaptive, seed=0)
        assert l2 >= 0.1 > choose_l2(many, np.arange(300), adaptive=adaptive, seed=0)


def test_an_adaptive_fit_leaves_noise_out() -> None:
    """One strong objective among 40 that are noise: more likely held-out pairs than one penalty
    for all allows.
    """
    effect = [3.0] + [0.0] * 40
    train, test = pairs(effect, 300, 0), pairs(effect, 4000, 1)
    losses = []
    for adaptive in (True, False):
        l2 = choose_l2(train, np.arange(300), adaptive=adaptive, seed=0)
        weight = solve_adaptive(train, l2=l2) if adaptive else solve_logistic(train, l2=l2)
        losses.append(float(np.logaddexp(0, -(test @ weight)).mean()))
    assert losses[0] < losses[1] - 0.01


def test_an_adaptive_fit_of_nothing_is_nothing() -> None:
    np.testing.assert_array_equal(solve_adaptive(np.zeros((20, 3)), l2=0.1), np.zeros(3))


def test_the_clearer_an_objective_the_surer_it_is_found() -> None:
    """Also where it tells all pairs apart, and 40 others are noise."""
    noise = np.random.default_rng(0).normal(size=(120, 41))
    for shift in (1.0, 2.5, 4.0, 8.0):
        deltas = noise + shift * (np.arange(41) == 0)
        l2 = choose_l2(deltas, np.arange(120), adaptive=True, seed=0)
        assert fit(deltas, l2=l2).found().tolist() == [True] + [False] * 40


def test_what_pairs_cannot_tell_apart_is_found_once() -> None:
    """Ten features say the same: each has a tenth of the weight that one of them alone would."""
    deltas = pairs([1.0, 0.0], 300, 0)
    alike = np.column_stack([np.tile(deltas[:, :1], 10), deltas[:, 1:]])
    alike[:, 3] *= -1
    together = told_together(alike)
    assert np.sign(together[0]).tolist() == [1, 1, 1, -1, 1, 1, 1, 1, 1, 1, 0]
    jitter = alike + 1e-3 * np.random.default_rng(1).normal(size=alike.shape)
    found = fit(jitter, l2=0.1).found()
    assert found[:10].sum() == 1
    assert not found[10]


def test_a_constant_difference_is_told_together_with_its_like() -> None:
    constant = np.column_stack([np.ones(50), 2 * np.ones(50), np.resize([1.0, -1.0], 50)])
    np.testing.assert_allclose(told_together(constant), [[1, 1, 0], [1, 1, 0], [0, 0, 1]])


def test_features_without_differences_change_nothing() -> None:
    deltas = pairs([1.0, -0.5, 0.0], 200, 0)
    wider = np.column_stack([deltas, np.zeros((200, 30))])
    l2 = choose_l2(deltas, np.arange(200), adaptive=True, seed=0)
    assert l2 == choose_l2(wider, np.arange(200), adaptive=True, seed=0)
    few, many = fit(deltas, l2=l2), fit(wider, l2=l2)
    np.testing.assert_allclose(many.runs[:, :3], few.runs, atol=1e-9)
    assert (many.runs[:, 3:] == 0).all()
    assert many.found().tolist() == [*few.found().tolist(), *[False] * 30]


def test_main_objectives_have_a_third_of_the_largest_weight_found() -> None:
    null = np.full((20, 4), 0.01)
    runs = np.tile([1.0, -0.34, 0.33, 0.0], (10, 1))
    weights = Weights(runs, null, 0.05, 0.1, np.eye(4))
    assert weights.found().tolist() == [True, True, True, False]
    assert weights.main().tolist() == [True, True, False, False]
    nothing = Weights(0 * runs, null, 0.05, 0.1, np.eye(4))
    assert not nothing.main().any()
