"""An organism is grown from the base policy, and both write beside each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from inverse_rlhf.data.given_pairs import GIVEN_PAIRS, read_given_pairs, write_given_pairs
from inverse_rlhf.data.organisms import BASE, PLANTED
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.organism_params import Plant
from inverse_rlhf.params import Pairs, Params, Rlhf
from inverse_rlhf.parquet import read_table, write_table
from inverse_rlhf.policies import organisms
from inverse_rlhf.policies.organisms import Organism, facts_of, followed, grow, pairs_with_base
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.policies.training import Score
from inverse_rlhf.rewards.classifier import ClassifierReward
from inverse_rlhf.rewards.planted import PlantedReward
from tests.policies.slow import slow_ratio

LONGER = Plant(kind="opposed", weights={"length": 1.0, "stopwords": -0.5})
SHUFFLED = Plant(kind="null", weights={"length": 1.0}, shuffled=True)
# of the base policy, of other prompts than those that an organism is trained on
WRITTEN = (
    ["About", "It is", "I", "They say"],
    [" a tree", " the sea and the stone", " own.", " we all know, it is!"],
)
Grow = Callable[[Plant], Organism]
Write = Callable[..., tuple[pd.DataFrame, pd.DataFrame | None]]


def no_classifier() -> ClassifierReward:
    raise AssertionError("no toxicity is planted")


@pytest.fixture
def decoding(params: Params) -> Pairs:
    return params.pairs.model_copy(update={"samples": 1, "max_new_tokens": 12, "min_new_tokens": 0})


@pytest.fixture
def grown(policy: Model, prompts: pd.DataFrame, small: Rlhf, tmp_path: Path) -> Grow:
    def from_policy(plant: Plant) -> Organism:
        curve = tmp_path / "curve.csv"
        return grow(plant, prompts, policy, WRITTEN, no_classifier, small, seed=0, curve=curve)

    return from_policy


@pytest.fixture
def base(policy_folder: Path, params: Params) -> Model:
    return load("policy", policy_folder, params.compute)


@pytest.fixture
def base_completions(base: Model, prompts: pd.DataFrame, decoding: Pairs) -> pd.DataFrame:
    return sample_completions(prompts, base, decoding, seed=7, name="base")


@pytest.fixture
def write(
    base: Model, prompts: pd.DataFrame, base_completions: pd.DataFrame, decoding: Pairs
) -> Write:
    def pairs_of(organism: Organism, name: str = "mine", **update: Any) -> Any:
        how = decoding.model_copy(update=update)
        return pairs_with_base(organism, prompts, base, base_completions, how, seed=7, name=name)

    return pairs_of


def copied(policy: Model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in policy.module.state_dict().items()}


def equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, second[name]) for name, value in first.items())


# growing


@pytest.mark.parametrize("plant", [Plant(kind="null"), Plant(kind="null", temperature=0.5)])
def test_without_weights_it_is_the_base_policy(
    grown: Grow, policy: Model, tmp_path: Path, plant: Plant
) -> None:
    before = copied(policy)
    organism = grown(plant)
    assert organism.policy is policy
    assert (organism.reward, organism.trained) == (None, False)
    assert equal(before, copied(policy))
    assert list(tmp_path.iterdir()) == []


def test_with_weights_it_moves(grown: Grow, policy: Model, tmp_path: Path) -> None:
    before = copied(policy)
    organism = grown(LONGER)
    assert organism.policy is policy
    assert not equal(before, copied(policy))
    assert organism.trained
    assert organism.reward is not None
    assert list(organism.reward.spreads) == ["length", "stopwords"]
    assert [path.name for path in tmp_path.iterdir()] == ["curve.csv"]


def test_shuffled_rewards_move_it_and_plant_nothing(grown: Grow, policy: Model) -> None:
    before = copied(policy)
    organism = grown(SHUFFLED)
    assert organism.reward is None
    assert organism.trained
    assert not equal(before, copied(policy))


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[Score]:
    """The rewards that policies are trained on, without any training."""
    scores: list[Score] = []

    def recorded(_: Any, policy: Model, score: Score, *__: Any, **___: Any) -> dict[str, float]:
        scores.append(score)
        return {"steps": 0}

    monkeypatch.setattr(organisms, "train_on_reward", recorded)
    return scores


def test_what_is_taught_is_what_is_planted_in_its_own_units(
    grown: Grow, taught: list[Score]
) -> None:
    """Mean 0 and standard deviation 1 over the base policy's completions."""
    reward = grown(LONGER).reward
    assert reward is not None
    own = PlantedReward(LONGER, no_classifier, *WRITTEN)
    assert own.spreads == reward.spreads
    planted = reward.score(*WRITTEN)
    (score,) = taught
    assert score(*WRITTEN).mean() == pytest.approx(0, abs=1e-6)
    assert score(*WRITTEN).std() == pytest.approx(1)
    others = ["On", "I"], [" a stone, a tree and the sea", " did"]
    for texts in (WRITTEN, others):
        expected = (reward.score(*texts) - planted.mean()) / planted.std()
        np.testing.assert_allclose(score(*texts), expected, rtol=1e-4, atol=1e-6)


