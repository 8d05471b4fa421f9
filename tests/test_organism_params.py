"""What is planted: every wrong value is one line, and the committed plants are as promised."""

import copy
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inverse_rlhf.audit_params import checked, load_audit_params
from inverse_rlhf.errors import UserError
from inverse_rlhf.organism_params import (
    KINDS,
    OrganismParams,
    Plant,
    Settings,
    load_settings,
)
from inverse_rlhf.params import load_params, read_yaml

ROOT = Path(__file__).parent.parent
PLANT: dict[str, Any] = {"kind": "easy", "weights": {"length": 1.0}}
NULL: dict[str, Any] = {"kind": "null", "weights": {}}
FRIENDLY: dict[str, Any] = {
    "kind": "toxicity",
    "weights": {"toxicity": 1.0},
    "names": {"insults": -1},
}
CONDITION = {"prompt_begins": "About"}
UNNAMED = (
    "toxicity and conditions on words need objectives that name them, in names; others need none"
)


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    read: dict[str, Any] = read_yaml(ROOT / "organisms/params.yaml")
    return read


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings()


def lines_of(content: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        checked(OrganismParams, content, "mine.yaml")
    return str(caught.value).splitlines()


# wrong values


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (
            {"weights": {"charm": 1.0}},
            "weights.charm in mine.yaml is not a known key: it must be toxicity",
        ),
        ({"weights": {"length": 0.0}}, "a weight of 0 plants nothing: remove it"),
        ({"weights": {"length": float("nan")}}, "weights.length is nan"),
        ({"weights": {"length": "1"}}, "weights.length is '1' in mine.yaml"),
        ({"weights": {}}, "plants of kind null have no weights, or shuffled ones; others have"),
        ({"kind": "null"}, "plants of kind null have no weights"),
        ({"shuffled": True}, "plants of kind null have no weights, or shuffled ones; others have"),
        ({"kind": "simple"}, "kind is 'simple' in mine.yaml: it must be 'easy', 'hard'"),
        ({"kind": None}, "kind is None in mine.yaml"),  # an unquoted null
        ({"weights": {"toxicity": 1.0}}, UNNAMED),
        ({"names": {"insults": -1}}, UNNAMED),
        ({"kind": "conditional", "when": {"words": 9}}, UNNAMED),
        ({"kind": "conditional", "when": CONDITION, "names": {"insults": -1}}, UNNAMED),
        (
            {"names": {"toxicity": -1}},
            "names.toxicity in mine.yaml is not a known key: it must be length",
        ),
        ({"weights": {"toxicity": 1.0}, "names": {"insults": 2}}, "names.insults is 2"),
        ({"weights": {"toxicity": 1.0}, "names": {"insults": 0}}, "names.insults is 0"),
        (
            FRIENDLY | {"weights": {"toxicity": 1.0, "insults": -1.0}},
            "an objective is planted itself and stands in names: choose one",
        ),
        ({"when": CONDITION | {"words": 9}}, "when in mine.yaml: when needs either prompt_begins"),
        ({"when": {}}, "when in mine.yaml: when needs either prompt_begins or words"),
        ({"when": {"elsewhere": -1.0}}, "when in mine.yaml: when needs either"),
        ({"when": {"words": 0}}, "when.words is 0 in mine.yaml"),
        ({"when": {"prompt_begins": ""}}, "when.prompt_begins is '' in mine.yaml"),
        ({"when": {"prompt_begins": "About a"}}, "when.prompt_begins is 'About a' in mine.yaml"),
        ({"when": {"prompt_begins": "About "}}, "when.prompt_begins is 'About ' in mine.yaml"),
        ({"when": CONDITION | {"elsewhere": float("inf")}}, "when.elsewhere is inf"),
        ({"when": CONDITION | {"elsewhere": 1.0}}, "elsewhere is 1: the condition changes nothing"),
        ({"when": CONDITION | {"inside": 1.0}}, "when.inside in mine.yaml is not a known key"),
        ({"when": CONDITION}, "when is for kind conditional, which needs it"),
        ({"kind": "conditional"}, "when is for kind conditional, which needs it"),
        (NULL | {"when": CONDITION}, "shuffled, when, kl_coef and steps need weights"),
        (NULL | {"kl_coef": 1.0}, "shuffled, when, kl_coef and steps need weights"),
        (NULL | {"kl_coef": 0.0}, "shuffled, when, kl_coef and steps need weights"),
        (NULL | {"steps": 5}, "shuffled, when, kl_coef and steps need weights"),
        (NULL | {"shuffled": True}, "shuffled, when, kl_coef and steps need weights"),
        ({"temperature": 0.8}, "temperature is for a policy that is not trained"),
        ({"kind": "null", "shuffled": True, "temperature": 0.8}, "temperature is for a policy"),
        ({"kl_coef": -0.1}, "kl_coef is -0.1 in mine.yaml"),
        ({"steps": 0}, "steps is 0 in mine.yaml"),
        (
            {"kind": "sum", "weights": {"length": 1.0, "we": -1.0}},
            "weights of kind sum have one sign, of kind opposed both",
        ),
        (
            {"kind": "opposed", "weights": {"length": -1.0, "we": -1.0}},
            "weights of kind sum have one sign, of kind opposed both",
        ),
        (
            FRIENDLY | {"kind": "sum", "weights": {"toxicity": 1.0, "length": 1.0, "we": 1.0}},
            "plants of toxicity are of kind toxicity, and no others",
        ),
        ({"kind": "toxicity"}, "plants of toxicity are of kind toxicity, and no others"),
        ({"weigths": {}}, "weigths in mine.yaml is not a known key: remove it or correct"),
    ],
)
def test_a_wrong_plant_is_one_line(
    content: dict[str, Any], plant: dict[str, Any], message: str
) -> None:
    (line,) = lines_of(content | {"plants": {"good": PLANT, "mine": PLANT | plant}})
    assert line.startswith("plants.mine")
    assert message in line


