"""What a recovered reward has learnt: along the tokens, by n-gram, and where it goes wrong.

What each word of a text adds to it, `occlusion` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LassoCV
from sklearn.metrics import r2_score
from transformers import BatchEncoding

from inverse_rlhf.data.tables import both_policies, completions_of, texts_of, whole_texts
from inverse_rlhf.evaluation.tables import TOKEN_CREDITS
from inverse_rlhf.features.hidden_state import scalar_head
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import (
    behind,
    completion_texts,
    encode,
    map_texts,
    prompt_ids,
    with_masks,
)
from inverse_rlhf.rewards.classifier import Reward
from inverse_rlhf.rewards.recovered import IrlReward


class RewardPaths:
    """A recovered reward along the tokens of completions, as they were sampled.

    Args:
        rows: columns prompt_id, sample, source, prompt, completion, ids, ended.
        reward: which.
        base: the base policy, whose tokens the credits are for.
    """

    def __init__(self, rows: pd.DataFrame, reward: IrlReward, base: Model) -> None:
        self._rows, self._reward, self._base = rows, reward, base
        sampled = [
            tuple(ids[: len(ids) - ended])  # no reward reads the end of text
            for ids, ended in zip(rows["ids"], rows["ended"], strict=True)
        ]
        # Each is read once.
        self._place, self._distinct = pd.factorize(
            pd.Index(list(zip(rows["prompt"], sampled, strict=True)), tupleize_cols=False)
        )
        self._heads = prompt_ids([prompt for prompt, _ in self._distinct], base.tokenizer)
        self._ids = [
            [*head, *tail] for head, (_, tail) in zip(self._heads, self._distinct, strict=True)
        ]
        self._lengths = np.array([len(ids) for ids in self._ids])
        self._hidden = np.zeros(self._lengths.sum(), dtype=np.float32)
        # Another body reads other tokens, and an encoder's states know what follows them.
        self._by_token = reward.body is not None and _reads_alike(reward.body, base)
        if self._by_token:
            encoded = with_masks(self._ids)
            self._hidden = _hidden_along(encoded, reward)

    def whole(self) -> dict[str, float]:
        """The rewards of whole texts, by text, where they are at the ends of their paths: a reward
        reads a text, whose tokens may be others than those it was sampled with.
        """
        if not self._by_token:
            return {}
        texts = pd.Series(texts_of(self._rows)).groupby(self._place).first().tolist()
        values = self._hidden[self._lengths.cumsum() - 1]
        if self._reward.text is not None:
            values = values + self._reward.text.score(texts)
        anew = encode(texts, self._base)["input_ids"]
        return {
            text: value
            for text, value, ids, read in zip(texts, values.tolist(), self._ids, anew, strict=True)
            if ids == read
        }

    def token_credits(self) -> pd.DataFrame:
        """The reward r_t of each text up to token t, and the credit r_t - r_(t-1) of the token.

        The first token's credit is its reward. Only a mean over tokens grows token by token: a head
        on the last token has learnt what finished texts look like, not their beginnings.

        Returns:
            The token_credits table, a row a token; position counts from 0. No rows where the reward
            reads no mean of the base policy's hidden states.
        """
        if not self._by_token or self._reward.reading.pooling != "mean":
            return pd.DataFrame(columns=TOKEN_CREDITS.names)
        values = self._hidden
        if self._reward.text is not None:
            values = values + self._reward.text.score(self._beginnings())
        position = np.concatenate([np.arange(length) for length in self._lengths])
        read = pd.DataFrame(
            {
                "text": np.repeat(np.arange(len(self._ids)), self._lengths),
                "position": position,
                "token": self._tokens(),
                "reward": values,
                "credit": np.where(position == 0, values, np.diff(values, prepend=np.float32(0))),
            }
        )
        keys = self._rows[["prompt_id", "sample", "source"]].assign(text=self._place)
        return keys.merge(read, on="text").drop(columns="text")

    def _beginnings(self) -> list[str]:
        """The text up to each token."""
        tokenizer, texts = self._base.tokenizer, []
        for (prompt, tail), head in zip(self._distinct, self._heads, strict=True):
            starts = [head[:end] for end in range(1, len(head))]
            texts += [tokenizer.decode(start, skip_special_tokens=True) for start in starts]
            tails = [tail[:end] for end in range(len(tail) + 1)]
            prompts, heads = [prompt] * len(tails), [head] * len(tails)
            texts += whole_texts(prompts, completion_texts(prompts, heads, tails, tokenizer))
        return texts

    def _tokens(self) -> list[str]:
        """What each token says behind the one before it."""
        tokenizer = self._base.tokenizer

        @cache
        def said(token: int, *before: int) -> str:
            return behind(before, [token], tokenizer, skip_special_tokens=False)[1]

        return [
            said(ids[end], *ids[max(end - 1, 0) : end])
            for ids in self._ids
            for end in range(len(ids))
        ]


def _reads_alike(body: Model, base: Model) -> bool:
    """Whether a body is of the base policy's kind, which is causal, and reads its tokens."""
    same_kind = body.module.config.model_type == base.module.config.model_type
    return same_kind and body.tokenizer.get_vocab() == base.tokenizer.get_vocab()


