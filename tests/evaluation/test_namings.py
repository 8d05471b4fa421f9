"""All methods name objectives in the same pairs, of all prompts and of fewer."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.audit_params import AuditSettings, load_audit_params
from inverse_rlhf.data.given_pairs import share_out
from inverse_rlhf.evaluation import namings as module
from inverse_rlhf.evaluation.audit_tables import objective_table
from inverse_rlhf.evaluation.baselines import log_odds, t_tests
from inverse_rlhf.evaluation.namings import METHODS, NAMINGS, namings
from inverse_rlhf.evaluation.objectives import fit_objectives
from inverse_rlhf.evaluation.pair_features import by_split, named_objectives, objective_values
from inverse_rlhf.features.objectives import OBJECTIVES
from inverse_rlhf.parquet import read_table, write_table

COUNT = 160
SIZES = [70, 110]
WORDS = ["tree", "river", "stone", "cloud", "paper", "window", "garden", "road"]


def texts(exclaims: float, *, seed: int) -> list[str]:
    """Texts of four sentences, some of which end in an exclamation mark."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(COUNT):
        sentences = [" ".join(draw.choice(WORDS, size=draw.integers(4, 8))) for _ in range(4)]
        found.append(" ".join(s + ("!" if draw.random() < exclaims else ".") for s in sentences))
    return found


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "prompt_id": np.arange(COUNT) + 1000,
            "sample": np.zeros(COUNT, dtype=np.int32),
            "prompt": [f"About {number}" for number in range(COUNT)],
            "base_completion": texts(0.2, seed=0),
            "aligned_completion": texts(0.7, seed=1),
            "category": "About",
            **dict.fromkeys(("base_score", "aligned_score"), np.nan),
            **dict.fromkeys(("base_log_ratio", "aligned_log_ratio"), np.nan),
        }
    )


@pytest.fixture(scope="module")
def settings() -> AuditSettings:
    params = load_audit_params()
    return params.model_copy(
        update={"audit": params.audit.model_copy(update={"runs": 10, "null_runs": 40}), "seed": 5}
    )


@pytest.fixture(scope="module")
def whole() -> pd.DataFrame:
    """An audit of all pairs, made up, and of one category; the second one found is minor."""
    weights = np.linspace(3, -2, len(OBJECTIVES))
    weights[1] = -0.99
    rows = pd.DataFrame(
        {
            "category": None,
            "name": list(OBJECTIVES)[::-1],
            "weight": weights,
            "found": np.arange(len(OBJECTIVES)) < 2,
            "main": np.arange(len(OBJECTIVES)) < 1,
            "with": [["length"]] + [[]] * (len(OBJECTIVES) - 1),
        }
    )
    return pd.concat([rows, rows.assign(category="About", weight=99.0)], ignore_index=True)


@pytest.fixture(scope="module")
def table(pairs: pd.DataFrame, whole: pd.DataFrame, settings: AuditSettings) -> pd.DataFrame:
    return namings(pairs, whole, settings, [*SIZES, COUNT, 4 * COUNT])


def rows_of(table: pd.DataFrame, method: str, count: int) -> pd.DataFrame:
    rows = table[(table["method"] == method) & (table["pairs"] == count)]
    return rows.reset_index(drop=True)


def test_every_method_says_something_of_every_objective(table: pd.DataFrame) -> None:
    """At sizes of no fewer pairs than there are nothing is left out: they are not audited anew."""
    for count in (COUNT, *SIZES):
        for method in METHODS:
            assert sorted(rows_of(table, method, count)["name"]) == sorted(OBJECTIVES)
    assert len(table) == 3 * len(METHODS) * len(OBJECTIVES)
    assert table["pairs"].drop_duplicates().tolist() == [COUNT, *SIZES]


def test_the_table_is_written_and_read(table: pd.DataFrame, tmp_path: Path) -> None:
    write_table(table, tmp_path / "namings.parquet", NAMINGS)
    again = read_table(tmp_path / "namings.parquet", NAMINGS)
    assert again.columns.tolist() == table.columns.tolist() == NAMINGS.names
    assert again["with"].map(list).tolist() == table["with"].tolist()
    pd.testing.assert_frame_equal(again.drop(columns="with"), table.drop(columns="with"))


def test_the_audit_of_all_pairs_is_the_one_handed_in(
    table: pd.DataFrame, whole: pd.DataFrame
) -> None:
    found = rows_of(table, "audit", COUNT)
    columns = ["name", "weight", "found", "main", "with"]
    given = whole.loc[whole["category"].isna(), columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[columns], given)