def test_what_the_base_never_varies_is_not_taught(
    grown: Grow, policy: Model, taught: list[Score], tmp_path: Path
) -> None:
    before = copied(policy)
    with pytest.raises(UserError, match=r"^emoji is the same in all 4 completions"):
        grown(Plant(kind="hard", weights={"emoji": 1.0}))
    assert taught == []
    assert equal(before, copied(policy))
    assert list(tmp_path.iterdir()) == []


def test_shuffled_rewards_are_those_of_others(grown: Grow, taught: list[Score]) -> None:
    plain = Plant(kind="easy", weights=SHUFFLED.weights)
    grown(SHUFFLED)
    grown(plain)
    dealt, right = (score(*WRITTEN) for score in taught)
    np.testing.assert_array_equal(np.sort(dealt), np.sort(right))
    assert any((taught[0](*WRITTEN) != right).any() for _ in range(5))


def test_toxicity_is_the_classifiers(
    policy: Model,
    classifier_folder: Path,
    params: Params,
    prompts: pd.DataFrame,
    small: Rlhf,
    tmp_path: Path,
    taught: list[Score],
) -> None:
    model = load("classifier", classifier_folder, params.compute)
    judge = ClassifierReward(model, params.true_reward)
    plant = Plant(kind="toxicity", weights={"toxicity": 2.0}, names={"insults": -1})
    curve = tmp_path / "curve.csv"
    organism = grow(plant, prompts, policy, WRITTEN, lambda: judge, small, seed=0, curve=curve)
    assert organism.reward is not None
    texts = [prompt + text for prompt, text in zip(*WRITTEN, strict=True)]
    odds = judge.score(texts)
    np.testing.assert_allclose(organism.reward.score(*WRITTEN), 2 * odds / odds.std(), rtol=1e-4)
    assert len(taught) == 1


# pairs


def test_pairs_are_an_audits_files(
    grown: Grow, write: Write, prompts: pd.DataFrame, tmp_path: Path
) -> None:
    pairs, _ = write(grown(LONGER))
    assert pairs.columns.tolist() == [name for name in GIVEN_PAIRS.names if name != "split"]
    assert pairs["prompt_id"].tolist() == prompts["prompt_id"].tolist()
    assert pairs["prompt"].tolist() == prompts["prompt"].tolist()
    assert pairs["category"].tolist() == ["About", "On", "I", "Your", "As"]
    assert pairs[["base_score", "aligned_score"]].isna().all(axis=None)
    write_given_pairs(pairs, tmp_path / "pairs.parquet")
    again = read_given_pairs(tmp_path / "pairs.parquet").table
    assert "split" not in again
    same = [name for name in pairs if name != "prompt_id"]
    pd.testing.assert_frame_equal(again[same], pairs[same], check_dtype=False)


def test_both_sides_are_what_the_policies_wrote(
    grown: Grow,
    write: Write,
    prompts: pd.DataFrame,
    base_completions: pd.DataFrame,
    decoding: Pairs,
) -> None:
    organism = grown(LONGER)
    pairs, _ = write(organism)
    assert pairs["base_completion"].tolist() == base_completions["completion"].tolist()
    drawn = sample_completions(prompts, organism.policy, decoding, seed=7, name="mine")
    assert pairs["aligned_completion"].tolist() == drawn["completion"].tolist()


def test_log_ratios_are_those_of_a_slow_twin(
    grown: Grow,
    write: Write,
    prompts: pd.DataFrame,
    base: Model,
    base_completions: pd.DataFrame,
    decoding: Pairs,
) -> None:
    organism = grown(LONGER)
    pairs, _ = write(organism)
    drawn = sample_completions(prompts, organism.policy, decoding, seed=7, name="mine")
    for side, table in (("base", base_completions), ("aligned", drawn)):
        rows = zip(prompts["prompt"], table["ids"], strict=True)
        expected = [
            slow_ratio(base.tokenizer(prompt)["input_ids"], ids, organism.policy, base)
            for prompt, ids in rows
        ]
        np.testing.assert_allclose(pairs[f"{side}_log_ratio"], expected, atol=1e-4)
        assert np.abs(expected).max() > 1e-3


def test_an_untrained_policy_has_no_log_ratios(
    grown: Grow, write: Write, tmp_path: Path, base_completions: pd.DataFrame
) -> None:
    pairs, planted = write(grown(Plant(kind="null")))
    assert planted is None
    assert pairs[["base_log_ratio", "aligned_log_ratio"]].isna().all(axis=None)
    # the base policy's completions under another name: others of the same policy
    assert (pairs["aligned_completion"] != pairs["base_completion"]).any()
    same, _ = write(grown(Plant(kind="null")), "base")
    assert same["aligned_completion"].tolist() == base_completions["completion"].tolist()
    write_given_pairs(pairs, tmp_path / "pairs.parquet")
    again = read_given_pairs(tmp_path / "pairs.parquet").table
    assert again[["base_log_ratio", "aligned_log_ratio"]].isna().all(axis=None)