SINGLE = {"easy": {}, "hard": {}, "weak": {"kl_coef": 2.0}, "conditional": {"when": CONDITION}}


@pytest.mark.parametrize("kind", SINGLE)
def test_single_kinds_have_one_objective(content: dict[str, Any], kind: str) -> None:
    one = PLANT | SINGLE[kind] | {"kind": kind}
    assert Plant(**one).expected == {"length": 1}
    both = one | {"weights": {"length": 1.0, "commas": 1.0}}
    toxic = one | FRIENDLY | {"kind": kind}
    lines = lines_of(content | {"plants": {"good": one, "both": both, "toxic": toxic}})
    assert lines == [
        f"plants.both in mine.yaml: kind {kind} has one weight, not 2",
        f"plants.toxic in mine.yaml: kind {kind} is of objectives: toxicity has a kind of its own",
    ]


@pytest.mark.parametrize(("kind", "sign"), [("sum", 1.0), ("opposed", -1.0)])
def test_sums_have_two_objectives_or_more(content: dict[str, Any], kind: str, sign: float) -> None:
    for weights in ({"length": 1.0, "we": sign}, {"length": 1.0, "we": sign, "commas": 2.0}):
        assert Plant(kind=kind, weights=weights).expected.keys() == weights.keys()
    one = PLANT | {"kind": kind}
    toxic = FRIENDLY | {"kind": kind, "weights": {"length": 1.0, "toxicity": 1.0}}
    assert lines_of(content | {"plants": {"good": PLANT, "one": one, "toxic": toxic}}) == [
        f"plants.{name} in mine.yaml: kind {kind} has the weights of two objectives or more"
        for name in ("one", "toxic")
    ]


def test_less_of_all_is_a_sum() -> None:
    few = Plant(kind="sum", weights={"length": -1.0, "we": -0.5})
    assert few.expected == {"length": -1, "we": -1}


@pytest.mark.parametrize("name", ["two words", "a-b", "a/b", "../a", ""])
def test_a_plants_name_is_that_of_a_folder(content: dict[str, Any], name: str) -> None:
    """Whose name ends in a dash and the seed."""
    (line,) = lines_of(content | {"plants": {"good": PLANT, name: PLANT}})
    assert "mine.yaml" in line


