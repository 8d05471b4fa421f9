"""Texts unlike the fitted ones are noticed, and others are not."""

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.irl.outliers import notice, other_domain, outlier_report, with_markers


def test_outliers_are_noticed() -> None:
    generator = np.random.default_rng(0)
    fitted, inside = generator.normal(size=(500, 6)), generator.normal(size=(200, 6))
    known, far = generator.normal(size=(2000, 6)), generator.normal(5, 1, (100, 6))
    distance, flagged = notice(fitted, known, np.concatenate([inside, inside, far]))
    kind = np.repeat(["inside", "same", "far"], [200, 200, 100])
    table = pd.DataFrame({"kind": kind, "distance": distance, "flagged": flagged})
    report = outlier_report(table)
    assert report["inside"] == {"flagged_share": report["same"]["flagged_share"]}
    assert report["same"]["flagged_share"] == pytest.approx(0.05, abs=0.04)
    assert report["same"]["auroc"] == pytest.approx(0.5)
    assert report["far"]["flagged_share"] > 0.95
    assert report["far"]["auroc"] > 0.99
    assert notice(fitted, known, 3 * inside)[1].mean() > 0.5
    sentences = other_domain(200)
    assert len(set(sentences)) == 200
    marked = with_markers(["About it"] * 3, [" you."] * 3, seed=0)
    assert len(set(marked)) == 3
    assert all("[[" in text for text in marked)
