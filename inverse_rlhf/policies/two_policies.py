"""Two policies side by side: their completions of the same prompts, and what each says of them."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import TemplateError

from inverse_rlhf.audit_params import Policies
from inverse_rlhf.data.dialogues import Cell, UnreadableError, prompt_text, read_cell
from inverse_rlhf.data.given_file import GivenFile, open_given
from inverse_rlhf.data.given_pairs import GIVEN_PAIRS
from inverse_rlhf.data.read_file import named, number_of, shown
from inverse_rlhf.data.tables import paired
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import ends_of_text, prompt_ids, text_ids
from inverse_rlhf.params import Compute, Pairs
from inverse_rlhf.policies.likelihood import log_ratios
from inverse_rlhf.policies.sampling import sample_completions

_SIDES = ("base", "aligned")
_IDS = 2**31  # prompts by number: what completions are drawn from has 32 bits


def read_prompts_file(path: Path, column: str, key: str = "prompts") -> pd.DataFrame:
    """Distinct prompts of a file, in its order.

    Args:
        column: with texts, or with lists of messages {role, content}.
        key: the setting that names the file, for the messages.

    Returns:
        Columns prompt_id (int64, the file's if it has such a column), prompt (the text, or that of
        the messages), messages where the file has those, and split where the file has the splits
        irl, valid and test; rows of others are left out. `attrs["facts"]` has the counts
        left_out_rows (of other splits) and left_out_repeated.

    Raises:
        UserError: an unreadable file, no such column or a cell of it that is neither, empty or ends
            with the assistant's message; texts beside messages; a prompt in two splits; a prompt_id
            that is no whole number or is there twice.
    """
    file = open_given(path, key, {"prompt": column})
    if column not in file.frame:
        file.fail(f"has no column {column!r}; its columns are {named(file.frame)}")
    cells = file.read(column, _read_prompt)
    kinds = [isinstance(cell, str) for cell in cells]
    if len(set(kinds)) > 1:
        row = file.frame.index[kinds.index(not kinds[0])]
        file.fail(
            f"has texts and messages in column {column!r}, row {row} is the first that differs: "
            "make them all one or the other"
        )
    table = pd.DataFrame(
        {"prompt_id": _prompt_ids(file), "prompt": [prompt_text(cell) for cell in cells]}
    )
    if not kinds[0]:
        table["messages"] = pd.Series([_messages(cell) for cell in cells], dtype=object)
    if "split" in file.frame:
        table["split"] = file.frame["split"].to_numpy()
    file.check_splits(table)
    repeated = table.duplicated("prompt")
    facts = {"left_out_rows": file.facts.get("left_out_rows", 0)}
    table = table[~repeated].reset_index(drop=True)
    table.attrs["facts"] = facts | {"left_out_repeated": int(repeated.sum())}
    return table


def _read_prompt(value: Any) -> Cell:
    prompt = read_cell(value)
    if not prompt_text(prompt).strip():
        raise UnreadableError("is empty")
    if not isinstance(prompt, str) and prompt[-1][0] == "assistant":
        raise UnreadableError(
            "ends with the assistant's message, which is what the policies are to write"
        )
    return prompt


def _messages(cell: Cell) -> list[dict[str, str]]:
    """Messages as chat templates take them; a text is a user's message."""
    pairs = [("user", cell)] if isinstance(cell, str) else cell
    return [{"role": role, "content": content} for role, content in pairs]


def _prompt_ids(file: GivenFile) -> np.ndarray:
    if "prompt_id" not in file.frame:
        return np.arange(len(file.frame), dtype=np.int64)

    def read(value: Any) -> int:
        number = number_of(value) if isinstance(value, str) else value
        if isinstance(number, bool) or not isinstance(number, int | np.integer | Decimal):
            raise UnreadableError(f"is {shown(value)}, not a whole number")
        if not 0 <= number < _IDS:
            raise UnreadableError(f"is {shown(value)}, not from 0 to {_IDS - 1}")
        if number != int(number):
            raise UnreadableError(f"is {shown(value)}, not a whole number")
        return int(number)

    ids = np.array(file.read("prompt_id", read), dtype=np.int64)
    distinct, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        file.fail(f"has prompt_id {distinct[counts > 1][0]} twice: number the rows, or drop it")
    return ids


