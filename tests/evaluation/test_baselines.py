"""Paired t-tests, and Monroe, Colaresi & Quinn's log-odds of words."""

import warnings
from math import log, sqrt

import numpy as np
import pytest
from scipy import stats

from inverse_rlhf.evaluation.baselines import (
    PRIOR_WORDS,
    log_odds,
    named_by,
    t_tests,
    tokens,
    z_scores,
)
from inverse_rlhf.evaluation.pair_features import PairFeatures
from inverse_rlhf.features.objectives import OBJECTIVES

OF_TEXTS = [
    *("length", "word_length", "sentence_length", "lexical_diversity", "readability"),
    *("repetition", "unfinished_end", "paragraphs"),
]


def features(deltas: np.ndarray) -> PairFeatures:
    names = list(OBJECTIVES)[: deltas.shape[1]]
    return PairFeatures(deltas, names, np.ones(deltas.shape[1]))


@pytest.fixture
def deltas() -> np.ndarray:
    """Of four objectives: 30 pairs, the second one more in aligned, the third one less."""
    draw = np.random.default_rng(5)
    return draw.normal(size=(30, 4)) + np.array([0, 1.5, -0.9, 0.1])


# t-tests


def test_t_is_students(deltas: np.ndarray) -> None:
    table = t_tests(features(deltas), np.ones(30, dtype=bool), 0.05)
    assert table["name"].tolist() == list(OBJECTIVES)[:4]
    assert table.columns.tolist() == ["name", "weight", "found"]
    t = deltas.mean(axis=0) / (deltas.std(axis=0, ddof=1) / sqrt(30))
    np.testing.assert_allclose(table["weight"], t)
    p = 2 * stats.t.sf(np.abs(t), 29)
    assert table["found"].tolist() == (p < 0.05 / 4).tolist() == [False, True, True, False]


def test_the_bound_is_bonferronis(deltas: np.ndarray) -> None:
    rows, one = np.ones(30, dtype=bool), deltas[:, 2:3]
    p = stats.ttest_1samp(one[:, 0], 0).pvalue
    for count in (1, 7):
        # the same difference among `count`, of which others do not lean to either side
        noise = np.tile(np.where(np.arange(30) % 2, 1.0, -1.0)[:, None], count - 1)
        among = features(np.hstack([one, noise]))
        for level, found in ((p * count * 1.001, True), (p * count * 0.999, False)):
            assert t_tests(among, rows, level)["found"].tolist() == [found] + [False] * (count - 1)


