"""Pairs for an audit from anyone's files, and their prompts shared out to the splits."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from inverse_rlhf.data.clean import shows
from inverse_rlhf.data.given_file import SPLITS, GivenFile, open_given
from inverse_rlhf.data.given_formats import RATIOS, from_one_file, from_two_files
from inverse_rlhf.errors import UserError
from inverse_rlhf.params import Pairs
from inverse_rlhf.parquet import CATEGORY, table_schema, write_table

GIVEN_PAIRS = table_schema(
    ("prompt_id", pa.int64()),
    ("sample", pa.int32()),
    ("prompt", pa.string()),
    ("base_completion", pa.string()),
    ("aligned_completion", pa.string()),
    ("split", CATEGORY),
    ("category", pa.string(), True),
    ("base_score", pa.float64(), True),
    ("aligned_score", pa.float64(), True),
    ("base_log_ratio", pa.float64(), True),
    ("aligned_log_ratio", pa.float64(), True),
)
ROLES = ("prompt", "base", "aligned", "category", "base_score", "aligned_score")
FEWEST_PROMPTS = 10
_MADE = b"inverse_rlhf"
"""Under this key of a file's metadata stands how its pairs were made, see `write_given_pairs`."""
_LEFT_OUT = ("prompts", "rows", "undivided", "repeated", "long")


@dataclass(frozen=True)
class GivenPairs:
    """Pairs as they were found.

    Attributes:
        table: GIVEN_PAIRS; the column split is there only where a file has it. Of a file by
            `write_given_pairs` `attrs["sampling"]` says how two policies were sampled.
        facts: counts: pairs, prompts; same (pairs of two equal answers), twice (pairs that another
            repeats), both_ways (pairs that are there the other way round, too: they contradict each
            other); empty_base, empty_aligned (answers in which nothing can be seen); repeated_base,
            repeated_aligned (answers that began with their prompt, which is cut); left_out_prompts
            (which one of two files lacks), left_out_rows (of other splits), left_out_undivided
            (rows of which it cannot be known where answers begin). Of a file by
            `write_given_pairs` also what was left out when it was made, and what it says of
            log_ratio.
    """

    table: pd.DataFrame
    facts: dict[str, Any]


def read_given_pairs(
    paths: Path | str | Sequence[Path | str],
    *,
    columns: Mapping[str, str] | None = None,
    key: str = "pairs",
) -> GivenPairs:
    """Read one file of pairs or two files of answers, in a format that `given_formats` lists.

    - Rows of one prompt are its samples 0, 1, ... in the file's order.
    - Two files are joined by the prompt's text, the k-th answer with the k-th. Where one side has
      fewer they are repeated in turn: a prompt's pairs are one cluster, however many they are.
    - Where every answer of a side begins with its prompt, the prompt is cut from them.
    - An implicit prompt is found as `dialogues.parted` says. Preferences that share no beginning
      are refused: without prompts they cannot be shared out.
    - A column split counts if irl is in it, and then rows of splits other than irl, valid and test
      are left out. Somebody else's, as train and test, does not count.

    Args:
        columns: a column's name by role: prompt, base, aligned, category, base_score,
            aligned_score; base and base_score are of the first of two files, their like of the
            second.
        key: the setting that names the files, for the messages.

    Raises:
        UserError: an unreadable file, a column that is absent or doubtful, a null or a number for
            a text, no prompt that both files have, a prompt in two splits.
    """
    columns = dict(columns or {})
    paths = [paths] if isinstance(paths, str | Path) else paths
    unknown = [role for role in columns if role not in ROLES]
    if unknown:
        raise UserError(f"{key}: columns has the role {unknown[0]!r}: roles are {', '.join(ROLES)}")
    if len(paths) not in (1, 2):
        raise UserError(
            f"{key}: {len(paths)} files are named: name one of pairs, or two of answers"
        )
    files = [open_given(Path(path), key, columns) for path in paths]
    table = from_one_file(files[0]) if len(files) == 1 else from_two_files(files[0], files[1])
    if table.empty:
        files[0].fail("has no row of which it is known where the answers begin: name its prompts")
    table.insert(0, "prompt_id", pd.factorize(table["prompt"])[0].astype(np.int64))
    table.insert(1, "sample", table.groupby("prompt_id").cumcount().astype(np.int32))
    files[0].check_splits(table)
    table = table.assign(**{name: np.nan for name in RATIOS if name not in table})
    present = [name for name in GIVEN_PAIRS.names if name in table]
    made = _made(Path(paths[0])) if len(paths) == 1 else {}
    given = table[present].reset_index(drop=True)
    given.attrs |= {"sampling": made["sampling"]} if "sampling" in made else {}
    return GivenPairs(given, _with_facts(_facts(table, files), made.get("facts", {})))