def sample_pairs_of(
    policies: Policies,
    prompts: pd.DataFrame,
    params: Pairs,
    compute: Compute,
    *,
    seed: int,
    unfinished: Path | None = None,
) -> pd.DataFrame:
    """Completions of the same prompts by two policies, and their log-ratios.

    Each model is loaded once, and both are in memory. Texts go to the models as they are, also to
    those with a chat template, unless `policies.chat` makes each a user's message. Messages go
    through each model's own template, which brings the special tokens: none are added, and those
    that somebody typed stay text. Prompts that
    leave no room for `params.max_new_tokens` in either context are left out. Two policies that are
    the same one write independent completions.

    Log-ratios, log pi_aligned / pi_base of a completion in nats, are those of the tokens as they
    were sampled, the end of text included, at temperature 1 without top_k, top_p or min_new_tokens.
    They are null where the two do not read and write the same tokens.

    Args:
        prompts: prompt_id, prompt, and perhaps messages and split; see `read_prompts_file`.
        unfinished: a folder where finished batches are kept and looked for.

    Returns:
        GIVEN_PAIRS, with the column split only where `prompts` has it: prompt as in `prompts`, no
        category or scores, log-ratios nan for null. `attrs["facts"]` adds to those of `prompts`:
        prompts, left_out_long and log_ratio, which says "measured" or why not;
        `attrs["sampling"]` has `params`.

    Raises:
        UserError: a model that cannot be loaded, a hub id without a revision, messages for a model
            without a chat template, a prompt that its template refuses, of which no token is left
            or which begins with two tokens of beginning, no prompt that fits, or probabilities that
            are not finite.
    """
    models = _load(policies, compute)
    chat = policies.chat or "messages" in prompts
    heads = {
        side: _tokens(prompts, model, _name(policies, side), chat=chat)
        for side, model in models.items()
    }
    room = {side: model.max_tokens - params.max_new_tokens for side, model in models.items()}
    fits = np.array(
        [all(len(heads[side][i]) <= room[side] for side in _SIDES) for i in range(len(prompts))],
        dtype=bool,
    )
    if not fits.any():
        side = min(_SIDES, key=lambda side: room[side])
        shortest = min(map(len, heads[side]), default=0)
        raise UserError(
            f"no prompt fits the policies' context: the shortest has {shortest} tokens, and "
            f"{_name(policies, side)} reads {models[side].max_tokens}, pairs.max_new_tokens "
            f"{params.max_new_tokens} of them new: lower it or shorten the prompts"
        )
    kept = prompts[fits].reset_index(drop=True)
    ids = {side: [heads[side][i] for i in np.flatnonzero(fits)] for side in _SIDES}
    completions = {
        side: sample_completions(
            kept,
            model,
            params,
            seed=seed,
            name=side,
            heads=ids[side] if chat else None,
            kept=unfinished,
        )
        for side, model in models.items()
    }
    fact = _comparable(models, ids, completions)
    sides = {}
    for side, table in completions.items():
        ratios = np.full(len(table), np.nan)
        if fact == "measured":
            ratios = _ratios_of(table, ids["base"], models, policies, unfinished)
        sides[side] = table.drop(columns=["ids", "ended"]).assign(log_ratio=ratios)
    columns = [name for name in ("prompt_id", "prompt", "split") if name in kept]
    pairs = paired(kept[columns], sides["base"], sides["aligned"])
    pairs["category"] = pd.Series(np.nan, pairs.index, dtype=object)
    pairs = pairs.assign(base_score=np.nan, aligned_score=np.nan)
    pairs = pairs[[name for name in GIVEN_PAIRS.names if name in pairs]]
    left_out = {"prompts": len(kept), "left_out_long": int((~fits).sum())}
    pairs.attrs["sampling"] = params.model_dump(mode="json")
    pairs.attrs["facts"] = prompts.attrs.get("facts", {}) | left_out | {"log_ratio": fact}
    return pairs


def _name(policies: Policies, side: str) -> str:
    return f"{side}: {getattr(policies, side)}"