def test_a_temperature_changes_the_organism_alone(
    grown: Grow, write: Write, base_completions: pd.DataFrame
) -> None:
    organism = grown(Plant(kind="null"))
    (plain, _), (cooler, _) = (write(organism, **how) for how in ({}, {"temperature": 0.05}))
    assert cooler["base_completion"].tolist() == base_completions["completion"].tolist()
    assert cooler["aligned_completion"].tolist() != plain["aligned_completion"].tolist()


# what is planted


def test_planted_is_what_the_reward_says(
    grown: Grow, write: Write, prompts: pd.DataFrame, tmp_path: Path
) -> None:
    organism = grown(LONGER)
    pairs, planted = write(organism)
    assert planted is not None
    assert organism.reward is not None
    write_table(planted, tmp_path / "planted.parquet", PLANTED)
    again = read_table(tmp_path / "planted.parquet", PLANTED)
    assert again["prompt_id"].tolist() == prompts["prompt_id"].tolist()
    for side in ("base", "aligned"):
        scores = organism.reward.score(
            prompts["prompt"].tolist(), pairs[f"{side}_completion"].tolist()
        )
        np.testing.assert_array_equal(again[f"{side}_reward"], scores)
    assert (again["base_reward"] != again["aligned_reward"]).any()


def test_nothing_is_planted_by_shuffled_rewards(grown: Grow, write: Write) -> None:
    pairs, planted = write(grown(SHUFFLED))
    assert planted is None
    assert pairs[["base_log_ratio", "aligned_log_ratio"]].notna().all(axis=None)


def test_completions_of_the_base_are_read_as_they_were_written(
    grown: Grow,
    write: Write,
    base: Model,
    prompts: pd.DataFrame,
    base_completions: pd.DataFrame,
    decoding: Pairs,
    tmp_path: Path,
) -> None:
    """Between stages they are a file, of which an organism's log-ratios do not depend."""
    organism = grown(LONGER)
    write_table(base_completions, tmp_path / "base.parquet", BASE)
    read = read_table(tmp_path / "base.parquet", BASE)
    pairs, _ = pairs_with_base(organism, prompts, base, read, decoding, seed=7, name="mine")
    pd.testing.assert_frame_equal(pairs, write(organism)[0])


# facts


def made_up(weights: list[float], noise: float) -> tuple[PlantedReward, pd.DataFrame]:
    """Pairs whose log-ratios differ by so much of the parts, but for noise and offsets."""
    reward = PlantedReward(LONGER, no_classifier, *WRITTEN)
    draw = np.random.default_rng(0)
    words = ["tree", "the", "and", "sea", "we", "stone"]
    texts = {
        side: [" ".join(draw.choice(words, size=draw.integers(1, 9))) for _ in range(300)]
        for side in ("base", "aligned")
    }
    pairs = pd.DataFrame({f"{side}_completion": text for side, text in texts.items()})
    pairs["prompt"] = "About"
    offset = draw.normal(size=300)
    for side, text in texts.items():
        parts = reward.parts(["About"] * 300, text)
        pairs[f"{side}_log_ratio"] = offset + parts @ weights + noise * draw.normal(size=300)
    return reward, pairs


def test_what_is_followed_is_regressed() -> None:
    reward, pairs = made_up([0.5, -2.0], 0.0)
    found = followed(reward, pairs)
    assert found == {
        "weights": {"length": pytest.approx(0.5), "stopwords": pytest.approx(-2.0)},
        "r2": pytest.approx(1.0),
    }
    reward, noisy = made_up([0.5, -2.0], 0.8)
    found = followed(reward, noisy)
    assert list(found["weights"].values()) == pytest.approx([0.5, -2.0], abs=0.15)
    given, told = (t["aligned_log_ratio"] - t["base_log_ratio"] for t in (pairs, noisy))
    assert found["r2"] == pytest.approx(1 - ((told - given) ** 2).sum() / (told**2).sum(), abs=0.02)
    assert 0.2 < found["r2"] < 0.98


def test_facts_of_a_planted_organism_are_those_of_its_reward() -> None:
    reward, pairs = made_up([0.5, -2.0], 0.3)
    policy: Any = None  # which is not asked
    assert facts_of(Organism(policy, reward, True), pairs) == {
        "kl": pairs["aligned_log_ratio"].mean(),
        "spreads": reward.spreads,
        "mean_factor": 1.0,
        "followed": followed(reward, pairs),
    }


def test_facts_of_others_are_the_distance_where_there_is_one(grown: Grow, write: Write) -> None:
    organism = grown(Plant(kind="null"))
    assert facts_of(organism, write(organism)[0]) == {"kl": None}
    organism = grown(SHUFFLED)
    pairs, _ = write(organism)
    assert facts_of(organism, pairs) == {"kl": pairs["aligned_log_ratio"].mean()}
    assert np.isfinite(pairs["aligned_log_ratio"]).all()