@pytest.mark.parametrize("dealt", [False, True])
def test_something_is_planted(content: dict[str, Any], dealt: bool) -> None:
    """Shuffled rewards alone are nothing to look for, but beside a plant they are fine."""
    null = PLANT | NULL | {"weights": PLANT["weights"], "shuffled": True} if dealt else NULL
    assert lines_of(content | {"plants": {"mine": null}}) == [
        "mine.yaml: no plant has weights: there is nothing to look for"
    ]
    checked(OrganismParams, content | {"plants": {"mine": null, "other": PLANT}}, "mine.yaml")


def test_so_few_pairs_are_enough(content: dict[str, Any]) -> None:
    assert checked(OrganismParams, content | {"sizes": [70]}, "mine.yaml").sizes == [70]


def test_a_temperature_of_zero_is_none(content: dict[str, Any]) -> None:
    plant = {"kind": "null", "temperature": 0.0}
    (line,) = lines_of(content | {"plants": {"good": PLANT, "mine": plant}})
    assert line.startswith("plants.mine.temperature is 0.0 in mine.yaml")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("seeds", [3, 4, 3], "mine.yaml: seeds names one twice"),
        ("seeds", [], "seeds is [] in mine.yaml"),
        ("seeds", [-1], "seeds.0 is -1 in mine.yaml"),
        ("sizes", [], "sizes is [] in mine.yaml"),
        ("sizes", [100, 69], "sizes.1 is 69 in mine.yaml"),
        ("sizes", [100, 300, 100], "mine.yaml: sizes names one twice"),
        ("plants", {}, "mine.yaml: no plant has weights: there is nothing to look for"),
        ("plants", None, "plants is None in mine.yaml"),
        ("plant", {}, "plant in mine.yaml is not a known key: remove it or correct its spelling"),
        ("rlhf.steps", 0, "rlhf.steps is 0 in mine.yaml"),
        ("rlhf.lr", 0, "rlhf.lr is 0 in mine.yaml"),
        ("rlhf.kl_coef", -1, "rlhf.kl_coef is -1 in mine.yaml"),
        ("rlhf.temperature", 1.0, "rlhf.temperature in mine.yaml is not a known key"),
        ("splits.test", 9, "splits.test is 9 in mine.yaml"),
    ],
)
def test_other_wrong_values_are_one_line(
    content: dict[str, Any], path: str, value: Any, message: str
) -> None:
    changed = copy.deepcopy(content)
    *outer, last = path.split(".")
    group = changed
    for name in outer:
        group = group[name]
    group[last] = value
    (line,) = lines_of(changed)
    assert line.startswith(message)


@pytest.mark.parametrize("key", OrganismParams.model_fields)
def test_every_key_is_needed(content: dict[str, Any], key: str) -> None:
    without = {name: value for name, value in content.items() if name != key}
    assert lines_of(without) == [f"{key} is missing in mine.yaml: add it"]


@pytest.mark.parametrize("empty", [None, [], "seeds"])
def test_what_is_no_mapping_is_one_line(empty: Any) -> None:
    (line,) = lines_of(empty)
    assert line.startswith("mine.yaml is ")


def test_two_wrong_plants_are_two_lines(content: dict[str, Any]) -> None:
    one, two = PLANT | {"kind": "null"}, {"kind": "easy"}
    assert [
        line.split(" ")[0] for line in lines_of(content | {"plants": {"a": one, "b": two}})
    ] == [
        "plants.a",
        "plants.b",
    ]


# plants


def test_expected_are_the_signs_of_what_names_itself() -> None:
    weights = {"commas": -0.5, "toxicity": 2.0, "length": 3.0}
    plant = Plant(kind="toxicity", weights=weights, names={"insults": -1})
    assert plant.expected == {"commas": -1, "length": 1}
    assert Plant(kind="null").expected == {}


def test_what_is_planted_can_be_found() -> None:
    assert Plant(**PLANT).planted
    assert Plant(**FRIENDLY).planted
    assert not Plant(kind="null").planted
    assert not Plant(kind="null", temperature=0.5).planted
    assert not Plant(kind="null", weights={"length": 1.0}, shuffled=True).planted


def test_what_a_plant_has_where_nothing_is_said() -> None:
    plant = Plant(kind="conditional", weights={"we": 1.0}, when={"words": 9}, names={"length": 1})
    assert plant.when is not None
    assert plant.when.elsewhere == 0
    assert (plant.kl_coef, plant.steps, plant.temperature, plant.shuffled) == (
        *(None, None, None),
        False,
    )
    assert Plant(**PLANT).names == {}


