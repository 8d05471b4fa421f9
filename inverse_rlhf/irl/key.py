"""The name of a problem's finished runs: it changes with what they depend on, and nothing else."""

import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from inverse_rlhf.features.text import NAMED, named_feature
from inverse_rlhf.irl.losses import LOSSES
from inverse_rlhf.irl.problem import Problem
from inverse_rlhf.irl.store import store_key
from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.params import Irl


def run_key(problem: Problem) -> str:
    """What the number of runs and the choice among them change is no part of it, nor is a setting
    that the fits do not read.
    """
    params = problem.params
    settings = params.model_dump(exclude=_unread(params))
    if params.method == "bayes":  # its draws are made together
        settings["runs"] = params.runs
    parts = [named_feature(kind, problem.parts) for kind in params.features if kind in NAMED]
    libraries = ("torch", "transformers", "tokenizers", "peft", "numpy", "scipy", "scikit-learn")
    versions = [version(name) for name in libraries]
    machine = (str(problem.device), torch.get_num_threads(), problem.compute)
    folder = weights = None
    tables = {"texts": problem.texts}
    if problem.model is not None and "hidden_state" in params.features:
        if params.body == "base":
            folder = Path(problem.model.module.name_or_path)
        else:  # it may be of the hub, or an adapter of a model elsewhere
            weights = _digest(problem.model)
    everything = (settings, parts, problem.seed, versions, machine, weights)
    if problem.log_ratios is not None:
        tables["log_ratios"] = pd.DataFrame(problem.log_ratios)
    return store_key(tables, folder, repr(everything))


def _digest(model: Model) -> str:
    """Of weights and of the tokenizer's files."""
    digest = hashlib.sha256()
    for name, value in sorted(model.module.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    with tempfile.TemporaryDirectory() as folder:
        model.tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file():
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _unread(params: Irl) -> set[str]:
    """Settings that no fit reads, with the method, loss and features that are chosen."""
    adam = {"optimizer", "lr", "weight_decay", "max_grad_norm", "epochs", "batch_size"}
    unread = {"runs", "control_runs", "reward", "margin", "temperature", "l2"}
    unread -= set(LOSSES[params.loss].reads)
    unread |= {"bayes", "failure_aware"} - {params.method}
    unread |= set() if "ngram" in params.features else {"ngram"}
    of_body = {"body", "body_revision", "pooling", "blocks"}
    unread |= set() if "hidden_state" in params.features else of_body
    unread |= set() if params.trainable == "last_k" else {"last_k"}
    unread |= set() if params.trainable == "lora" else {"lora_rank"}
    by_adam = params.solver == "adam" and params.method != "bayes"
    return unread | (set() if by_adam else adam)