def _hidden_along(encoded: BatchEncoding, reward: IrlReward) -> np.ndarray:
    """The part of the reward that reads hidden states after each token, text by text: (tokens,).

    A causal model's hidden states up to t do not depend on what follows, so one pass gives them
    all.
    """
    assert reward.body is not None
    module = reward.body.module
    width = max(len(ids) for ids in encoded["input_ids"])

    def along(batch: BatchEncoding) -> torch.Tensor:
        hidden = module.base_model(**batch, use_cache=False).last_hidden_state
        if reward.reading.pooling == "mean":
            count = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
            hidden = hidden.float().cumsum(1) / count[:, None]
        values = scalar_head(hidden, reward.head)
        values = values.masked_fill(~batch["attention_mask"].bool(), torch.nan)
        return torch.nn.functional.pad(values, (0, width - values.shape[1]), value=torch.nan)

    values = map_texts(along, encoded, reward.body)
    flat: np.ndarray = values[~np.isnan(values)]
    return flat


@dataclass(frozen=True)
class Surrogate:
    """A sparse linear stand-in for a reward.

    Attributes:
        ngrams: ngram, weight (reward units) and texts (that it occurs in), by weight.
        r2: share of the reward's variance that it explains on held-out texts.
    """

    ngrams: pd.DataFrame
    r2: float


def ngram_surrogate(
    texts: Sequence[str],
    rewards: np.ndarray,
    held_out: Sequence[str],
    held_out_rewards: np.ndarray,
    *,
    seed: int,
) -> Surrogate:
    """Explain rewards by the presence of words and word pairs, with as few of them as it takes.

    The Lasso's penalty is chosen by cross-validation on `texts`.

    Args:
        texts, rewards: what the surrogate is fitted to.
        held_out, held_out_rewards: what its fidelity is measured on.

    Returns:
        A surrogate that says nothing (r2 0) where no word is in five of the texts.
    """
    counter = CountVectorizer(ngram_range=(1, 2), min_df=5, max_features=2000, binary=True)
    try:
        present = counter.fit_transform(texts).astype(np.float64)
    except ValueError:  # no word is in five texts
        return Surrogate(pd.DataFrame(columns=["ngram", "weight", "texts"]), 0.0)
    model = LassoCV(alphas=12, eps=0.01, cv=3, random_state=seed, max_iter=3000)
    model.fit(present, rewards)
    predicted = model.predict(counter.transform(held_out).astype(np.float64))
    table = pd.DataFrame(
        {
            "ngram": counter.get_feature_names_out(),
            "weight": model.coef_,
            "texts": np.asarray(present.sum(axis=0)).ravel().astype(np.int64),
        }
    )
    kept = table[table["weight"] != 0].sort_values("weight", ignore_index=True)
    return Surrogate(kept, float(r2_score(held_out_rewards, predicted)))


def disagreements(scores: pd.DataFrame, count: int = 50) -> pd.DataFrame:
    """The texts on which recovered and true reward, and the runs among themselves, differ most.

    Args:
        scores: the scores table.
        count: rows of each kind.

    Returns:
        kind (true_reward: by the difference of ranks; runs: by the standard deviation over runs)
        and size of the disagreement, with the texts and their rewards.
    """
    test = both_policies(scores)
    gap = test["irl_reward"].rank(pct=True) - test["true_reward"].rank(pct=True)
    by_kind = {"true_reward": gap, "runs": test["irl_std"].astype(np.float64)}
    columns = ["prompt_id", "sample", "source", "prompt", "completion"]
    columns += ["true_reward", "irl_reward", "irl_std"]
    parts = []
    for kind, size in by_kind.items():
        largest = size.abs().sort_values(ascending=False, kind="stable").index[:count]
        parts.append(test.loc[largest, columns].assign(kind=kind, disagreement=size[largest]))
    return pd.concat(parts, ignore_index=True)


def explain_by_ngrams(
    scores: pd.DataFrame, pairs: pd.DataFrame, reward: Reward, *, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What a sparse sum of words says of a reward: fitted on the irl split's completions, measured
    on the test ones.

    Args:
        scores: the scores table.
        pairs: the pairs table.

    Returns:
        The ngrams table, and the content of metrics/explanation.json.
    """
    test = both_policies(scores)
    texts = texts_of(completions_of(pairs[pairs["split"] == "irl"]))
    held_out = texts_of(test), test["irl_reward"].to_numpy()
    surrogate = ngram_surrogate(texts, reward.score(texts), *held_out, seed=seed)
    ngrams = surrogate.ngrams
    penalised, rewarded = (ngrams.query(f"weight {sign} 0")["ngram"] for sign in ("<", ">"))
    facts = {
        "surrogate_r2": surrogate.r2,
        "surrogate_ngrams": len(ngrams),
        "most_penalised": penalised.head(15).tolist(),
        "most_rewarded": rewarded.tail(15).tolist()[::-1],
    }
    return ngrams, facts