def test_what_never_differs_has_no_weight_and_costs_nothing(deltas: np.ndarray) -> None:
    rows = np.ones(30, dtype=bool)
    p = stats.ttest_1samp(deltas[:, 2], 0).pvalue
    same = np.hstack([deltas[:, 2:3], np.zeros((30, 20))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = t_tests(features(same), rows, p * 1.001)  # a bound for one
    assert table["found"].tolist() == [True] + [False] * 20
    assert (table["weight"][1:] == 0).all()


def test_where_nothing_differs_nothing_is_found() -> None:
    table = t_tests(features(np.zeros((30, 3))), np.ones(30, dtype=bool), 0.05)
    assert table["found"].tolist() == [False] * 3
    assert (table["weight"] == 0).all()


@pytest.mark.parametrize("always", [1.0, -0.1, np.log(2)])
def test_what_always_differs_alike_is_not_found(deltas: np.ndarray, always: float) -> None:
    """It has no spread to be beyond, but for that of rounding; nor does it cost anything."""
    rows = np.ones(30, dtype=bool)
    p = stats.ttest_1samp(deltas[:, 2], 0).pvalue
    rounded = np.where(np.arange(30) % 2, 1, 1 + 1e-13)[:, None]
    alike = np.hstack([deltas[:, 2:3], np.full((30, 10), always), always * rounded])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = t_tests(features(alike), rows, p * 1.001)  # a bound for one
    assert table["found"].tolist() == [True] + [False] * 11
    assert (table["weight"][1:] == 0).all()


def test_other_rows_are_not_read(deltas: np.ndarray) -> None:
    rows = np.arange(30) < 20
    once = t_tests(features(deltas), rows, 0.05)
    deltas[~rows] = 1e6
    assert t_tests(features(deltas), rows, 0.05).equals(once)
    assert once.equals(t_tests(features(deltas[rows]), np.ones(20, dtype=bool), 0.05))


def test_sides_swapped_turn_the_sign(deltas: np.ndarray) -> None:
    rows = np.ones(30, dtype=bool)
    one, two = t_tests(features(deltas), rows, 0.05), t_tests(features(-3 * deltas), rows, 0.05)
    np.testing.assert_allclose(one["weight"], -two["weight"])
    assert one["found"].tolist() == two["found"].tolist()


# log-odds of words


def slow_z(base: dict[str, int], aligned: dict[str, int], word: str) -> float:
    """Formulas 16, 20 and 22 of the paper, a word's, in numbers."""
    vocabulary = base.keys() | aligned.keys()
    all_of = {w: base.get(w, 0) + aligned.get(w, 0) for w in vocabulary}
    alpha = {w: PRIOR_WORDS * all_of[w] / sum(all_of.values()) for w in vocabulary}
    alpha_0 = sum(alpha.values())
    delta, variance = 0.0, 0.0
    for sign, side in ((1, aligned), (-1, base)):
        y, n = side.get(word, 0), sum(side.values())
        delta += sign * log((y + alpha[word]) / (n + alpha_0 - y - alpha[word]))
        variance += 1 / (y + alpha[word])
    return delta / sqrt(variance)


def test_z_scores_are_the_papers() -> None:
    base = {"tree": 40, "and": 100, "river": 3, "but": 7}
    aligned = {"tree": 20, "and": 90, "sea": 12, "but": 7}
    words = sorted(base | aligned)
    counts = [np.array([side.get(w, 0) for w in words], float) for side in (base, aligned)]
    expected = {w: slow_z(base, aligned, w) for w in words}
    np.testing.assert_allclose(z_scores(*counts), list(expected.values()))
    assert expected["sea"] > 0 > expected["tree"]


def test_a_word_by_hand() -> None:
    """Of 100 words a side the prior adds 250 to either of two that are as frequent: 310 and 290."""
    z = z_scores(np.array([40.0, 60.0]), np.array([60.0, 40.0]))
    expected = 2 * log(310 / 290) / sqrt(1 / 310 + 1 / 290)
    np.testing.assert_allclose(z, [expected, -expected])


def test_z_scores_turn_with_the_sides() -> None:
    draw = np.random.default_rng(0)
    base, aligned = draw.integers(0, 50, size=(2, 40)).astype(float)
    base[:3], aligned[:3] = [0, 9, 4], [9, 0, 4]
    np.testing.assert_allclose(z_scores(base, aligned), -z_scores(aligned, base), atol=1e-12)
    assert (z_scores(base, aligned) != 0).any()


@pytest.mark.parametrize(
    "counts",
    [np.array([3.0, 0, 50]), np.zeros(3), np.array([7.0]), np.zeros(0)],
    ids=["words", "empty texts", "one word", "no word"],
)
def test_equal_sides_have_no_z_scores(counts: np.ndarray) -> None:
    np.testing.assert_array_equal(z_scores(counts, counts), np.zeros(len(counts)))


def test_one_word_alone_is_as_frequent_on_both_sides() -> None:
    np.testing.assert_array_equal(z_scores(np.array([2.0]), np.array([900.0])), [0])


def test_tokens_are_words_and_marks_and_neighbours() -> None:
    """Within a text; punctuation is a neighbour too."""
    one = ["it's", "a", "tree", "!", "it's a", "a tree", "tree !"]
    assert tokens(["It's  a Tree!", "", "No, 2"]) == [*one, "no", ",", "2", "no ,", ", 2"]
    assert tokens(["No", "doubt"]) == ["no", "doubt"]
    assert tokens([]) == []


def test_curly_apostrophes_are_straight_ones() -> None:
    curly = ["It\u2019s what we don\u2019t say", "\u2018No\u2019"]
    straight = ["It's what we don't say", "'No'"]
    assert tokens(curly) == tokens(straight)
    assert tokens(curly)[0] == "it's"
    table = log_odds(["They do say"] * 90, [curly[0]] * 90, 0.05)
    assert table.equals(log_odds(["They do say"] * 90, [straight[0]] * 90, 0.05))
    assert {"contractions", "negations"} <= set(table.loc[table["found"], "name"])


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("!", {"exclamations": 1}),
        (",", {"commas": 1}),
        ("?", {"questions": 1}),
        ("idiot", {"insults": 1, "sentiment": -1}),
        ("not", {"negations": 1, "stopwords": 1}),
        ("don't", {"negations": 1, "stopwords": 1, "contractions": 1}),
        ("we", {"we": 1, "stopwords": 1}),
        ("42", {"numbers": 1}),
        ("tree", {}),
    ],
)
def test_what_a_word_names(word: str, names: dict[str, int]) -> None:
    assert named_by(word) == names


