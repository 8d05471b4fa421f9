"""Completions of two policies, and what each says of the other's."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from inverse_rlhf.audit_params import Policies
from inverse_rlhf.data.given_pairs import GIVEN_PAIRS
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.params import Params
from inverse_rlhf.parquet import write_table
from inverse_rlhf.policies import two_policies
from inverse_rlhf.policies.sampling import sample_completions
from inverse_rlhf.policies.two_policies import read_prompts_file, sample_pairs_of
from tests.policies.slow import slow_ratio

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
Sample = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session")
def aligned_folder(policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base policy with other weights."""
    folder = tmp_path_factory.mktemp("aligned") / "policy"
    shutil.copytree(policy_folder, folder)
    model = AutoModelForCausalLM.from_pretrained(policy_folder)
    torch.manual_seed(5)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn_like(value))
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def sample(
    params: Params, prompts: pd.DataFrame, policy_folder: Path, aligned_folder: Path
) -> Sample:
    def sampled(
        base: Path = policy_folder,
        aligned: Path = aligned_folder,
        given: pd.DataFrame = prompts,
        update: dict[str, Any] | None = None,
        **chat: bool,
    ) -> pd.DataFrame:
        source = Policies(base=str(base), aligned=str(aligned), prompts="-", **chat)
        short = {"max_new_tokens": 12, "min_new_tokens": 0, "samples": 3}
        settings = params.pairs.model_copy(update=short | (update or {}))
        return sample_pairs_of(source, given, settings, params.compute, seed=7)

    return sampled


