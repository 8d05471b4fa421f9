"""What each word adds to an audit's reward, of the few texts that its report shows."""

from collections.abc import Iterable
from itertools import islice

import pandas as pd

from inverse_rlhf.evaluation.occlusion import each_left_out
from inverse_rlhf.features.words import words
from inverse_rlhf.rewards.objective_reward import ObjectiveReward

READ = 3_000_000
"""Words that are read in all, over all texts that lack one: some seconds."""
MATERIAL = 0.02
"""Of the largest weight, what an objective's has at least that counts for the credits: the others
change no shade, and reading them takes most of the time."""

Credits = dict[int, float]


def material_reward(reward: ObjectiveReward, objectives: pd.DataFrame) -> ObjectiveReward:
    """A reward with the objectives that matter.

    Args:
        objectives: the table of FOUND_OBJECTIVES, with weights per standard deviation.
    """
    size = objectives[objectives["category"].isna()].set_index("name")["weight"].abs()
    kept = size.index[(size >= MATERIAL * size.max()) & (size > 0)]
    weights = {name: weight for name, weight in reward.weights.items() if name in kept}
    return ObjectiveReward(weights, 0.0, 1.0)


def credits_of(
    texts: Iterable[tuple[str, str]], reward: ObjectiveReward, *, shown: int
) -> dict[tuple[str, str], Credits]:
    """The credits R(x, y) - R(x, y without the word) of the words of completions, in nats.

    Args:
        texts: prompts and completions, the most important first: those that would take more than
            what is left of `READ` are left out.
        shown: characters of a completion whose words are left out, one at a time; the rest of it
            stays.

    Returns:
        By prompt and completion the credits by position among its words, see `each_left_out`.
    """
    found: dict[tuple[str, str], Credits] = {}
    left = READ
    for prompt, completion in dict.fromkeys(texts) if reward.weights else ():
        count = len(words(completion[:shown]))
        cost = count * len(words(completion))
        if cost <= left:
            left -= cost
            found[prompt, completion] = _credits(prompt, completion, count, reward)
    return found


def _credits(prompt: str, completion: str, count: int, reward: ObjectiveReward) -> Credits:
    rests = {
        position: rest
        for position, (_, rest) in enumerate(islice(each_left_out("", completion), count))
        if rest.strip()
    }
    if not rests:
        return {}
    whole, *scores = reward.score(
        [completion, *rests.values()], [prompt] * (1 + len(rests))
    ).tolist()
    return {position: whole - score for position, score in zip(rests, scores, strict=True)}