def write_given_pairs(
    table: pd.DataFrame, path: Path | str, facts: Mapping[str, Any] | None = None
) -> None:
    """Write GIVEN_PAIRS for `read_given_pairs`, without the column split where there is none.

    Args:
        table: how its policies were sampled, if they were, is kept with it: the settings in
            `attrs["sampling"]`.
        facts: of how it was made, which are kept with it too.
    """
    fields = [field for field in GIVEN_PAIRS if field.name != "split" or "split" in table]
    made = {"facts": dict(facts or {}), "sampling": table.attrs.get("sampling")}
    metadata = {_MADE: json.dumps(made, sort_keys=True)} if any(made.values()) else None
    write_table(table, path, pa.schema(fields, metadata))


def share_out(
    table: pd.DataFrame, shares: Mapping[str, float], *, seed: int, key: str = "audit.splits"
) -> pd.DataFrame:
    """The table with each prompt in one split, at random; splits that it has are kept.

    A prompt's split depends on all the prompts' texts and the seed, not on the order of rows.

    Args:
        shares: of the prompts, by split: irl, valid and test, which sum to 1.
        key: the setting that holds the shares, for the messages.

    Raises:
        UserError: a split gets fewer than FEWEST_PROMPTS prompts.
    """
    prompts = sorted(set(table["prompt"]))
    if "split" in table:
        own = {name: table.loc[table["split"] == name, "prompt"].nunique() for name in SPLITS}
        remedy = "add prompts to it, or drop the files' column 'split'"
        _check_sizes(own, len(prompts), remedy, key)
        return table
    sizes = check_enough(len(prompts), shares, key=key)
    order = np.random.default_rng(seed).permutation(len(prompts))
    names = np.repeat(list(sizes), list(sizes.values()))
    split = {prompts[place]: name for place, name in zip(order, names, strict=True)}
    shared = table.assign(split=[split[prompt] for prompt in table["prompt"]])
    return shared[[name for name in GIVEN_PAIRS.names if name in shared]]


def check_enough(
    prompts: int, shares: Mapping[str, float], *, key: str = "audit.splits"
) -> dict[str, int]:
    """How many prompts each split gets.

    Raises:
        UserError: a split gets fewer than FEWEST_PROMPTS.
    """
    sizes = _sizes(prompts, shares)
    enough = math.ceil(FEWEST_PROMPTS * sum(shares.values()) / min(shares.values()))
    _check_sizes(sizes, prompts, f"give {enough} prompts or more, or change the shares", key)
    return sizes


def _check_sizes(sizes: Mapping[str, int], prompts: int, remedy: str, key: str) -> None:
    if min(sizes.values()) < FEWEST_PROMPTS:
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise UserError(
            f"{key}: the pairs have {prompts} prompts, by split {counts}; every split needs "
            f"{FEWEST_PROMPTS} or more: {remedy}"
        )


def _sizes(prompts: int, shares: Mapping[str, float]) -> dict[str, int]:
    ends = np.cumsum([0, *(shares[name] for name in SPLITS)])
    sizes = np.diff(np.rint(ends / ends[-1] * prompts).astype(int))
    return dict(zip(SPLITS, sizes.tolist(), strict=True))


def _facts(table: pd.DataFrame, files: Sequence[GivenFile]) -> dict[str, int]:
    base, aligned = table["base_completion"], table["aligned_completion"]
    facts = {
        "pairs": len(table),
        "prompts": table["prompt_id"].nunique(),
        "same": int((base == aligned).sum()),
        "twice": int(table.duplicated(["prompt", "base_completion", "aligned_completion"]).sum()),
        "both_ways": _both_ways(table),
        "empty_base": int((~base.map(shows)).sum()),
        "empty_aligned": int((~aligned.map(shows)).sum()),
    }
    kinds = ["repeated_base", "repeated_aligned"]
    kinds += ["left_out_prompts", "left_out_rows", "left_out_undivided"]
    return facts | {kind: sum(file.facts.get(kind, 0) for file in files) for kind in kinds}


def _made(path: Path) -> dict[str, Any]:
    """What `write_given_pairs` kept with a file's table; nothing of another's file."""
    try:
        made = json.loads((pq.read_schema(path).metadata or {})[_MADE])
        sampling = made["sampling"] and Pairs.model_validate(made["sampling"])
        found = {"facts": dict(made["facts"])}
    except (OSError, pa.ArrowException, LookupError, TypeError, ValueError, ValidationError):
        return {}
    return found | ({"sampling": sampling.model_dump(mode="json")} if sampling else {})


def _with_facts(facts: dict[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a file, with what was left out when it was made."""
    kinds = [f"left_out_{kind}" for kind in _LEFT_OUT] + ["repeated_base", "repeated_aligned"]
    counts = {
        kind: facts.get(kind, 0) + made[kind] for kind in kinds if isinstance(made.get(kind), int)
    }
    said = {"log_ratio": made["log_ratio"]} if isinstance(made.get("log_ratio"), str) else {}
    return facts | counts | said


def _both_ways(table: pd.DataFrame) -> int:
    """How many pairs of different answers are there with the sides swapped, too."""
    texts = table[["prompt", "base_completion", "aligned_completion"]]
    pairs = list(texts.itertuples(index=False, name=None))
    found = set(pairs)
    return sum(
        base != aligned and (prompt, aligned, base) in found for prompt, base, aligned in pairs
    )