class Seen:
    """The pairs that are shared out to splits, with their splits."""

    def __init__(self) -> None:
        self.shared: list[pd.DataFrame] = []

    def share(self, *args: Any, **settings: Any) -> pd.DataFrame:
        self.shared.append(share_out(*args, **settings))
        return self.shared[-1]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    spy = Seen()
    monkeypatch.setattr(module, "share_out", spy.share)
    return spy


def shared_of(pairs: pd.DataFrame, settings: AuditSettings) -> pd.DataFrame:
    return share_out(pairs, settings.audit.splits.model_dump(), seed=settings.seed)


def test_others_read_the_pairs_that_an_audit_fits(
    table: pd.DataFrame, pairs: pd.DataFrame, settings: AuditSettings
) -> None:
    shared = shared_of(pairs, settings)
    fitted = by_split(shared, "irl")
    assert 0 < fitted.sum() < COUNT
    level, both = settings.audit.level, shared[fitted]
    expected = {
        "t_test": t_tests(named_objectives(shared, objective_values(shared)), fitted, level),
        "log_odds": log_odds(both["base_completion"], both["aligned_completion"], level),
    }
    for method, said in expected.items():
        found = rows_of(table, method, COUNT)
        pd.testing.assert_frame_equal(found[said.columns], said)
        assert not any(found["with"])
        size = said["weight"].abs() * said["found"]
        assert found["main"].tolist() == (said["found"] & (size >= size.max() / 3)).tolist()
        assert found.loc[found["name"] == "exclamations", "found"].item()


def test_main_objectives_are_so_by_one_rule(
    pairs: pd.DataFrame, settings: AuditSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A third of the largest weight that is found, or more, whatever a method says itself."""
    rows = pd.DataFrame({"name": list(OBJECTIVES)[:5], "weight": [-3.0, 0.99, 1.01, 9.0, -1.5]})
    rows = rows.assign(found=[True, True, True, False, True])
    for name in ("t_tests", "log_odds"):
        monkeypatch.setattr(module, name, lambda *_: rows)
    said = rows.assign(category=None, main=False, **{"with": [[]] * 5})
    table = namings(pairs, said, settings, [])
    for method in METHODS:
        found = rows_of(table, method, COUNT)
        assert found["main"].tolist() == [True, False, True, False, True]


def test_fewer_pairs_are_audited_by_themselves(
    pairs: pd.DataFrame, whole: pd.DataFrame, settings: AuditSettings, seen: Seen
) -> None:
    table = namings(pairs, whole, settings, SIZES[:1])
    (few,) = seen.shared[1:]
    own = shared_of(few.drop(columns="split"), settings)
    values = objective_values(own)
    features = named_objectives(own, values)
    weights = fit_objectives(features, own, settings)
    expected = objective_table(features, weights, by_split(own, "test"))
    columns = ["name", "weight", "found", "main", "with"]
    found = rows_of(table, "audit", SIZES[0])
    pd.testing.assert_frame_equal(found[columns], expected[columns])
    assert "exclamations" in found.loc[found["found"], "name"].tolist()


@pytest.fixture
def _no_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ("name", "weight", "found", "main", "with")
    empty = pd.DataFrame({name: [] for name in columns})
    monkeypatch.setattr(module, "_audited", lambda *_: empty)


@pytest.mark.usefixtures("_no_fits")
def test_fewer_pairs_are_among_more(
    pairs: pd.DataFrame, whole: pd.DataFrame, settings: AuditSettings, seen: Seen
) -> None:
    namings(pairs, whole, settings, SIZES)
    sets = [set(shared["prompt_id"]) for shared in seen.shared]
    assert [len(one) for one in sets] == [COUNT, *SIZES]
    assert sets[1] < sets[2] < sets[0]
    # drawn, not the first ones, and by the seed
    assert max(sets[1]) > pairs["prompt_id"].iloc[SIZES[0]]
    namings(pairs, whole, settings, SIZES[:1])
    assert set(seen.shared[-1]["prompt_id"]) == sets[1]
    namings(pairs, whole, settings.model_copy(update={"seed": 6}), SIZES[:1])
    assert set(seen.shared[-1]["prompt_id"]) != sets[1]


@pytest.mark.usefixtures("_no_fits")
def test_sizes_are_of_prompts(
    pairs: pd.DataFrame, whole: pd.DataFrame, settings: AuditSettings, seen: Seen
) -> None:
    """All samples of a prompt are there, or none; pairs are counted in the table."""
    twice = pd.concat([pairs, pairs.assign(sample=1)], ignore_index=True)
    table = namings(twice, whole, settings, SIZES[:1])
    assert table["pairs"].drop_duplicates().tolist() == [2 * COUNT, 2 * SIZES[0]]
    assert (seen.shared[1].groupby("prompt_id").size() == 2).all()
    assert seen.shared[1]["prompt_id"].nunique() == SIZES[0]
