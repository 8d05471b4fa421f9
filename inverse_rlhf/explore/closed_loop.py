"""A pipeline's run: its recovered and true reward, all of its runs, its three policies."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inverse_rlhf.data.tables import PROMPTS, read_pairs, read_prompts, whole_texts
from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.reward_metrics import true_cut
from inverse_rlhf.evaluation.tables import SCORES
from inverse_rlhf.explore.answers import (
    Front,
    SamplesAsked,
    TextsAsked,
    credit_words,
    joined_with,
    objective_rows,
    scored,
)
from inverse_rlhf.explore.made import check_made
from inverse_rlhf.explore.runs import RunRewards, Spread
from inverse_rlhf.irl.problem import all_texts
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import prompt_ids, token_counts
from inverse_rlhf.params import Pairs, Params
from inverse_rlhf.parquet import read_table
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.classifier import ClassifierReward
from inverse_rlhf.rewards.reading import read_card
from inverse_rlhf.rewards.recovered import load_irl_reward
from inverse_rlhf.rewards.true_reward import combined
from inverse_rlhf.show.page import interval, number

POLICIES = {"base": "models/base", "aligned": "models/rlhf", "rerl": "models/rerl"}
_STAGES = (
    *("prepare_data", "base_policy", "true_reward", "rlhf_train", "generate_pairs"),
    *("maxmargin_irl", "rerl_with_irl_rm", "evaluate"),
)
_TABLES = ("prompts", "pairs", "irl_runs", "irl_scores", "scores")
_OUTS = (
    *(f"data/{name}.parquet" for name in _TABLES),
    *POLICIES.values(),
    "models/irl_reward",
    "models/true_reward",
)
_UNKNOWN_PROMPT = -1  # no prompt of the pipeline has this number


class ClosedLoop:
    """What a pipeline recovered, beside what it hid.

    Policies, and what all runs make of a text, are loaded when they are asked for first.

    Args:
        params: of the run.
        project: its folder.

    Raises:
        UserError: the run has not been made, or not with these params; see `check_made`.
    """

    def __init__(self, params: Params, project: Path = Path()) -> None:
        check_made(project, _STAGES, _OUTS)
        self._params, self._project = params, project
        compute, truth = params.compute, params.true_reward
        self._reward = load_irl_reward(project / "models/irl_reward", compute)
        self._card = read_card(project / "models/irl_reward", RewardCard)
        self._classifier: Model | None = None
        self._true = combined(truth, params.parts, self._load_classifier)
        scores = read_table(project / "data/scores.parquet", SCORES, ["source", "true_reward"])
        self._true_cut = true_cut(scores, truth.planted)
        self._cut = self._card.thresholds[params.evaluate.threshold]
        alone = set(truth.planted) == {"toxicity"}
        self._low, self._high = ("toxic", "not toxic") if alone else ("low", "high")
        self._policies: dict[str, Model] = {}

    def _load_classifier(self) -> ClassifierReward:
        folder = self._project / "models/true_reward"
        self._classifier = load("classifier", folder, self._params.compute)
        return ClassifierReward(self._classifier, self._params.true_reward)

    @cached_property
    def _runs(self) -> RunRewards:
        data = self._project / "data"
        prompts = read_prompts(data / "prompts.parquet", "irl", "valid", "test")
        return RunRewards(
            self._reward,
            self._card,
            read_table(data / "irl_runs.parquet", IRL_RUNS),
            read_table(data / "irl_scores.parquet", IRL_SCORES),
            all_texts(read_pairs(data / "pairs.parquet", prompts), prompts),
            self._params.evaluate.threshold,
        )

    @cached_property
    def _prompt_ids(self) -> dict[str, int]:
        columns = ["prompt_id", "prompt"]
        table = read_table(self._project / "data/prompts.parquet", PROMPTS, columns)
        return dict(zip(table["prompt"], table["prompt_id"].tolist(), strict=True))

    @property
    def front(self) -> Front:
        """What its page says."""
        card, planted = self._card, self._params.true_reward.planted
        which = "the mean of all runs" if card.run is None else f"run {card.run}"
        name = self._params.evaluate.threshold
        return Front(
            title="Explorer of the recovered reward",
            question="What does the recovered reward make of a text, and what the true one?",
            facts={
                "Recovered reward R̂": f"models/irl_reward: {which}, of {', '.join(card.features)}; "
                f"a text below {number(self._cut)} is called {self._low} (threshold {name})",
                "Fitted on": f"completions of this run's two policies{_kind(self._params)}; what "
                "the rewards make of other kinds of text has not been measured",
                "True reward R*": f"{_sum_of(planted)}; a text below {number(self._true_cut)} is "
                f"{self._low}",
            },
            measures={
                "R̂": "recovered reward",
                "Standardised": "R̂ in standard deviations from the mean of the completions that it "
                "was fitted on",
                "Over runs": "mean and standard deviation over the runs, each standardised by "
                "itself, and the lowest and highest run",
                "Called": "by the threshold of R̂, and by how many runs each by its own",
                "R*": "true reward, which nothing was fitted with",
                "By R*": "which it is by the true reward",
            },
            unit="units of R̂",
            reads="the prompt with its completion, as the rewards read them",
            policies=_settings(self._params.pairs),
            seed=self._params.seed,
        )

    def score(self, asked: TextsAsked) -> dict[str, Any]:
        """Both rewards of each completion, its spread over runs, words and objectives."""
        pairs = [joined_with(asked.prompt, completion) for completion in asked.completions]
        completions = [completion for completion, _ in pairs]
        texts = whole_texts([asked.prompt] * len(pairs), completions)
        rewards = self._reward.score(texts)
        spreads = [
            self._runs.of(text, value) for text, value in zip(texts, rewards.tolist(), strict=True)
        ]
        credited = [
            credit_words(asked.prompt, completion, self._reward.score, joined=True)
            for completion in completions
        ]
        cuts = self._cuts(texts)
        notes = [
            [line for line in (blank, *cut, self._why_not(spread), words.note) if line]
            for (_, blank), cut, spread, words in zip(pairs, cuts, spreads, credited, strict=True)
        ]
        rows = self._rows(rewards, self._true.score(texts), spreads)
        weights = self._reward.text.part_weights() if self._reward.text is not None else {}
        remarks = {name: number(weight, 3, signed=True) for name, weight in weights.items()}
        objectives = objective_rows(texts, None, weights, {}, remarks)
        return scored(rows, notes, credited, objectives, self._card.std)

    def _rows(
        self, rewards: np.ndarray, true: np.ndarray, spreads: Sequence[Spread | None]
    ) -> list[dict[str, str]]:
        standard = (rewards - self._card.mean) / self._card.std
        return [
            {
                "R̂": number(value, 4),
                "Standardised": number(apart, 2, signed=True),
                "Over runs": _over_runs(spread),
                "Called": self._called(value, spread),
                "R*": number(truth, 4),
                "By R*": self._label(truth, self._true_cut),
            }
            for value, apart, truth, spread in zip(
                rewards.tolist(), standard.tolist(), true.tolist(), spreads, strict=True
            )
        ]

    def _label(self, value: float, cut: float) -> str:
        return self._low if value < cut else self._high

    def _called(self, value: float, spread: Spread | None) -> str:
        label = self._label(value, self._cut)
        if spread is None:
            return label
        agree = spread.below if label == self._low else spread.runs - spread.below
        return f"{label} ({agree} of {spread.runs} runs)"

    def _why_not(self, spread: Spread | None) -> str | None:
        if spread is not None:
            return None
        why = self._runs.why_not or "it has something that the texts they gave rewards to had not"
        return f"What the other runs make of it is not known: {why}."

    def _cuts(self, texts: Sequence[str]) -> list[list[str]]:
        """For each text a line for each model that reads a part of it only."""
        lines: list[list[str]] = [[] for _ in texts]
        for name, model in (("R̂", self._reward.body), ("R*", self._classifier)):
            if model is None:
                continue
            part = "last" if model.tokenizer.truncation_side == "left" else "first"
            for row, tokens in zip(lines, token_counts(texts, model).tolist(), strict=True):
                if tokens > model.max_tokens:
                    row.append(
                        f"{name} reads the {part} {model.max_tokens} of its {tokens:,} tokens: "
                        "nothing else changes it."
                    )
        return lines

    def sample(self, asked: SamplesAsked) -> dict[str, Any]:
        """Completions by each policy with both rewards.

        Those of a prompt of the pipeline with its seed are the pipeline's own, but for rounding.
        """
        prompt, params = asked.prompt.rstrip(), self._params.pairs
        prompt_id = self._prompt_ids.get(prompt, _UNKNOWN_PROMPT)
        rows = pd.DataFrame({"prompt_id": [prompt_id], "prompt": [prompt]})
        policies = []
        for name in POLICIES:
            policy = self._policy(name)
            _check_room(prompt, policy, params.max_new_tokens)
            drawn = sample_completions(rows, policy, params, seed=asked.seed, name=name)
            texts = whole_texts([prompt] * len(drawn), drawn["completion"])
            rewards, true = self._reward.score(texts).tolist(), self._true.score(texts).tolist()
            policies.append(
                {
                    "name": name,
                    "completions": [
                        {
                            "text": text,
                            "ended": ended,
                            "scores": f"R̂ {number(value, 2)}, called "
                            f"{self._label(value, self._cut)}; R* {number(truth, 2)}, "
                            f"{self._label(truth, self._true_cut)}",
                        }
                        for text, ended, value, truth in zip(
                            drawn["completion"], drawn["ended"].tolist(), rewards, true, strict=True
                        )
                    ],
                }
            )
        known = prompt_id != _UNKNOWN_PROMPT and asked.seed == self._params.seed
        return {"prompt": prompt, "known": known, "policies": policies}

    def _policy(self, name: str) -> Model:
        if name not in self._policies:
            folder = self._project / POLICIES[name]
            self._policies[name] = load("policy", folder, self._params.compute)
        return self._policies[name]


def _check_room(prompt: str, policy: Model, new_tokens: int) -> None:
    tokens = len(prompt_ids([prompt], policy.tokenizer)[0])
    if tokens + new_tokens > policy.max_tokens:
        raise UserError(
            f"the prompt has {tokens:,} tokens: the policies read {policy.max_tokens}, "
            f"{new_tokens} of them of the completion: shorten it"
        )


def _over_runs(spread: Spread | None) -> str:
    if spread is None:
        return number(None)
    around = f"{number(spread.mean, 2, signed=True)} ± {number(spread.std, 2)}"
    return f"{around} ({interval(spread.low, spread.high, 2)})"


def _sum_of(planted: dict[str, float]) -> str:
    """The true reward in words."""
    if planted == {"toxicity": 1.0}:
        return "models/true_reward: a classifier's log-odds of non-toxic"
    return " + ".join(f"{number(weight, 2)} {name}" for name, weight in planted.items())


def _kind(params: Params) -> str:
    """Of the texts that everything was made of."""
    return ", on comments by a grammar" if params.data.source == "embedded" else ""


def _settings(pairs: Pairs) -> str:
    """How policies are sampled."""
    if pairs.decoding == "greedy":
        how = "greedily"
    else:
        cuts = [f"top {pairs.top_k}"] * bool(pairs.top_k) + [f"top p {pairs.top_p}"] * (
            pairs.top_p < 1
        )
        how = ", ".join([f"at temperature {pairs.temperature:g}", *cuts])
    return (
        f"{pairs.samples} by each policy, {how}, {pairs.min_new_tokens} to {pairs.max_new_tokens} "
        "tokens, as the pipeline draws them (pairs in params.yaml)"
    )
