"""What a recovered reward has learnt: along the tokens, by n-gram, and where it goes wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LassoCV
from sklearn.metrics import r2_score
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from inverse_rlhf.features import encode, map_texts, scalar_head
from inverse_rlhf.rewards import IrlReward


def token_credits(
    texts: pd.DataFrame,
    reward: IrlReward,
    policy: tuple[PreTrainedModel, PreTrainedTokenizerBase],
) -> pd.DataFrame:
    """The reward r_t of each text up to token t, and the credit r_t - r_(t-1) of the token.

    The first token's credit is its reward.

    Args:
        texts: columns prompt_id, sample, source, text.
        policy: the base policy and its tokenizer, which splits the texts.

    Returns:
        The keys of `texts` with position (from 0), token, reward and credit, a row a token.
    """
    encoded, tokenizer = encode(texts["text"].tolist(), *policy), policy[1]
    lengths = [len(ids) for ids in encoded["input_ids"]]
    values = np.zeros(sum(lengths), dtype=np.float32)
    if reward.body is not None:
        values += _hidden_along(encoded, reward)
    if reward.text is not None:
        prefixes = [ids[: end + 1] for ids in encoded["input_ids"] for end in range(len(ids))]
        decoded = tokenizer.batch_decode(prefixes, skip_special_tokens=True)
        values += reward.text.score(decoded)
    position = np.concatenate([np.arange(length) for length in lengths])
    keys = texts[["prompt_id", "sample", "source"]]
    return (
        keys.loc[keys.index.repeat(lengths)]
        .reset_index(drop=True)
        .assign(
            position=position,
            token=tokenizer.batch_decode(np.concatenate(encoded["input_ids"])[:, None]),
            reward=values,
            credit=np.where(position == 0, values, np.diff(values, prepend=np.float32(0))),
        )
    )


def _hidden_along(encoded: BatchEncoding, reward: IrlReward) -> np.ndarray:
    """The part of the reward that reads hidden states after each token, text by text: (tokens,).

    A causal model's hidden states up to t do not depend on what follows, so one pass gives them
    all.
    """
    assert reward.body is not None
    model, tokenizer = reward.body
    width = max(len(ids) for ids in encoded["input_ids"])

    def along(batch: BatchEncoding) -> torch.Tensor:
        hidden = model.base_model(**batch, use_cache=False).last_hidden_state
        if reward.card.pooling == "mean":
            count = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
            hidden = hidden.cumsum(1) / count[:, None]
        values = scalar_head(hidden, model.score.weight)
        values = values.masked_fill(~batch["attention_mask"].bool(), torch.nan)
        return torch.nn.functional.pad(values, (0, width - values.shape[1]), value=torch.nan)

    values = map_texts(along, encoded, model, tokenizer, reward.compute)
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
    test = scores[scores["source"].isin(["base", "aligned"])]
    gap = test["irl_reward"].rank(pct=True) - test["true_reward"].rank(pct=True)
    by_kind = {"true_reward": gap, "runs": test["irl_std"].astype(np.float64)}
    columns = ["prompt_id", "sample", "source", "prompt", "completion"]
    columns += ["true_reward", "irl_reward", "irl_std"]
    parts = []
    for kind, size in by_kind.items():
        largest = size.abs().sort_values(ascending=False, kind="stable").index[:count]
        parts.append(test.loc[largest, columns].assign(kind=kind, disagreement=size[largest]))
    return pd.concat(parts, ignore_index=True)
