"""Whether word credits find a planted word: by the credits of a finished run with a keyword.

    python -m benchmarks.occlusion

After `dvc repro` with a weight on the part keyword of the true reward. A text counts as found where
the keyword has the largest |credit| of its words, with the sign of its weight. Where the keyword
stands more than once, prompt included, a reward that reads its presence loses nothing with one of
them: such texts are shown apart.
"""

import re
import sys

import pandas as pd

from inverse_rlhf.data.tables import PROMPTS
from inverse_rlhf.evaluation.tables import WORD_CREDITS
from inverse_rlhf.params import load_params
from inverse_rlhf.parquet import read_table

TEXT = ["prompt_id", "sample", "source"]


def planted_texts(
    credits: pd.DataFrame, prompts: pd.DataFrame, keyword: str, weight: float
) -> pd.DataFrame:
    """The texts whose completion holds the keyword.

    Args:
        credits: the word_credits table.
        prompts: the prompts table.
        weight: of the keyword in the true reward.

    Returns:
        A row a text: credit (the keyword's largest in size), times (that it stands there, prompt
        included), rank (1 and the number of other words whose |credit| is no smaller) and found.
    """
    pattern = re.compile(rf"\b{re.escape(keyword)}\b", re.IGNORECASE)
    words = credits.assign(size=credits["credit"].abs().round(4))  # rounding breaks no ties
    planted = words["word"].map(lambda word: bool(pattern.search(word)))
    texts = words[planted].sort_values("size", kind="stable").groupby(TEXT, observed=True)
    table = texts.agg(times=("word", "size"), credit=("credit", "last"), most=("size", "last"))
    others = words[~planted].merge(table["most"], on=TEXT)
    larger = others[others["size"] >= others["most"]].groupby(TEXT, observed=True).size()
    table["rank"] = 1 + larger.reindex(table.index, fill_value=0)
    before = prompts.set_index("prompt_id")["prompt"].map(lambda text: len(pattern.findall(text)))
    table["times"] += before[table.index.get_level_values("prompt_id")].to_numpy()
    table["found"] = (table["rank"] == 1) & (table["credit"] * weight > 0)
    return table


def main() -> None:
    """Read the run of the working directory, and print the shares."""
    params = load_params()
    keyword, weight = params.parts.keyword, params.true_reward.weights.get("keyword", 0.0)
    if not weight:
        sys.exit("true_reward.weights.keyword is 0: no word is planted")
    credits = read_table("data/word_credits.parquet", WORD_CREDITS)
    prompts = read_table("data/prompts.parquet", PROMPTS, ["prompt_id", "prompt"])
    texts = planted_texts(credits, prompts, keyword, weight)
    count = len(credits.drop_duplicates(TEXT))
    print(f"'{keyword}', weight {weight:+g}: in {len(texts)} of {count} explained completions")
    once = texts["times"] == 1
    for name, rows in {"all": texts, "once": texts[once], "again": texts[~once]}.items():
        if len(rows):
            print(
                f"{name}: largest |credit|, right sign in {rows['found'].mean():.1%} of "
                f"{len(rows)} texts; mean rank {rows['rank'].mean():.2f}"
            )


if __name__ == "__main__":
    main()
