"""Bad input is one clear line; good input is split without overlap."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from inverse_rlhf.prompts import sample_comments, split_prompts
from inverse_rlhf.sources import read_comments, read_transfer_prompts
from inverse_rlhf.tables import COMMENTS, NGRAMS, PAIRS, read_pairs, read_table, write_table
from safetensors.torch import load_file, save_file

from inverse_rlhf import preset
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic, write_json
from inverse_rlhf.models import load, obtain
from inverse_rlhf.params import Data, Params, parse_params, read_yaml

ROOT = Path(__file__).parent.parent


def data(params: Params, **update: Any) -> Data:
    return params.data.model_copy(update=update)


def csv(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_every_source_reads_the_same(params: Params, tmp_path: Path) -> None:
    frame = pd.DataFrame({"text": ["  a\nb  ", "None", "123"], "toxic": [1, 0, 0]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    for suffix in ("parquet", "csv", "jsonl"):
        read = read_comments(data(params, source=str(tmp_path / f"a.{suffix}")), seed=0)
        assert read["text"].tolist() == ["a\nb", "None", "123"], suffix
        assert read["toxic"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"words,toxic\na,1\n", "has no column 'text'"),
        ("a.csv", b"text,label\na,1\n", "has no column 'toxic'"),
        ("a.csv", b"text,toxic\na,1\n,0\n", "row 1 is null"),
        ("a.csv", b'text,toxic\na,1\n"  ",0\n', "row 1 is empty"),
        ("a.csv", b"text,toxic\na,1\nb,1\n", "both 0 and 1 are needed"),
        ("a.csv", b"text,toxic\na,1\nb,2\n", "row 1 is not 0 or 1"),
        ("a.csv", b"text,toxic\n", "has no rows"),
        ("a.csv", b"text,toxic\n\xff\xfe,1\n", "not UTF-8"),
        (
            "a.jsonl",
            b'{"text": "a", "toxic": 1}\n{"text": "\xff", "toxic": 0}\n',
            "UTF-8|cannot be read",
        ),
        ("a.jsonl", b'{"text": "a", "toxic": 1\n', "cannot be read"),
        ("a.jsonl", b'{"text": 5, "toxic": 1}\n{"text": "b", "toxic": 0}\n', "row 0 is not a text"),
        ("a.parquet", b"no parquet", "cannot be read"),
    ],
)
def test_bad_files(params: Params, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_comments(data(params, source=str(path)), seed=0)
    assert "\n" not in str(caught.value)


def test_missing_file_and_hub_id(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_comments(data(params, source=str(tmp_path / "none.csv")), seed=0)
    with pytest.raises(UserError, match=r"set data\.revision"):
        read_comments(data(params, source="someone/set"), seed=0)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="cannot be loaded") as caught:
        read_comments(data(params, source="someone/set", revision="main"), seed=0)
    assert "\n" not in str(caught.value)


def test_splits_share_no_prompt(params: Params) -> None:
    settings = data(
        params,
        comments=3000,
        splits=params.data.splits.model_copy(
            update={"rl": 300, "irl": 200, "valid": 100, "test": 100}
        ),
        prompt_words=3,
    )
    sampled = sample_comments(read_comments(settings, seed=0), settings, seed=0)
    comments, prompts = split_prompts(sampled, settings, seed=0)
    assert prompts["prompt"].is_unique
    assert prompts["split"].value_counts().to_dict() == {
        "rl": 300,
        "irl": 200,
        "valid": 100,
        "test": 100,
    }
    originals = set(comments["text"])
    assert set(prompts["prompt"] + prompts["human_completion"]) <= originals
    held_out = tuple(prompts["prompt"][prompts["split"].isin(["valid", "test"])] + " ")
    assert not comments["text"][comments["split"] == "train"].str.startswith(held_out).any()
    assert comments["split"].isin(["valid", "test"]).sum() >= 200


def test_cut_keeps_white_space(params: Params) -> None:
    frame = pd.DataFrame({"text": [f"a  b\n\nc {n} d" for n in range(10)], "toxic": [0, 1] * 5})
    settings = data(params, comments=None, toxic_share=None, max_words=4, prompt_words=2)
    sampled = sample_comments(frame, settings, seed=0)
    assert sorted(sampled["text"])[0] == "a  b\n\nc 0"


def test_too_few(params: Params) -> None:
    frame = pd.DataFrame({"text": [f"word {n} and more" for n in range(20)], "toxic": [0, 1] * 10})
    with pytest.raises(UserError, match=r"data\.comments is 30"):
        sample_comments(frame, data(params, comments=30), seed=0)
    with pytest.raises(UserError, match=r"data\.splits need"):
        split_prompts(frame, data(params), seed=0)


def test_share_is_kept(params: Params) -> None:
    frame = pd.DataFrame({"text": [f"t {n}" for n in range(100)], "toxic": [1] * 90 + [0] * 10})
    half = sample_comments(frame, data(params, comments=None, toxic_share=0.5), seed=0)
    assert (len(half), half["toxic"].sum()) == (20, 10)
    most = sample_comments(frame, data(params, comments=40, toxic_share=0.75), seed=0)
    assert (len(most), most["toxic"].sum()) == (40, 30)


@pytest.mark.parametrize(("size", "share"), [(41, 0.5), (40, 0.2), (40, None), (30, 0.9)])
def test_embedded_comments_suffice(params: Params, size: int, share: float | None) -> None:
    settings = data(params, comments=size, toxic_share=share)
    sampled = sample_comments(read_comments(settings, seed=0), settings, seed=0)
    assert len(sampled) == size
    assert share is None or sampled["toxic"].sum() == round(size * share)


def test_more_embedded_comments_than_there_are(params: Params) -> None:
    with pytest.raises(UserError, match=r"data\.comments is 1000000"):
        read_comments(data(params, comments=1_000_000), seed=0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("irl.lr", -1, "irl.lr is -1 in params.yaml: it must be greater than 0"),
        ("irl.loss", "margin", "irl.loss is 'margin' in params.yaml"),
        ("irl.runs", 0, "irl.runs is 0"),
        ("irl.runs", True, "irl.runs is True in params.yaml: it must be a valid integer"),
        ("irl.epochs", "3", "irl.epochs is '3' in params.yaml: it must be a valid integer"),
        ("irl.bootstrap", "yes", "irl.bootstrap is 'yes' in params.yaml: it must be a valid bool"),
        ("irl.reward", -1, "it must be median_run, ensemble or an integer >= 0"),
        ("irl.lr", "fast", "irl.lr is 'fast'"),
        ("irl.learning_rate", 1, "irl.learning_rate in params.yaml is not a known key"),
        ("rlhf.trainable_layers", "some", "rlhf.trainable_layers is 'some'"),
        ("data.prompt_words", 99, "prompt_words must be smaller than max_words"),
        ("compute.device", "gpu", "compute.device is 'gpu'"),
        ("irl.lr", float("nan"), "irl.lr is nan"),
        ("irl.features", [], "irl.features is [] in params.yaml: it must be a list and have"),
        ("irl.bayes.prior_std", 1e-200, "irl.bayes.prior_std is 1e-200"),
        ("data.splits.irl", 1, "data.splits.irl is 1"),
        (
            "irl",
            {"trainable": "last_k", "last_k": 2, "blocks": 1},
            "irl in params.yaml: last_k is 2, but blocks is 1: lower it",
        ),
        (
            "irl",
            {"solver": "exact", "bootstrap": False},
            "irl in params.yaml: solver exact without bootstrap",
        ),
        ("irl.last_k", 99, "irl.last_k is 99, but base_policy.scratch.layers is"),
        ("pairs.max_new_tokens", 500, "500, but base_policy.scratch.max_tokens is"),
        ("rlhf.batch_size", 9999, "params.yaml: rlhf.batch_size is 9999, but data.splits.rl has"),
    ],
)
def test_bad_params(raw_params: dict[str, Any], path: str, value: Any, message: str) -> None:
    content = json.loads(json.dumps(raw_params))
    for key in reversed(path.split(".")):
        value = {key: value}
    preset.merge(content, value)
    with pytest.raises(UserError) as caught:
        parse_params(content)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_every_error_is_named(raw_params: dict[str, Any]) -> None:
    content = json.loads(json.dumps(raw_params))
    del content["irl"]["lr"]
    content["seed"] = 2**32
    content["pairs"]["samples"] = 0
    with pytest.raises(UserError) as caught:
        parse_params(content)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("seed is 4294967296" in line for line in lines)
    assert any("irl.lr is missing" in line for line in lines)
    assert any("pairs.samples is 0" in line for line in lines)


def test_exponent_without_point_is_a_number(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("margin: 1.0 ", "margin: 1e-06 "))
    assert parse_params(read_yaml(tmp_path / "params.yaml")).irl.margin == 1e-6


def test_bad_model_folders(policy_folder: Path, params: Params, tmp_path: Path) -> None:
    def copy_without(*patterns: str) -> Path:
        folder = tmp_path / "_".join(patterns).replace("*", "")
        folder.mkdir()
        for file in policy_folder.iterdir():
            if not any(file.match(pattern) for pattern in patterns):
                (folder / file.name).write_bytes(file.read_bytes())
        return folder

    for pattern, message in (
        ("*.safetensors", "no .safetensors weights"),
        ("tokenizer*", "no tokenizer files"),
        ("config.json", "no config.json"),
    ):
        with pytest.raises(UserError, match=message):
            load("policy", copy_without(pattern), params.compute)
    with pytest.raises(UserError, match="is not a folder"):
        load("policy", tmp_path / "none", params.compute)
    pickled = copy_without("model.safetensors")
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(UserError, match="other formats are not loaded"):
        load("policy", pickled, params.compute)
    broken = copy_without("nothing")
    (broken / "model.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(UserError, match="weights cannot be loaded"):
        load("policy", broken, params.compute)
    with pytest.raises(UserError, match="is no classifier"):
        load("classifier", policy_folder, params.compute)
    weights = load_file(policy_folder / "model.safetensors")
    weights["gpt_neox.final_layer_norm.bias"] += torch.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"gpt_neox\.final_layer_norm\.bias are not finite"):
        load("policy", broken, params.compute)


def test_hub_without_network(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"base_policy\.source: someone/model: the") as caught:
        load("policy", "someone/model", params.compute, key="base_policy.source", revision="main")
    assert "\n" not in str(caught.value)
    source = params.base_policy.model_copy(update={"source": "someone/model"})
    with pytest.raises(UserError, match=r"if it is a hub id, set base_policy\.revision"):
        obtain("policy", source, params.compute, key="base_policy")


def test_stage_prints_one_line(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("source: embedded ", "source: none.csv "))
    result = subprocess.run(
        [sys.executable, "-m", "stages.prepare_data"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "error: data.source: none.csv does not exist"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_outputs_are_whole_or_absent(tmp_path: Path) -> None:
    write_json({"a": 1}, tmp_path / "x.json")

    def fail() -> None:
        with atomic(tmp_path / "x.json") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json({"a": float("nan")}, tmp_path / "y.json")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_tables_are_checked(tmp_path: Path) -> None:
    frame = pd.DataFrame({"comment_id": [1], "text": ["a"], "toxic": [None], "split": ["train"]})
    write_table(frame, tmp_path / "t.parquet", COMMENTS)
    assert read_table(tmp_path / "t.parquet", COMMENTS)["split"].tolist() == ["train"]
    frame.to_parquet(tmp_path / "u.parquet")
    with pytest.raises(UserError, match="column text is large_string, it must be string"):
        read_table(tmp_path / "u.parquet", COMMENTS)
    with pytest.raises(UserError, match="does not exist"):
        read_table(tmp_path / "v.parquet", COMMENTS)
    frame[["comment_id"]].to_parquet(tmp_path / "w.parquet")
    with pytest.raises(UserError, match="has no column text: delete the file"):
        read_table(tmp_path / "w.parquet", COMMENTS)
    empty = pd.DataFrame(columns=["ngram", "weight", "texts"])
    write_table(empty, tmp_path / "n.parquet", NGRAMS)
    assert read_table(tmp_path / "n.parquet", NGRAMS).empty


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pairs: pairs[pairs["split"] != "valid"], "no pairs in split valid"),
        (lambda pairs: pd.concat([pairs, pairs[1:2]]), "has sample 0 of prompt 1 twice"),
        (lambda pairs: pd.concat([pairs, pairs[:1].assign(sample=1)]), "has 2 samples a prompt"),
        (lambda pairs: pairs.replace({"prompt_id": {2: 999}}), "has prompt 999, which the prom"),
    ],
)
def test_damaged_pairs_are_one_line(
    change: Callable[[pd.DataFrame], pd.DataFrame], message: str, tmp_path: Path
) -> None:
    pairs = pd.DataFrame({"prompt_id": [0, 1, 2], "split": ["irl", "valid", "test"]}).assign(
        prompt="a", sample=0, base_completion=" b", aligned_completion=" c"
    )
    path = tmp_path / "pairs.parquet"
    write_table(pairs, path, PAIRS)
    assert read_pairs(path, pairs)["prompt_id"].tolist() == [0, 1, 2]
    write_table(change(pairs), path, PAIRS)
    with pytest.raises(UserError, match=message):
        read_pairs(path, pairs)


def test_the_median_of_comments_wants_balanced_ones() -> None:
    content = read_yaml(ROOT / "params.yaml")
    content["irl"]["threshold"] = "human_median"
    parse_params(content, "params.yaml")
    for share in (0.3, None):
        content["data"]["toxic_share"] = share
        with pytest.raises(UserError, match=rf"data\.toxic_share is {share}"):
            parse_params(content, "params.yaml")
    content["data"]["toxic_share"] = 0.5
    content["true_reward"]["weights"] |= {"toxicity": 0, "length": 1.0}
    with pytest.raises(UserError, match=r"true_reward\.weights\.toxicity is 0"):
        parse_params(content, "params.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "presets").glob("*.yaml")), ids=lambda p: p.stem)
def test_presets_parse(path: Path) -> None:
    content = read_yaml(ROOT / "params.yaml")
    preset.merge(content, read_yaml(path))
    parse_params(content, path.name)


def test_preset_flags_and_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    irl = {"lr": 1e-06, "bootstrap": False, "features": ["ngram", "length"]}
    overlay = {"irl": irl, "data": {"comments": None}}
    assert preset.flags(overlay) == [
        *("-S", "irl.lr=1e-06"),
        *("-S", "irl.bootstrap=false"),
        *("-S", "irl.features=[ngram,length]"),
        *("-S", "data.comments=null"),
    ]
    target = tmp_path / "params.yaml"
    target.write_text((ROOT / "params.yaml").read_text())
    preset.write(overlay, target)
    before = (ROOT / "params.yaml").read_text().splitlines()
    after = target.read_text().splitlines()
    assert [line for line in before if line.startswith("#")] == [
        line for line in after if line.startswith("#")
    ]
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 4
    merged = parse_params(read_yaml(target))
    assert merged.irl.lr == 1e-6
    assert merged.data.comments is None
    monkeypatch.chdir(ROOT)
    assert preset.main(["no-such-preset"]) == 2
    (tmp_path / "empty.yaml").write_text("")
    monkeypatch.setattr(preset, "PRESETS", tmp_path)
    assert preset.main(["empty"]) == 2


def test_transfer_prompts(tmp_path: Path, params: Params) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": " one "}\n{"prompt": "one"}\n{"prompt": null}\n{"prompt": "two"}\n')
    settings = params.evaluate.model_copy(update={"transfer_prompts": str(path)})
    found = read_transfer_prompts(settings)
    assert found is not None
    assert found["prompt"].tolist() == ["one", "two"]
    assert read_transfer_prompts(params.evaluate) is None
    wrong = settings.model_copy(update={"transfer_column": "text"})
    with pytest.raises(UserError, match="has no column 'text'; its columns are 'prompt'"):
        read_transfer_prompts(wrong)
    nested = tmp_path / "nested.jsonl"
    nested.write_text('{"prompt": "one"}\n{"prompt": {"text": "two"}}\n')
    structs = settings.model_copy(update={"transfer_prompts": str(nested)})
    with pytest.raises(UserError, match=r"nested\.jsonl, column 'prompt', row 1 is not a text"):
        read_transfer_prompts(structs)
    plain = settings.model_copy(update={"transfer_prompts": csv(tmp_path / "a.txt", "one")})
    with pytest.raises(UserError, match=r"is not a \.parquet, \.csv or \.jsonl file"):
        read_transfer_prompts(plain)
    missing = settings.model_copy(update={"transfer_prompts": str(tmp_path / "none.csv")})
    with pytest.raises(UserError, match=r"evaluate\.transfer_prompts: .* does not exist"):
        read_transfer_prompts(missing)