@pytest.mark.parametrize(
    ("pair", "names"),
    [
        ("no doubt", {"certainty": 1}),  # not what "no" or "doubt" has
        ("kind of", {"hedges": 1}),
        ("do not", {"directives": 1}),
        ("of course", {"certainty": 1, "opens_agreeing": 1}),
        ("idiot tree", {}),
        ("! !", {}),
        ("doubt no", {}),
    ],
)
def test_a_pair_names_what_neither_word_does(pair: str, names: dict[str, int]) -> None:
    assert named_by(pair) == names
    assert not names.keys() & {name for word in pair.split() for name in named_by(word)}


def test_a_planted_phrase_is_found() -> None:
    """Whose words are as frequent on the other side, in another order."""
    table = log_odds(["doubt tree no"] * 90, ["tree no doubt"] * 90, 0.05).set_index("name")
    assert table["found"]["certainty"]
    assert table["weight"]["certainty"] > 0
    assert table["weight"]["negations"] == table["weight"]["sentiment"] == 0


@pytest.mark.parametrize(
    "word", ["idiot", "good", "not", "no doubt", "x" * 30, ".", "#", "unfinished"]
)
def test_no_word_names_an_objective_of_whole_texts(word: str) -> None:
    assert set(OF_TEXTS) <= set(OBJECTIVES)
    assert not named_by(word).keys() & set(OF_TEXTS)


def with_words(word: str, share: float, *, seed: int) -> list[str]:
    """200 texts of ten words, of which some are one."""
    draw = np.random.default_rng(seed)
    plain = ["tree", "river", "stone", "cloud", "paper"]
    return [
        " ".join(word if draw.random() < share else draw.choice(plain) for _ in range(10))
        for _ in range(200)
    ]


@pytest.mark.parametrize(("often", "sign"), [("aligned", 1), ("base", -1)])
def test_a_planted_word_is_found(often: str, sign: int) -> None:
    few, many = with_words("idiot", 0.05, seed=0), with_words("idiot", 0.2, seed=1)
    sides = {"base": few, "aligned": many} if often == "aligned" else {"base": many, "aligned": few}
    table = log_odds(sides["base"], sides["aligned"], 0.05)
    assert table["name"].tolist() == list(OBJECTIVES)
    found = table[table["found"]].set_index("name")["weight"]
    assert set(found.index) == {"insults", "sentiment"}
    assert np.sign(found["insults"]) == sign
    assert found["sentiment"] == -found["insults"]
    counts = [
        {word: tokens(side).count(word) for word in set(tokens(side))} for side in sides.values()
    ]
    assert found["insults"] == pytest.approx(slow_z(counts[0], counts[1], "idiot"))


def test_the_strongest_word_names_an_objective() -> None:
    base = ["idiot tree"] * 50 + ["fool tree"] * 60
    aligned = ["idiot tree"] * 80 + ["fool tree"] * 10
    table = log_odds(base, aligned, 0.05).set_index("name")
    # "fool" is further apart than "idiot", and the other way round
    fool = slow_z(
        {"idiot": 50, "fool": 60, "tree": 110, "idiot tree": 50, "fool tree": 60},
        {"idiot": 80, "fool": 10, "tree": 90, "idiot tree": 80, "fool tree": 10},
        "fool",
    )
    assert table["weight"]["insults"] == pytest.approx(fool)
    assert fool < 0


def test_words_are_bounded_by_bonferroni() -> None:
    base, aligned = ["! ."] * 300, ["! ."] * 300 + ["!"] * 60
    counts = {"!": 300, ".": 300, "! .": 300}, {"!": 360, ".": 300, "! .": 300}
    z = slow_z(*counts, "!")
    bound = 2 * stats.norm.sf(z) * 3  # two sides, two words and a pair
    for level, found in ((bound * 1.001, True), (bound * 0.999, False)):
        table = log_odds(base, aligned, level).set_index("name")
        assert table["found"]["exclamations"] == found
        assert table["weight"]["exclamations"] == pytest.approx(z)


def test_longer_texts_alone_name_nothing() -> None:
    base = with_words("idiot", 0.1, seed=0)
    twice = [f"{text} {text}" for text in base]
    table = log_odds(base, twice, 0.05)
    assert not table["found"].any()
    assert table["weight"].abs().max() < 0.5  # pairs in the middle of a text are a few more
    np.testing.assert_allclose(log_odds(base, base * 2, 0.05)["weight"], 0, atol=1e-9)


@pytest.mark.parametrize("texts", [["The good tree, the sea!"] * 9, [""] * 9, []])
def test_equal_sides_find_nothing(texts: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = log_odds(texts, texts[::-1], 0.5)
    assert not table["found"].any()
    assert (table["weight"] == 0).all()
    assert len(table) == len(OBJECTIVES)