def other_tokenizer(folder: Path, to: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a policy with a changed tokenizer.json."""
    shutil.copytree(folder, to)
    content = json.loads((to / "tokenizer.json").read_text())
    change(content)
    (to / "tokenizer.json").write_text(json.dumps(content))
    return to


def chat_policy(folder: Path, to: Path, template: str | None = TEMPLATE) -> Path:
    """A copy of a policy whose tokenizer begins every text with a special token."""
    shutil.copytree(folder, to)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    bos = tokenizer.eos_token
    tokenizer.bos_token = bos
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, tokenizer.convert_tokens_to_ids(bos))]
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(to)
    again = AutoTokenizer.from_pretrained(to)
    assert again("a")["input_ids"][0] == again.bos_token_id
    return to


def test_log_ratios_are_those_of_a_slow_twin(
    sample: Sample,
    prompts: pd.DataFrame,
    params: Params,
    policy_folder: Path,
    aligned_folder: Path,
    tmp_path: Path,
) -> None:
    found = sample(given=prompts.assign(split=["irl", "irl", "valid", "test", "test"]))
    assert found.columns.tolist() == GIVEN_PAIRS.names
    write_table(found, tmp_path / "pairs.parquet", GIVEN_PAIRS)
    assert found[["category", "base_score", "aligned_score"]].isna().all(axis=None)
    assert found["prompt_id"].tolist() == np.repeat(prompts["prompt_id"], 3).tolist()
    assert found["sample"].tolist() == [0, 1, 2] * 5
    assert found["prompt"].tolist() == np.repeat(prompts["prompt"], 3).tolist()
    assert found.attrs["facts"] == {"prompts": 5, "left_out_long": 0, "log_ratio": "measured"}
    models = {
        "base": load("policy", policy_folder, params.compute),
        "aligned": load("policy", aligned_folder, params.compute),
    }
    update = {"max_new_tokens": 12, "min_new_tokens": 0, "samples": 3}
    settings = params.pairs.model_copy(update=update)
    ended = []
    for side, model in models.items():
        drawn = sample_completions(prompts, model, settings, seed=7, name=side)
        assert found[f"{side}_completion"].tolist() == drawn["completion"].tolist()
        ratios = found[f"{side}_log_ratio"]
        assert ratios.dtype == np.float64
        rows = zip(found["prompt"], drawn["ids"], drawn["completion"], ratios, strict=True)
        end = model.tokenizer.eos_token_id
        for prompt, ids, text, ratio in rows:
            assert end not in ids[:-1]
            assert ids[-1] == end or len(ids) == 12
            assert model.tokenizer.decode(ids, skip_special_tokens=True) == text
            ended.append(ids[-1] == end)
            head = model.tokenizer(prompt)["input_ids"]
            expected = slow_ratio(head, ids, models["aligned"], models["base"])
            assert ratio == pytest.approx(expected, abs=1e-4)
    assert 0 < np.mean(ended) < 1
    assert found["aligned_log_ratio"].mean() > 0 > found["base_log_ratio"].mean()


def test_a_policy_against_itself(
    sample: Sample, policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def counted(*args: Any, **settings: Any) -> Model:
        loads.append(args[1])
        return load(*args, **settings)

    monkeypatch.setattr(two_policies, "load", counted)
    found = sample(aligned=policy_folder / ".." / policy_folder.name)
    assert len(loads) == 1
    assert (found["base_completion"] != found["aligned_completion"]).mean() > 0.8
    assert (found[["base_log_ratio", "aligned_log_ratio"]] == 0).all(axis=None)


def test_an_adapter_as_the_aligned_policy(
    sample: Sample, policy_folder: Path, params: Params, tmp_path: Path
) -> None:
    module = AutoModelForCausalLM.from_pretrained(policy_folder)
    torch.manual_seed(2)
    layers = ["query_key_value", "dense", "dense_4h_to_h"]
    settings = LoraConfig(r=4, target_modules=layers, init_lora_weights=False)
    adapted = get_peft_model(module, settings)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    AutoTokenizer.from_pretrained(policy_folder).save_pretrained(tmp_path / "merged")
    found, expected = (sample(aligned=tmp_path / name) for name in ("adapter", "merged"))
    pd.testing.assert_frame_equal(found, expected, rtol=0, atol=1e-4)
    assert (found["base_log_ratio"].abs() > 0.01).mean() > 0.9
    assert found.attrs["facts"]["log_ratio"] == "measured"


def fewer_merges(content: Any) -> None:
    content["model"]["merges"] = content["model"]["merges"][:-100]


def one_more_token(content: Any) -> None:
    token = {"content": "<new>", "special": False, "normalized": False}
    sides = {"single_word": False, "lstrip": False, "rstrip": False}
    content["added_tokens"].append(token | sides | {"id": 512})


@pytest.mark.parametrize("change", [fewer_merges, one_more_token, None])
def test_other_tokens_have_no_log_ratios(
    sample: Sample, aligned_folder: Path, tmp_path: Path, change: Any
) -> None:
    other = other_tokenizer(aligned_folder, tmp_path / "other", change or (lambda _: None))
    if change is one_more_token:
        model = AutoModelForCausalLM.from_pretrained(other)
        model.resize_token_embeddings(513)
        model.save_pretrained(other)
    if change is None:  # another end of text
        GenerationConfig(eos_token_id=[0, 9]).save_pretrained(other)
    found = sample(aligned=other)
    assert found.attrs["facts"]["log_ratio"] == "tokenizers differ"
    assert found[["base_log_ratio", "aligned_log_ratio"]].isna().all(axis=None)
    assert found["aligned_completion"].str.len().mean() > 3


def test_padding_of_its_own_makes_no_other_tokens(
    sample: Sample, aligned_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(aligned_folder, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    assert sample(aligned=folder).attrs["facts"]["log_ratio"] == "measured"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The prompts' tokens, as the log-ratios are given them."""
    seen: list[list[int]] = []
    ratios = two_policies.log_ratios

    def recorded(prompts: Any, *rest: Any, **kept: Any) -> np.ndarray:
        seen.extend(prompts)
        return ratios(prompts, *rest, **kept)

    monkeypatch.setattr(two_policies, "log_ratios", recorded)
    return seen


def test_messages_go_through_the_chat_template(
    sample: Sample,
    policy_folder: Path,
    aligned_folder: Path,
    params: Params,
    tmp_path: Path,
    reads: list[list[int]],
) -> None:
    base = chat_policy(policy_folder, tmp_path / "base")
    aligned = chat_policy(aligned_folder, tmp_path / "aligned")
    rows = [
        [{"role": "user", "content": "About"}],
        [
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "On Monday's"},
        ],
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"messages": row, "n": 1}) for row in rows))
    given = read_prompts_file(path, "messages")
    assert given["prompt"].tolist() == ["About", "system: Be brief\n\nuser: On Monday's"]
    found = sample(base, aligned, given)
    assert found["prompt"].tolist() == np.repeat(given["prompt"], 3).tolist()
    model = load("policy", base, params.compute)
    expected = ["user: About\nassistant:", "system: Be brief\nuser: On Monday's\nassistant:"]
    bos = model.tokenizer.bos_token_id
    assert len(reads) == 12  # both policies' completions
    assert all(row[0] == bos and row.count(bos) == 1 for row in reads)
    assert [model.tokenizer.decode(row[1:]) for row in reads[::3]] == expected * 2
    drawn = sample_completions(
        pd.DataFrame({"prompt_id": [0, 1], "prompt": expected}),  # the tokenizer adds the BOS
        model,
        params.pairs.model_copy(
            update={"max_new_tokens": 12, "min_new_tokens": 0, "samples": 3},
        ),
        seed=7,
        name="base",
    )
    assert found["base_completion"].tolist() == drawn["completion"].tolist()

    texts = pd.DataFrame({"prompt_id": [0], "prompt": ["About"]})
    as_chat = sample(base, aligned, texts, chat=True)
    columns = ["base_completion", "aligned_log_ratio", "prompt"]
    pd.testing.assert_frame_equal(as_chat[columns], found.loc[:2, columns])
    del reads[:]
    as_text = sample(base, aligned, texts)  # a chat template by itself changes nothing
    assert [model.tokenizer.decode(row[1:]) for row in reads] == ["About"] * 6
    assert as_text["base_completion"].tolist() != as_chat["base_completion"].tolist()


