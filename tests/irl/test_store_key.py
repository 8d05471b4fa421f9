"""The key of finished runs: what they depend on changes it, and nothing else does."""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from inverse_rlhf.features.text import NAMED
from inverse_rlhf.irl import key as run_keys
from inverse_rlhf.irl import store
from inverse_rlhf.irl.problem import Problem, all_texts
from inverse_rlhf.irl.store import FITTING
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Irl, Params

PACKAGE = Path(store.__file__).parent.parent


@pytest.fixture
def key_of(
    pairs: pd.DataFrame, prompts: pd.DataFrame, reward_network: Model, irl: Irl, params: Params
) -> Callable[..., str]:
    """The store's key of a problem that differs from the usual one."""

    def key(
        changes: dict[str, Any],
        pairs: pd.DataFrame = pairs,
        prompts: pd.DataFrame = prompts,
        parts: dict[str, Any] | None = None,
        seed: int = 0,
        model: Model | None = reward_network,
        log_ratios: np.ndarray | None = None,
    ) -> str:
        settings = irl
        for name, value in changes.items():
            group, _, inner = name.rpartition(".")
            if group:
                value = getattr(settings, group).model_copy(update={inner: value})
            settings = settings.model_copy(update={group or inner: value})
        changed = params.parts.model_copy(update=parts or {})
        compute = params.compute if model is None else model.compute
        texts = all_texts(pairs, prompts)
        return run_keys.run_key(Problem(texts, model, settings, changed, compute, seed, log_ratios))

    return key


