"""Decision thresholds, found without the true reward."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from sklearn.mixture import GaussianMixture
from sklearn.tree import DecisionTreeRegressor

Scores = Float[np.ndarray, " _"]


def otsu(base: Scores) -> float:
    """The cut of the base scores of least variance within the two classes (Otsu 1979, eq. 12).

    The base policy's texts are a mixture of both kinds. A regression tree of depth one that
    predicts the scores from themselves finds exactly that cut. Equal scores have no such cut: then
    it is the score itself.
    """
    # Standardised: what the tree takes for equal is an absolute number.
    centre, scale = base.mean(), base.std() or 1.0
    standard = (base - centre) / scale
    tree = DecisionTreeRegressor(max_depth=1).fit(standard[:, None], standard)
    if tree.tree_.node_count == 1:
        return float(base[0])
    return float(centre + scale * tree.tree_.threshold[0])


def mixture(base: Scores) -> float:
    """Where a two-component Gaussian mixture of the base scores is as likely one as the other.

    The cut is looked for between the two means; `otsu` where there is none.
    """
    if len(base) < 2:
        return otsu(base)
    scale = base.std() or 1.0  # what keeps the variances from 0 is an absolute number
    model = GaussianMixture(2, random_state=0).fit(base[:, None] / scale)
    low, high = np.sort(model.means_[:, 0])
    grid = np.linspace(low, high, 1001)
    upper = model.predict_proba(grid[:, None])[:, model.means_[:, 0].argmax()] >= 0.5
    if not upper.any() or upper.all():
        return otsu(base)
    return float(scale * grid[upper.argmax()])


def median(scores: Scores) -> float:
    """The median: half of the texts are called toxic, an assumption in place of a shape.

    Of the base policy's texts where it is known to write both kinds about as often, as one trained
    on balanced comments does. Of comments where these were balanced by sampling: half of them
    are toxic then, while the base policy's completions need not be, most of all where they are kept
    from ending as comments do.
    """
    return float(np.median(scores))


def midpoint(base: Scores, aligned: Scores) -> float:
    """The midpoint of the two policies' mean scores, biased towards the purer policy."""
    return float((base.mean(dtype=np.float64) + aligned.mean(dtype=np.float64)) / 2)


def positive_unlabelled(base: Scores, aligned: Scores) -> float:
    """The cut of least estimated error if aligned texts are all of the good kind.

    Base texts are then unlabelled: good with share a, whose largest possible value is the least
    ratio of the base's and the aligned texts' shares above a cut (Blanchard et al. 2010, section
    4; cuts with less than a tenth of the aligned texts above them are too noisy to count). The
    error at a cut is a P_aligned(below) + P_base(above) - a P_aligned(above); a text at the cut is
    above it.
    """
    cuts = np.unique(np.concatenate([base, aligned]))
    above_base, above_aligned = (
        1 - np.searchsorted(np.sort(scores), cuts) / len(scores) for scores in (base, aligned)
    )
    counted = above_aligned >= 0.1
    if not counted.any():
        return otsu(base)
    share = min(1.0, float((above_base[counted] / above_aligned[counted]).min()))
    error = share * (1 - above_aligned) + above_base - share * above_aligned
    return float(cuts[error.argmin()])


THRESHOLDS: dict[str, Callable[[Scores, Scores, Scores], float]] = {
    "otsu": lambda base, aligned, human: otsu(base),
    "mixture": lambda base, aligned, human: mixture(base),
    "median": lambda base, aligned, human: median(base),
    "midpoint": lambda base, aligned, human: midpoint(base, aligned),
    "positive_unlabelled": lambda base, aligned, human: positive_unlabelled(base, aligned),
    "human_median": lambda base, aligned, human: median(human),
}


def thresholds(base: Scores, aligned: Scores, human: Scores) -> dict[str, float]:
    """Every threshold by name, from scores that were not fitted; texts below are called toxic.

    Args:
        base, aligned: rewards of both policies' valid completions, shape (texts,).
        human: rewards of the comments that the irl and valid prompts begin, on which no reward is
            fitted, shape (texts,).
    """
    return {name: function(base, aligned, human) for name, function in THRESHOLDS.items()}