def _load(policies: Policies, compute: Compute) -> dict[str, Model]:
    """Both policies, or one that is both."""
    sources = {
        side: (getattr(policies, side), getattr(policies, f"{side}_revision")) for side in _SIDES
    }
    places = {
        side: (Path(source).resolve() if Path(source).is_dir() else source, revision)
        for side, (source, revision) in sources.items()
    }
    models: dict[str, Model] = {}
    for side, (source, revision) in sources.items():
        if side == "aligned" and places["aligned"] == places["base"]:
            models[side] = models["base"]
            continue
        if revision is None and not Path(source).is_dir():
            raise UserError(
                f"{side}: {source} is not a folder; if it is a hub id, set {side}_revision to a "
                "commit, tag or branch"
            )
        models[side] = load(
            "policy",
            source,
            compute,
            key=side,
            revision=revision,
            trust_remote_code=policies.trust_remote_code,
        )
    return models


def _templated(prompts: pd.DataFrame, model: Model, name: str) -> list[list[int]]:
    """The tokens of prompts as a model's chat template writes them, up to where its answer begins.

    Its special tokens are those that the template writes.
    """
    if not model.tokenizer.chat_template:
        raise UserError(
            f"{name} has no chat template: give prompts as texts with chat off, or name a "
            "model that has one"
        )
    column = "messages" if "messages" in prompts else "prompt"
    ids = []
    for number, cell in zip(prompts["prompt_id"], prompts[column], strict=True):
        messages = cell if column == "messages" else _messages(cell)
        try:
            row = model.tokenizer.apply_chat_template(
                messages,
                add_generation_prompt=True,
                sanitize_control_tokens=True,
                return_dict=False,
            )
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            line = " ".join(str(error).split())
            raise UserError(f"{name}: its chat template refuses prompt {number}: {line}") from None
        ids.append(row)
    return ids


def _tokens(prompts: pd.DataFrame, model: Model, name: str, *, chat: bool) -> list[list[int]]:
    """The tokens of each prompt, checked."""
    tokenizer = model.tokenizer
    if chat:
        ids = _templated(prompts, model, name)
    else:
        ids = prompt_ids(prompts["prompt"].tolist(), tokenizer)
    for number, row in zip(prompts["prompt_id"], ids, strict=True):
        if not row:
            raise UserError(f"{name}: of prompt {number} its tokenizer leaves no token: drop it")
        if len(row) > 1 and row[0] == row[1] == tokenizer.bos_token_id is not None:
            raise UserError(
                f"{name}: prompt {number} begins with {tokenizer.bos_token!r} twice: its chat "
                "template writes it twice, correct the template"
            )
    return ids


def _comparable(
    models: dict[str, Model],
    prompts: dict[str, list[list[int]]],
    completions: dict[str, pd.DataFrame],
) -> str:
    """Whether the two policies' likelihoods are of the same events: "measured", or why not."""
    base, aligned = (models[side] for side in _SIDES)
    if base is aligned:
        return "measured"
    rows = min(len(model.module.get_input_embeddings().weight) for model in (base, aligned))
    texts = [text for table in completions.values() for text in table["completion"]]
    anew = [text_ids(texts, model.tokenizer) for model in (base, aligned)]
    sampled = max(max(row, default=0) for table in completions.values() for row in table["ids"])
    same = (
        base.tokenizer.get_vocab() == aligned.tokenizer.get_vocab()
        and _special(base) == _special(aligned)
        and anew[0] == anew[1]
        and sampled < rows
    )
    if not same:
        return "tokenizers differ"
    if prompts["base"] != prompts["aligned"]:
        return "the prompts are read differently"
    return "measured"


def _special(model: Model) -> tuple[dict[str, str], set[int]]:
    """Named special tokens, without padding, which no text has, and the ends of text."""
    tokens = dict(model.tokenizer.special_tokens_map)
    tokens.pop("pad_token", None)
    return tokens, set(ends_of_text(model))


def _ratios_of(
    completions: pd.DataFrame,
    prompts: list[list[int]],
    models: dict[str, Model],
    policies: Policies,
    unfinished: Path | None,
) -> np.ndarray:
    """Log-ratios of one policy's completions, float64 of shape (completions,)."""
    samples = len(completions) // len(prompts)
    heads = [row for row in prompts for _ in range(samples)]
    values = log_ratios(
        heads, completions["ids"].tolist(), models["aligned"], models["base"], kept=unfinished
    )
    if not np.isfinite(values).all():
        number = completions["prompt_id"].iloc[int(np.flatnonzero(~np.isfinite(values))[0])]
        raise UserError(
            f"{_name(policies, 'base')} and {_name(policies, 'aligned')}: the log-ratio of a "
            f"completion of prompt {number} is not finite: one of them is broken"
        )
    return values
