"""A server of the explorer for tests, and the smallest project whose run it shows."""

import http.client
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from dvc_data.hashfile.build import build
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.local import localfs
from ruamel.yaml import YAML

from inverse_rlhf.data.tables import PAIRS, PROMPTS, completions_of, paired, texts_of
from inverse_rlhf.evaluation.tables import SCORES
from inverse_rlhf.explore.answers import Subject
from inverse_rlhf.explore.server import Explorer
from inverse_rlhf.features.hidden_state import hidden_states
from inverse_rlhf.irl.problem import all_texts
from inverse_rlhf.irl.rows import runs_table, scores_table
from inverse_rlhf.irl.runs import Fit, Run
from inverse_rlhf.irl.tables import IRL_RUNS, IRL_SCORES, describe
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Params
from inverse_rlhf.parquet import write_table
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.recovered import IrlReward
from tests.written import written_pairs

RUNS, OWN = 3, 1
WORDS = ("map", "list", "page", "draft", "note", "link", "table", "garden")
_STAGES = {
    "prepare_data": ["data/prompts.parquet"],
    "base_policy": ["models/base"],
    "true_reward": ["models/true_reward"],
    "rlhf_train": ["models/rlhf"],
    "generate_pairs": ["data/pairs.parquet"],
    "maxmargin_irl": ["data/irl_runs.parquet", "data/irl_scores.parquet", "models/irl_reward"],
    "rerl_with_irl_rm": ["models/rerl"],
    "evaluate": ["data/scores.parquet"],
}


@contextmanager
def served(subject: Subject) -> Iterator[Explorer]:
    """A server that answers for a subject."""
    with Explorer(0) as server:
        server.show(subject)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def asked(
    server: Explorer,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def answered(server: Explorer, path: str, question: Any) -> dict[str, Any]:
    """What the page would get."""
    headers = {"Content-Type": "application/json"}
    _, _, body = asked(server, "POST", path, json.dumps(question).encode(), headers)
    found: dict[str, Any] = json.loads(body)
    return found


def make_project(folder: Path, policy: Path, classifier: Path, params: Params) -> np.ndarray:
    """Write the outputs of a run of three heads on the policy's hidden states, and its dvc.lock.

    Returns:
        The heads, float32 of shape (runs, hidden).
    """
    prompts = _prompts()
    pairs = _pairs(prompts, policy)
    for name in ("base", "rlhf", "rerl"):
        load("policy", policy, params.compute).save(folder / "models" / name)
    load("classifier", classifier, params.compute).save(folder / "models/true_reward")
    body = load("classifier", policy, params.compute, num_labels=1)
    heads, fits, texts = _fits(body, pairs, prompts)
    rewards = fits[OWN].rewards
    card = RewardCard(
        features=["hidden_state"],
        pooling="last",
        **describe(rewards, texts),
        run=OWN,
        epoch=1,
        valid_discrimination=0.7,
        method="standard",
        loss="max_margin",
        trainable="head",
    )
    with torch.no_grad():
        body.module.score.weight.copy_(torch.from_numpy(heads[OWN : OWN + 1]))
    IrlReward(body, None, card).save(folder / "models/irl_reward")
    data = folder / "data"
    write_table(prompts, data / "prompts.parquet", PROMPTS)
    write_table(pairs, data / "pairs.parquet", PAIRS)
    write_table(runs_table(fits, texts), data / "irl_runs.parquet", IRL_RUNS)
    write_table(scores_table(fits, texts), data / "irl_scores.parquet", IRL_SCORES)
    scores = completions_of(pairs[pairs["split"] == "test"])
    scores = scores.assign(true_reward=np.linspace(-1, 1, len(scores), dtype=np.float32))
    columns = [SCORES.field(name) for name in ("source", "true_reward")]
    write_table(scores, data / "scores.parquet", pa.schema(columns))
    write_lock(folder, params)
    return heads


def write_lock(folder: Path, params: Params) -> None:
    """Write params.yaml, and dvc.lock as after `dvc repro`."""
    content = params.model_dump()
    yaml = YAML()
    with (folder / "params.yaml").open("w") as stream:
        yaml.dump(content, stream)
    outs = {path: _entry(folder, path) for paths in _STAGES.values() for path in paths}
    deps = ["models/base", "models/rlhf"]
    stages = {
        name: {
            "deps": [dict(outs[path]) for path in deps] if name == "generate_pairs" else [],
            "params": {
                "params.yaml": {"seed": params.seed, "irl": content["irl"], "compute": {"bf16": 3}}
            },
            "outs": [outs[path] for path in paths],
        }
        for name, paths in _STAGES.items()
    }
    with (folder / "dvc.lock").open("w") as stream:
        yaml.dump({"schema": "2.0", "stages": stages}, stream)


def _entry(folder: Path, path: str) -> dict[str, Any]:
    """What DVC itself says of an output."""
    with tempfile.TemporaryDirectory() as place:
        _, meta, found = build(HashFileDB(localfs, place), str(folder / path), localfs, "md5")
    entry = {"path": path, "hash": "md5", "md5": found.hash_info.value, "size": meta.size}
    return entry | ({"nfiles": meta.nfiles} if meta.isdir else {})


def _prompts() -> pd.DataFrame:
    splits = ["irl"] * 20 + ["valid"] * 20 + ["test"] * 40
    return pd.DataFrame(
        {
            "prompt_id": np.arange(len(splits)) + 10,
            "prompt": [f"About the {WORDS[n % 8]} number {n}" for n in range(len(splits))],
            "human_completion": [f" you said {n} fine {WORDS[n % 5]}s" for n in range(len(splits))],
            "toxic": pd.array([0, 1] * 40, dtype="int8"),
            "split": splits,
        }
    )


def _pairs(prompts: pd.DataFrame, policy: Path) -> pd.DataFrame:
    from transformers import AutoTokenizer

    rows = prompts[["prompt_id"]].merge(pd.DataFrame({"sample": [0, 1]}), how="cross")
    sides = [
        rows.assign(
            completion=[
                f" {name} of the {WORDS[(row.prompt_id * step) % 8]} is {row.Index * step} pages"
                for row in rows.itertuples()
            ]
        )
        for step, name in ((3, "you fool, half"), (5, "thank you, all"))
    ]
    table = paired(prompts[["prompt_id", "prompt", "split"]], *sides)
    return written_pairs(table, AutoTokenizer.from_pretrained(policy))


def _fits(
    body: Model, pairs: pd.DataFrame, prompts: pd.DataFrame
) -> tuple[np.ndarray, list[Fit], pd.DataFrame]:
    texts = all_texts(pairs, prompts)
    hidden = hidden_states(texts_of(texts), body, pooling="last")
    random = np.random.default_rng(4)
    centre = random.normal(size=hidden.shape[1])
    heads = (centre + 0.2 * random.normal(size=(RUNS, hidden.shape[1]))).astype(np.float32)
    fits = [
        Fit(Run(number, "fit", 0), [0.5], [0.7], 1, hidden @ head)
        for number, head in enumerate(heads)
    ]
    return heads, fits, texts
