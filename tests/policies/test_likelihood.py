"""Likelihoods of completions under two policies."""

import numpy as np
import pandas as pd
import pytest
import torch

from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Params
from inverse_rlhf.policies.likelihood import likelihood_table
from tests.written import written


def test_likelihoods_are_the_naive_ones(policy: Model, params: Params) -> None:
    tokenizer = policy.tokenizer
    other = load("policy", policy.module.name_or_path, params.compute)
    with torch.no_grad():
        for parameter in other.module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    prompts, completions = (
        ["About", "On Monday's map"],
        [" the table.", " you are a fool. Get lost!"],
    )
    rows = pd.DataFrame({"prompt": prompts, "completion": completions, "prompt_id": [0, 1]})
    rows = rows.assign(split="test", source="base", sample=0)
    both = [written(rows[n : n + 1], tokenizer, ended=n == 0) for n in (0, 1)]
    rows = pd.concat(both)  # the second one was cut
    found = likelihood_table(rows, other, policy)
    for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        head, tail = (tokenizer(text)["input_ids"] for text in (prompt, completion))
        end = [tokenizer.eos_token_id] * (index == 0)
        ids = torch.tensor([head + tail + end])
        with torch.no_grad():
            p, q = (model.module(ids).logits[0].log_softmax(-1) for model in (other, policy))
        kl = nll = own_nll = 0.0
        for position in range(len(head), ids.shape[1]):
            before = position - 1
            kl += float((p[before].exp() * (p[before] - q[before])).sum())
            nll -= float(q[before, ids[0, position]])
            own_nll -= float(p[before, ids[0, position]])
        row = found.loc[("test", "base", index, 0)]
        assert row["kl"] == pytest.approx(kl, rel=1e-3)
        assert row["nll"] == pytest.approx(nll, rel=1e-4)
        assert row["own_nll"] == pytest.approx(own_nll, rel=1e-4)
        assert (row["tokens"], row["positions"]) == (len(tail), len(tail + end))
    same = likelihood_table(rows, policy, policy)
    np.testing.assert_allclose(same["kl"], 0, atol=1e-5)


def test_completions_that_are_the_same_have_the_same_likelihoods(policy: Model) -> None:
    completions = [" a map.", " the table.", " a map.", " a map."]
    rows = pd.DataFrame({"prompt": ["As", "As", "Your", "As"], "completion": completions})
    rows = rows.assign(split="test", source="base", prompt_id=[0, 0, 1, 0], sample=[0, 1, 0, 2])
    rows = written(rows, policy.tokenizer)
    found = likelihood_table(rows, policy, policy)
    assert found.index.tolist() == sorted(
        zip(*(rows[name] for name in found.index.names), strict=True)
    )
    for key, row in rows.set_index(found.index.names, drop=False).iterrows():
        alone = likelihood_table(row.to_frame().T, policy, policy)
        np.testing.assert_allclose(found.loc[key], alone.iloc[0], rtol=1e-5, atol=1e-6)
    assert found.loc[("test", "base", 0, 0), "nll"] == found.loc[("test", "base", 0, 2), "nll"]