def test_special_tokens_that_users_type_stay_text(
    sample: Sample,
    policy_folder: Path,
    aligned_folder: Path,
    tmp_path: Path,
    reads: list[list[int]],
) -> None:
    base = chat_policy(policy_folder, tmp_path / "base")
    aligned = chat_policy(aligned_folder, tmp_path / "aligned")
    given = pd.DataFrame({"prompt_id": [3], "prompt": ["<|endoftext|>A<|endoftext|> map"]})
    decode = AutoTokenizer.from_pretrained(base).decode
    for chat, around in {False: ("", ""), True: ("user: ", "\nassistant:")}.items():
        sample(base, aligned, given, chat=chat)
        assert {tuple(row) for row in reads} == {tuple(reads[0])}
        end = reads[0][0]  # which begins a text, too
        assert reads[0].count(end) == 1
        assert decode(reads[0][1:]) == given["prompt"][0].join(around)
        del reads[:]


def test_templates_that_cannot_be_used(
    sample: Sample, policy_folder: Path, aligned_folder: Path, tmp_path: Path
) -> None:
    base = chat_policy(policy_folder, tmp_path / "base")
    given = pd.DataFrame({"prompt_id": [3], "prompt": ["About"]})
    with pytest.raises(UserError, match=f"aligned: {aligned_folder} has no chat template"):
        sample(base, given=given, chat=True)
    refusing = "{{ raise_exception('no system\\n role') }}"
    other = chat_policy(aligned_folder, tmp_path / "refusing", refusing)
    with pytest.raises(UserError, match="template refuses prompt 3: no system role"):
        sample(base, other, given, chat=True)
    other = chat_policy(aligned_folder, tmp_path / "other", "Q: {{ messages[0].content }} A:")
    found = sample(base, other, given, chat=True)
    assert found.attrs["facts"]["log_ratio"] == "the prompts are read differently"
    assert found["base_log_ratio"].isna().all()
    other = chat_policy(aligned_folder, tmp_path / "twice", "{{ bos_token }}" + TEMPLATE)
    with pytest.raises(UserError, match=r"prompt 3 begins with '<.endoftext.>' twice"):
        sample(base, other, given, chat=True)


