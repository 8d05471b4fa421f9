"""What policies write is what their tokens say, wherever they are sampled, trained and compared."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    FalconConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    OPTConfig,
)

from inverse_rlhf.data.tables import PAIRS, completions_of, paired, read_pairs
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.dropout import without_dropout
from inverse_rlhf.models.reading import ends_of_text, prompt_ids
from inverse_rlhf.params import Pairs, Params
from inverse_rlhf.parquet import write_table
from inverse_rlhf.policies import decoding, training
from inverse_rlhf.policies.likelihood import likelihood_table
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.policies.training import TRAINERS
from inverse_rlhf.policies.trl_fast import Grpo, Rloo
from tests.foreign import TOKENIZERS, save_policy

SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL = {"n_embd": 32, "n_layer": 2, "n_head": 2}
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gpt_neox": (GPTNeoXConfig, SIZE | {"intermediate_size": 64}),
    "llama": (LlamaConfig, SIZE | {"intermediate_size": 64}),
    "gpt2": (GPT2Config, SMALL),
    "falcon": (FalconConfig, SIZE),
    "opt": (OPTConfig, SIZE | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "mamba": (
        MambaConfig,
        {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "tie_word_embeddings": False},
    ),
}
PROMPTS = pd.DataFrame(
    {
        "prompt_id": [3, 4, 8, 9],
        "prompt": ["the", "The weather is more", "I read the page on", "a list"],
        "split": ["irl", "valid", "test", "test"],
    }
)
TYPED = "I read </s> [SEP]"
Made = Callable[..., Model]


@pytest.fixture
def made(tmp_path: Path, params: Params) -> Made:
    def policy(
        tokenizer: str = "sentencepiece", config: str = "llama", fast: bool = True, **settings: Any
    ) -> Model:
        kind, size = CONFIGS[config]
        folder = tmp_path / f"{tokenizer}-{config}"
        save_policy(folder, TOKENIZERS[tokenizer](), kind, **size | settings)
        return load("policy", folder, params.compute.model_copy(update={"fast": fast}))

    return policy


@pytest.fixture
def pure(params: Params) -> Pairs:
    """Samples of the softmax itself."""
    update = {"samples": 20, "max_new_tokens": 20, "min_new_tokens": 0}
    return params.pairs.model_copy(update=update | {"temperature": 1.0, "top_k": 0, "top_p": 1.0})


# what is sampled


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_text_is_what_the_tokens_say(
    made: Made, pure: Pairs, tokenizer: str, fast: bool
) -> None:
    policy = made(tokenizer, fast=fast)
    found = sample_completions(PROMPTS, policy, pure, seed=0, name="base")
    numbers, prompts = (PROMPTS[name].tolist() for name in ("prompt_id", "prompt"))
    heads = dict(zip(numbers, prompt_ids(prompts, policy.tokenizer), strict=True))
    end, glued = policy.tokenizer.eos_token_id, 0
    decode = partial(policy.tokenizer.decode, skip_special_tokens=True)
    for number, text, ids, ended in _rows(found, "prompt_id", "completion", "ids", "ended"):
        assert decode(heads[number]) + text == decode([*heads[number], *ids])
        assert (ids[-1] == end) == ended
        assert ended or len(ids) == 20
        assert end not in ids[:-1]
        glued += decode(ids) != text  # read alone, they lose a blank
    assert 0 < found["ended"].mean() < 1
    assert (glued > 0) == (tokenizer != "closing")


def _rows(frame: pd.DataFrame, *columns: str) -> Iterator[tuple[Any, ...]]:
    return zip(*(frame[name] for name in columns), strict=True)


def test_tokens_are_kept_with_the_pairs(made: Made, pure: Pairs, tmp_path: Path) -> None:
    policy = made()
    sides = [sample_completions(PROMPTS, policy, pure, seed=0, name=name) for name in "ab"]
    path = tmp_path / "pairs.parquet"
    write_table(paired(PROMPTS, *sides), path, PAIRS)
    read = completions_of(read_pairs(path, PROMPTS))
    written = pd.concat(sides, ignore_index=True)
    for column in ("prompt_id", "sample", "completion", "ended"):
        assert read[column].tolist() == written[column].tolist()
    assert [row.tolist() for row in read["ids"]] == written["ids"].tolist()


def test_a_prompt_without_tokens_is_one_line(made: Made, pure: Pairs) -> None:
    policy = made("unigram")
    empty = pd.DataFrame({"prompt_id": [7], "prompt": [""]})
    with pytest.raises(UserError, match="prompt 7 has no tokens"):
        sample_completions(empty, policy, pure, seed=0, name="base")


@pytest.mark.parametrize("fast", [True, False])
def test_a_folders_own_generate_is_not_ours(
    made: Made, pure: Pairs, params: Params, tmp_path: Path, fast: bool
) -> None:
    policy = made(fast=fast)
    expected = sample_completions(PROMPTS, policy, pure, seed=0, name="base")
    policy.module.generate = None  # what `from_pretrained` sets of a folder that it trusts
    found = sample_completions(PROMPTS, policy, pure, seed=0, name="base")
    pd.testing.assert_frame_equal(found, expected)
    _train(policy, lambda _, texts: np.arange(len(texts)), params, tmp_path, steps=1)


# likelihoods


@pytest.mark.parametrize("config", CONFIGS)
def test_likelihoods_are_those_at_sampling(
    made: Made, pure: Pairs, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = made("sentencepiece", config, ends=[7, 9])
    drawn: dict[int, list[float]] = defaultdict(list)
    draw = decoding.draw_tokens

    def recorded(scores: torch.Tensor, keys: torch.Tensor, position: int) -> torch.Tensor:
        tokens = draw(scores, keys, position)
        logs = scores.double().log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        for key, log in zip(keys.tolist(), logs.tolist(), strict=True):
            drawn[key].append(log)
        return tokens

    monkeypatch.setattr(decoding, "draw_tokens", recorded)
    found = sample_completions(PROMPTS, policy, pure, seed=0, name="base")
    ends = ends_of_text(policy)
    assert ends == [2, 7, 9]
    assert {ids[-1] for ids, ended in _rows(found, "ids", "ended") if ended} == {2, 7, 9}
    rows = found.merge(PROMPTS, on="prompt_id").assign(source="base")
    table = likelihood_table(rows, policy, policy)
    # In the order of the batches, where completions meet their keys first.
    lengths = [len(row) for row in prompt_ids(rows["prompt"].tolist(), policy.tokenizer)]
    rows = rows.iloc[np.argsort(lengths, kind="stable")]
    logs = [sum(drawn[key][: len(ids)]) for key, ids in zip(drawn, rows["ids"], strict=True)]
    found = table.loc[list(_rows(rows, *table.index.names))]
    np.testing.assert_allclose(found["own_nll"], -np.array(logs), atol=1e-3)
    assert found["own_nll"].std() > 1
    assert found["positions"].tolist() == rows["ids"].map(len).tolist()
    assert found["tokens"].tolist() == (rows["ids"].map(len) - rows["ended"]).tolist()
    # The text read again has other tokens.
    again = policy.tokenizer(rows["completion"].tolist(), add_special_tokens=False)["input_ids"]
    bare = [ids[: len(ids) - ended] for ids, ended in _rows(rows, "ids", "ended")]
    assert np.mean([mine != theirs for mine, theirs in zip(bare, again, strict=True)]) > 0.2


# training


@pytest.fixture
def rollouts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[int], list[int]]]:
    """Tokens of prompts and completions that rewards are given for."""
    seen: list[tuple[list[int], list[int]]] = []
    texts = training.completion_texts

    def recorded(prompts: Any, heads: Any, completions: Any, tokenizer: Any) -> list[str]:
        seen.extend(zip(heads, completions, strict=True))
        return texts(prompts, heads, completions, tokenizer)

    monkeypatch.setattr(training, "completion_texts", recorded)
    return seen


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
@pytest.mark.parametrize("tokenizer", ["wordpiece", "sentencepiece"])
def test_training_rewards_read_what_the_tokens_say(
    made: Made,
    params: Params,
    tmp_path: Path,
    rollouts: list[tuple[list[int], list[int]]],
    monkeypatch: pytest.MonkeyPatch,
    tokenizer: str,
    algorithm: str,
    fast: bool,
) -> None:
    policy = made(tokenizer, fast=fast, ends=[7, 9])
    generated: list[list[int]] = []
    for trainer in (Rloo, Grpo):
        turn = trainer._generate_single_turn

        def seen_turn(self: Any, ids: Any, *args: Any, _turn: Any = turn, **settings: Any) -> Any:
            generated.extend(ids)
            return _turn(self, ids, *args, **settings)

        monkeypatch.setattr(trainer, "_generate_single_turn", seen_turn)
    asked: list[tuple[str, str]] = []

    def score(prompts: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        asked.extend(zip(prompts, completions, strict=True))
        return np.arange(len(completions), dtype=np.float32)

    _train(policy, score, params, tmp_path, algorithm=algorithm, steps=2)
    assert len(asked) == len(rollouts) == 16
    prompts = [*PROMPTS["prompt"], TYPED]
    heads = dict(zip(prompts, prompt_ids(prompts, policy.tokenizer), strict=True))
    assert [head for head, _ in rollouts] == generated == [heads[prompt] for prompt, _ in asked]
    assert any(prompt == TYPED for prompt, _ in asked)
    ends = set(ends_of_text(policy))
    decode = policy.tokenizer.decode
    for (_, text), (head, ids) in zip(asked, rollouts, strict=True):
        before = decode(head, skip_special_tokens=True)
        assert before + text == decode([*head, *ids], skip_special_tokens=True)
        assert ends.isdisjoint(ids[:-1])
        assert ids[-1] in ends or len(ids) == 10
    assert any(text.startswith(" ") for _, text in asked)
    assert ends_of_text(policy) == sorted(ends)


SHORT = {
    "batch_size": 4,
    "generations": 2,
    "max_new_tokens": 10,
    "min_new_tokens": 0,
    "warmup_steps": 0,
    "top_k": 0,
    "temperature": 1.0,
}


def _train(
    policy: Model, score: Any, params: Params, folder: Path, **update: Any
) -> dict[str, float]:
    settings = params.rlhf.model_copy(update=SHORT | update)
    typed = pd.DataFrame({"prompt_id": [11], "prompt": [TYPED]})
    prompts = pd.concat([PROMPTS, typed])
    return training.train_on_reward(
        prompts, policy, score, settings, seed=0, curve=folder / "curve.csv"
    )


RANDOM: dict[str, dict[str, Any]] = {
    "gpt2": {"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3},
    "gpt_neox": {"hidden_dropout": 0.3, "attention_dropout": 0.3},
    "opt": {"dropout": 0.3, "attention_dropout": 0.3, "layerdrop": 0.5},
}


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
@pytest.mark.parametrize("config", RANDOM)
def test_a_policy_starts_as_its_reference(
    made: Made,
    params: Params,
    tmp_path: Path,
    rollouts: list[tuple[list[int], list[int]]],
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    algorithm: str,
    fast: bool,
) -> None:
    policy = made("closing", config, fast=fast, **RANDOM[config])
    read: list[torch.Tensor] = []
    trainers = TRAINERS[algorithm]
    base = trainers.fast if fast else trainers.plain
    logps = base._get_per_token_logps_and_entropies

    def recorded(self: Any, model: Any, ids: Any, mask: Any, keep: int, *a: Any, **s: Any) -> Any:
        found = logps(self, model, ids, mask, keep, *a, **s)
        read.append((found[0] * mask[:, -keep:]).sum(1).detach())
        return found

    monkeypatch.setattr(base, "_get_per_token_logps_and_entropies", recorded)

    def score(_: Sequence[str], completions: Sequence[str]) -> np.ndarray:
        return np.arange(len(completions), dtype=np.float32)

    facts = _train(policy, score, params, tmp_path, algorithm=algorithm, steps=1, lr=1e-12)
    assert abs(facts["final_kl"]) < 1e-4
    # What was sampled, once more and each by itself.
    own = []
    for head, completion in rollouts:
        with torch.no_grad():
            logs = policy.module(torch.tensor([head + completion])).logits[0].log_softmax(-1)
        place = range(len(head) - 1, len(head) + len(completion) - 1)
        own.append(sum(logs[n, token].item() for n, token in zip(place, completion, strict=True)))
    assert np.std(own) > 0.5
    # The policy before, its reference, the policy in the loss.
    found = torch.cat(read).reshape(-1, 8).sort().values
    assert len(found) >= 2
    expected = torch.tensor(np.sort(own), dtype=torch.float32).expand_as(found)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert not policy.module.training
    config_kept = policy.module.config.to_dict()
    assert all(config_kept[name] == value for name, value in RANDOM[config].items())


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("config", [*RANDOM, "falcon"])
def test_nothing_is_left_to_chance(made: Made, config: str, checkpointing: bool) -> None:
    settings = RANDOM.get(config, {"hidden_dropout": 0.3, "attention_dropout": 0.3})
    module = made("closing", config, **settings).module
    ids = torch.randint(5, 40, (4, 9), generator=torch.Generator().manual_seed(0))
    expected = module(ids).logits
    calls: list[int] = []
    blocks = next(part for part in module.modules() if isinstance(part, torch.nn.ModuleList))
    for block in blocks:
        first = next(part for part in block.modules() if isinstance(part, torch.nn.LayerNorm))
        first.register_forward_hook(lambda *_: calls.append(1))
    if checkpointing:
        module.activation_checkpointing_enable()
    with without_dropout(module):
        module.train()
        assert module.training
        found = module(ids).logits
        torch.testing.assert_close(found, expected)
        found.sum().backward()
        assert len(calls) == (4 if checkpointing else 2)  # read again for the gradients
        module.eval()
        assert not any(part.training for part in module.modules())
    module.train()
    assert all(part.training for part in module.modules())
    assert not torch.allclose(module(ids).logits, expected, atol=1e-2)