BAYES = {"method": "bayes"}
AWARE = {"method": "failure_aware"}
NGRAM = {"features": ["ngram"]}


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({}, {"runs": 9}),
        ({}, {"control_runs": 9}),
        ({}, {"reward": "ensemble"}),
        ({}, {"reward": 1}),
        ({}, {"bayes.rounds": 2}),
        ({}, {"bayes.prior_std": 2.0}),
        (AWARE, {"bayes.rounds": 2}),
        ({}, {"failure_aware.bound": 0.1}),
        (BAYES, {"failure_aware.bound": 0.1}),
        ({}, {"ngram.max_n": 3}),
        ({"features": ["sentiment"]}, {"ngram.max_n": 3}),
        (AWARE, {"runs": 9}),
        (NGRAM, {"runs": 9}),
        ({"trainable": "all"}, {"lora_rank": 2}),
    ],
    ids=str,
)
def test_what_a_run_does_not_read_keeps_it(
    key_of: Callable[..., str], base: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert key_of(base | changes) == key_of(base)


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({}, {"lr": 0.02}),
        ({}, {"loss": "hinge"}),
        ({}, {"epochs": 3}),
        ({}, {"bootstrap": False}),
        ({}, {"blocks": 1}),
        ({}, {"pooling": "mean"}),
        ({}, {"features": ["hidden_state", "ngram"]}),
        ({}, BAYES),
        ({}, AWARE),
        (BAYES, {"runs": 9}),  # its draws are made together
        (BAYES, {"bayes.rounds": 2}),
        (BAYES, {"bayes.prior_std": 2.0}),
        (AWARE, {"failure_aware.bound": 0.1}),
        (NGRAM, {"ngram.max_n": 3}),
        ({"features": ["hidden_state", "ngram"]}, {"ngram.min_texts": 2}),
        ({"trainable": "lora"}, {"lora_rank": 2}),
    ],
    ids=str,
)
def test_what_a_run_reads_is_in_its_key(
    key_of: Callable[..., str], base: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert key_of(base | changes) != key_of(base)


def test_the_key_is_of_texts_weights_parts_and_seed(
    key_of: Callable[..., str],
    pairs: pd.DataFrame,
    prompts: pd.DataFrame,
    params: Params,
    classifier_folder: Path,
    reward_network: Model,
) -> None:
    usual = key_of({})
    assert key_of({}) == usual
    found = {usual, key_of({}, seed=1)}
    for column, row in (("aligned_completion", 3), ("base_completion", 60), ("prompt", 80)):
        changed = pairs.copy()
        changed.loc[row, column] += "!"
        found.add(key_of({}, changed))
    swapped = pairs.rename(
        columns={
            "base_completion": "aligned_completion",
            "aligned_completion": "base_completion",
        }
    )
    found.add(key_of({}, swapped))
    found.add(key_of({}, pairs.assign(split=pairs["split"].replace("valid", "test"))))
    found.add(key_of({}, prompts=prompts.assign(human_completion=" it is not.")))
    half = params.compute.model_copy(update={"bf16": True})
    found.add(key_of({}, model=Model(reward_network.module, reward_network.tokenizer, half)))
    reward_network.module.name_or_path = str(classifier_folder)
    found.add(key_of({}))
    assert len(found) == 10


def test_the_key_is_of_log_ratios_where_they_teach(key_of: Callable[..., str]) -> None:
    white = {"loss": "log_ratio", "solver": "exact"}
    found = {key_of(white, log_ratios=np.full((50, 2), value)) for value in (0.0, 1.0)}
    assert len(found | {key_of(white)}) == 3


def test_the_key_is_of_the_body_where_it_is_read(
    key_of: Callable[..., str], reward_network: Model
) -> None:
    other = {"body": "elsewhere"}
    keys = [key_of(other)]
    with torch.no_grad():
        reward_network.module.get_input_embeddings().weight[0, 0] += 1
    assert key_of(other) not in [*keys, key_of({})]
    for changes in (other, {"body": "none"}, {"pooling": "mean"}, {"blocks": 1}):
        assert key_of(NGRAM | changes) == key_of(NGRAM)
    assert key_of(NGRAM, model=None) == key_of(NGRAM)


def test_parts_are_in_the_key_where_features_mean_them(key_of: Callable[..., str]) -> None:
    longer, other = {"length_target": 3}, {"keyword": "thanks"}
    for kind in ("hidden_state", "ngram"):
        assert key_of({"features": [kind]}, parts=longer) == key_of({"features": [kind]})
    assert key_of({"features": ["length_target"]}, parts=longer) != key_of(
        {"features": ["length_target"]}
    )
    assert key_of({"features": ["keyword"]}, parts=other) != key_of({"features": ["keyword"]})


def test_parts_are_in_the_key_of_a_new_feature(
    key_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NAMED, "thanks", NAMED["keyword"])
    new = {"features": ["thanks"]}
    assert key_of(new, parts={"keyword": "thanks"}) != key_of(new)


def test_names_of_tables_and_columns_are_in_the_key(tmp_path: Path) -> None:
    table = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    swapped = table.rename(columns={"a": "b", "b": "a"})
    halves = {"one": table[:1], "two": table[1:]}
    tables = [
        *({"one": table}, {"two": table}, {"one": swapped}, {"one": table.astype("int8")}),
        *(halves, {"one": table, "two": table[:0]}),
    ]
    assert len({store.store_key(found, None, "") for found in tables}) == len(tables)


@pytest.mark.parametrize("name", ["vocab.bpe", "chat_template.jinja", "spiece.model", "x.tiktoken"])
def test_every_file_of_the_tokenizer_is_in_the_key(name: str, tmp_path: Path) -> None:
    keys = [store.store_key({}, tmp_path, "")]
    for content in ("one", "two"):
        (tmp_path / name).write_text(content)
        keys.append(store.store_key({}, tmp_path, ""))
    (tmp_path / name).rename(tmp_path / f"other_{name}")
    keys.append(store.store_key({}, tmp_path, ""))
    assert len(set(keys)) == 4


def test_the_key_is_of_a_bodys_tokenizer(key_of: Callable[..., str], reward_network: Model) -> None:
    other = {"body": "elsewhere"}
    before = key_of(other)
    assert key_of(other) == before
    reward_network.tokenizer.add_tokens(["<new>"])
    assert key_of(other) != before


# They check, write, keep, describe or share out, and no reward depends on them.
_NO_RESULT = {"params.py", "errors.py", "files.py", "parquet.py", "shards.py"} | {
    *(f"models/{name}.py" for name in ("batches", "causal", "manifest", "places", "processes"))
}
# What irl/fit.py does before and after the fits themselves.
_AROUND_THE_FITS = {
    *(f"irl/{name}.py" for name in ("export", "key", "outliers", "rows", "store", "tables")),
    *(f"rewards/{name}.py" for name in ("card", "model_card", "portable", "reading", "recovered")),
    *("rewards/thresholds.py", "digests.py", "progress.py", "resume.py"),
}


@cache
def _imported(path: Path) -> frozenset[Path]:
    """The library's modules that a module imports itself, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        files = (PACKAGE.parent / (name.replace(".", "/") + ".py") for name in names)
        found |= {file for file in files if PACKAGE in file.parents and file.is_file()}
    return frozenset(found)


def _closure(name: str) -> set[str]:
    todo, seen = [PACKAGE / name], set[Path]()
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo.extend(_imported(path))
    return {str(path.relative_to(PACKAGE)) for path in seen} - _NO_RESULT


@pytest.mark.parametrize("name", [name for name in FITTING if name != "irl/fit.py"])
def test_what_a_fitting_module_imports_is_in_the_key(name: str) -> None:
    assert _closure(name) - set(FITTING) == set()


def test_what_else_fit_imports_computes_no_run() -> None:
    assert _closure("irl/fit.py") - set(FITTING) == _AROUND_THE_FITS
    assert len(set(FITTING)) == len(FITTING)
    assert all((PACKAGE / name).is_file() for name in FITTING)