def test_prompts_beyond_the_context_are_left_out(
    sample: Sample, prompts: pd.DataFrame, tmp_path: Path
) -> None:
    long = prompts.assign(prompt=[*prompts["prompt"][:4], "word " * 200])
    found = sample(given=long)
    assert found["prompt_id"].unique().tolist() == [4, 9, 11, 30]
    assert found.attrs["facts"]["left_out_long"] == 1
    assert found.attrs["facts"]["prompts"] == 4
    pd.testing.assert_frame_equal(found, sample(given=prompts[:4]))
    with pytest.raises(UserError, match="no prompt fits the policies' context: the shortest has"):
        sample(given=long[4:])


def test_a_model_that_is_nowhere(sample: Sample) -> None:
    with pytest.raises(UserError, match=r"aligned: models/none is not a folder; .* aligned_revis"):
        sample(aligned=Path("models/none"))


@pytest.mark.parametrize("name", ["prompts.csv", "prompts.jsonl", "prompts.parquet"])
def test_texts_of_a_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    frame = pd.DataFrame({"question": [" Why?", "Why not", "Who", " Why?", "What"], "other": 1})
    if name.endswith(".csv"):
        frame.to_csv(path, index=False)
    elif name.endswith(".jsonl"):
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    found = read_prompts_file(path, "question")
    assert found["prompt"].tolist() == [" Why?", "Why not", "Who", "What"]
    assert found["prompt_id"].tolist() == [0, 1, 2, 4]
    assert set(found) == {"prompt_id", "prompt"}
    assert found.attrs["facts"] == {"left_out_rows": 0, "left_out_repeated": 1}


def test_splits_and_numbers_of_a_file(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "prompt_id": [8, 3, 5, 9, 1],
            "prompt": list("abcde"),
            "split": ["irl", "valid", "rl", "test", "irl"],
        }
    )
    frame.to_parquet(tmp_path / "p.parquet")
    found = read_prompts_file(tmp_path / "p.parquet", "prompt")
    assert found["prompt_id"].tolist() == [8, 3, 9, 1]
    assert found["split"].tolist() == ["irl", "valid", "test", "irl"]
    assert found.attrs["facts"]["left_out_rows"] == 1
    frame.assign(split=["train"] * 4 + ["test"]).to_parquet(tmp_path / "p.parquet")
    found = read_prompts_file(tmp_path / "p.parquet", "prompt")
    assert "split" not in found
    assert len(found) == 5


USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": "a"}], "has no column 'prompt'; its columns are 'text'"),
        ([{"prompt": "a"}, {"prompt": " \n"}], "column 'prompt', row 1 is empty"),
        ([{"prompt": "a"}, {"prompt": None}], "row 1 is null"),
        ([{"prompt": 3}], "row 0 is 3, not a text or a list of messages"),
        ([{"prompt": "a"}, {"prompt": [USER]}], "has texts and messages .*, row 1 is the first"),
        (
            [{"prompt": [USER, {"role": "assistant", "content": "Hello"}]}],
            "row 0 ends with the assistant's message",
        ),
        ([{"prompt": "a", "prompt_id": 2}, {"prompt": "b", "prompt_id": 2}], "prompt_id 2 twice"),
        ([{"prompt": "a", "prompt_id": "x"}], "row 0 is 'x', not a whole number"),
        ([{"prompt": "a", "prompt_id": 2**31}], "row 0 is 2147483648, not from 0 to 2147483647"),
        (
            [{"prompt": "a", "split": split} for split in ("irl", "valid", "test")],
            "has the prompt 'a' in the splits 'irl', 'valid', 'test': put all its rows in one",
        ),
    ],
)
def test_bad_prompts_are_one_line(tmp_path: Path, rows: list[Any], message: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=message) as caught:
        read_prompts_file(path, "prompt", "policies.mine.prompts")
    assert str(caught.value).startswith(f"policies.mine.prompts: {path}")
    assert "\n" not in str(caught.value)