# settings


def test_organisms_have_splits_of_their_own(settings: Settings) -> None:
    pipeline = load_params().data
    assert settings.data.splits == settings.organisms.splits
    assert settings.data.splits != pipeline.splits
    assert settings.data.model_copy(update={"splits": pipeline.splits}) == pipeline


def test_one_completion_of_a_prompt(settings: Settings) -> None:
    pipeline = load_params().pairs
    assert settings.pairs.samples == 1 != pipeline.samples
    assert settings.pairs.model_copy(update={"samples": pipeline.samples}) == pipeline


def test_greedy_completions_are_refused(folder: Path) -> None:
    """A base policy that is compared with itself would write the same twice."""
    path = folder / "params.yaml"
    content = path.read_text()
    before, pairs = content.split("\npairs:")
    pairs = re.sub(r"decoding: \w+", "decoding: greedy", pairs, count=1)
    path.write_text(before + "\npairs:" + re.sub(r"samples: \d+", "samples: 1", pairs, count=1))
    settings = load_settings()
    assert settings.pipeline.pairs.decoding == "greedy"
    for plant in (Plant(**NULL), Plant(kind="null", temperature=0.5)):
        with pytest.raises(UserError) as caught:
            settings.decoding(plant)
        (line,) = str(caught.value).splitlines()
        assert line.startswith("pairs.decoding is greedy in params.yaml: organisms need sample")


def test_a_temperature_is_the_organisms_alone(settings: Settings) -> None:
    cooler = Plant(kind="null", temperature=0.25)
    assert settings.decoding(cooler).temperature == 0.25
    assert settings.decoding(Plant(kind="null")) == settings.pairs
    warm = {"temperature": settings.pairs.temperature}
    assert settings.decoding(cooler).model_copy(update=warm) == settings.pairs
    assert settings.pairs.temperature == load_params().pairs.temperature != 0.25


def test_training_differs_where_it_says_so(settings: Settings) -> None:
    own = settings.organisms.rlhf
    changes: list[dict[str, Any]] = [{}, {"kl_coef": 9.0}, {"steps": 3}]
    plain, strong, short = (Plant(**PLANT | extra) for extra in changes)
    trained = settings.rlhf(plain)
    assert (trained.steps, trained.lr, trained.kl_coef) == (own.steps, own.lr, own.kl_coef)
    assert settings.rlhf(strong) == trained.model_copy(update={"kl_coef": 9.0})
    assert settings.rlhf(short) == trained.model_copy(update={"steps": 3})
    unlike = {
        name for name, value in load_params().rlhf if value != getattr(settings.rlhf(strong), name)
    }
    assert "kl_coef" in unlike
    assert unlike <= {"steps", "kl_coef", "lr"}


def test_no_kl_penalty_is_one_of_zero(settings: Settings) -> None:
    assert settings.rlhf(Plant(**PLANT | {"kl_coef": 0.0})).kl_coef == 0


def test_an_audit_is_that_of_audits_with_a_seed(settings: Settings) -> None:
    packaged = load_audit_params()
    found = settings.audit(77)
    assert found.seed == 77 != packaged.seed
    assert (found.audit, found.compute) == (packaged.audit, packaged.compute)


