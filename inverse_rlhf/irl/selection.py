"""Choices made without the true reward: epoch, run, threshold."""

import numpy as np
from jaxtyping import Float
from sklearn.tree import DecisionTreeRegressor
from torch import Tensor


def discrimination(delta: Float[Tensor, "*runs pairs"]) -> Float[Tensor, "*runs"]:
    """The share of pairs in which the aligned completion has the higher reward."""
    return (delta > 0).float().mean(-1)


def otsu_threshold(scores: Float[np.ndarray, " texts"]) -> float:
    """The cut of least variance within the two classes (Otsu 1979, equation 12).

    A regression tree of depth one that predicts the scores from themselves finds exactly that cut.
    Equal scores have no such cut: then it is the score itself.
    """
    tree = DecisionTreeRegressor(max_depth=1).fit(scores[:, None], scores)
    if tree.tree_.node_count == 1:
        return float(scores[0])
    return float(tree.tree_.threshold[0])


def midpoint_threshold(
    base: Float[np.ndarray, " base"], aligned: Float[np.ndarray, " aligned"]
) -> float:
    """The midpoint of the two policies' mean scores, biased towards the purer policy."""
    return float((base.mean(dtype=np.float64) + aligned.mean(dtype=np.float64)) / 2)


def median_run(discriminations: list[float]) -> int:
    """The run of median discrimination (of two middle ones the lower; ties go to the first)."""
    order = sorted(range(len(discriminations)), key=lambda run: (discriminations[run], run))
    return order[(len(order) - 1) // 2]