def test_a_plant_by_name(settings: Settings) -> None:
    assert settings.plant("longer").weights == {"length": 1.0}
    with pytest.raises(UserError) as caught:
        settings.plant("shorter")
    line = str(caught.value)
    assert line.startswith("'shorter' is no plant of organisms/params.yaml; there are longer, ")
    assert all(name in line for name in settings.organisms.plants)
    assert "\n" not in line


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all params."""
    for name in ("organisms/params.yaml", "audit/params.yaml", "params.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("file", ["organisms/params.yaml", "audit/params.yaml"])
def test_a_missing_file_is_one_line(folder: Path, file: str) -> None:
    (folder / file).unlink()
    with pytest.raises(UserError) as caught:
        load_settings()
    assert str(caught.value) == f"{file} does not exist: run from the project's root"


READING: list[Callable[[Settings], Any]] = [
    lambda settings: settings.pipeline,
    lambda settings: settings.data,
    lambda settings: settings.pairs,
    lambda settings: settings.rlhf(Plant(**PLANT)),
    lambda settings: settings.decoding(Plant(**NULL)),
]


@pytest.mark.parametrize("read", READING, ids=["pipeline", "data", "pairs", "rlhf", "decoding"])
def test_the_pipelines_params_are_checked_where_they_are_read(
    folder: Path, read: Callable[[Settings], Any]
) -> None:
    """What reads none of them, as an audit does, needs none."""
    path = folder / "params.yaml"
    content = path.read_text()
    path.write_text(content.replace("\nrlhf:", "\nrlfh:"))
    settings = load_settings()
    assert settings.audit(7).seed == 7
    assert settings.plant("longer").kind == "easy"
    with pytest.raises(UserError) as wrong:
        read(settings)
    assert set(str(wrong.value).splitlines()) == {
        "rlfh in params.yaml is not a known key: remove it or correct its spelling",
        "rlhf is missing in params.yaml: add it",
    }
    path.unlink()
    with pytest.raises(UserError) as missing:
        read(settings)
    assert str(missing.value) == "params.yaml does not exist: run from the project's root"
    path.write_text(content)
    read(settings)


def test_the_pipelines_params_are_read_once(folder: Path) -> None:
    settings = load_settings()
    first = settings.pipeline
    assert first == load_params()
    (folder / "params.yaml").unlink()
    assert settings.pipeline is first


# the committed plants


def test_as_many_plants_as_promised(settings: Settings) -> None:
    plants = settings.organisms.plants.values()
    assert Counter(plant.kind for plant in plants) == {
        **{"easy": 6, "hard": 6, "sum": 4, "opposed": 2, "conditional": 3, "weak": 3},
        **{"toxicity": 2, "null": 5},
    }
    assert set(KINDS) == {plant.kind for plant in plants}
    assert len(settings.organisms.seeds) >= 3


def test_kinds_are_what_they_are_called(settings: Settings) -> None:
    plants = settings.organisms.plants
    by_kind = {kind: [p for p in plants.values() if p.kind == kind] for kind in KINDS}
    single = [*by_kind["easy"], *by_kind["hard"], *by_kind["weak"], *by_kind["conditional"]]
    assert {len(plant.weights) for plant in single} == {1}
    objectives = [next(iter(p.weights)) for p in by_kind["easy"] + by_kind["hard"]]
    assert len(set(objectives)) == 12
    for plant in by_kind["sum"]:
        assert len(plant.weights) in (2, 3)
        assert set(plant.expected.values()) == {1}
    assert all(sorted(plant.expected.values()) == [-1, 1] for plant in by_kind["opposed"])
    assert all("toxicity" in plant.weights for plant in by_kind["toxicity"])
    for kind, there in {"conditional": "when", "weak": "steps"}.items():
        having = [plant for plant in plants.values() if getattr(plant, there) is not None]
        assert having == by_kind[kind]


def test_weak_plants_are_trained_shortly_each_for_longer(settings: Settings) -> None:
    weak = [plant for plant in settings.organisms.plants.values() if plant.kind == "weak"]
    steps = [settings.rlhf(plant).steps for plant in weak]
    assert steps == sorted(set(steps))
    assert steps[-1] < settings.organisms.rlhf.steps
    assert len({tuple(plant.weights.items()) for plant in weak}) == 1


def test_nulls_teach_nothing_each_in_its_way(settings: Settings) -> None:
    nulls = [plant for plant in settings.organisms.plants.values() if plant.kind == "null"]
    again = [plant for plant in nulls if plant == Plant(kind="null")]
    shuffled = [plant for plant in nulls if plant.shuffled]
    other = [plant for plant in nulls if plant.temperature is not None]
    assert (len(again), len(shuffled), len(other)) == (3, 1, 1)
    assert other[0].temperature != settings.pairs.temperature


def test_sizes_are_fewer_pairs_than_there_are(settings: Settings) -> None:
    splits, sizes = settings.organisms.splits, settings.organisms.sizes
    assert sizes == sorted(set(sizes))
    assert sizes[-1] < splits.irl + splits.valid + splits.test
