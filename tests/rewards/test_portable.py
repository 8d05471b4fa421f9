"""The exported reward scores elsewhere as it does here, or its README says where it does not."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    pipeline,
)

from benchmarks.plain_reward import messages, padded
from benchmarks.reward_elsewhere import (
    ODD,
    WAYS,
    by_another,
    by_reward_funcs,
    reward_trainer,
    texts,
)
from inverse_rlhf.errors import UserError
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import encode, with_masks
from inverse_rlhf.params import Params
from inverse_rlhf.rewards import portable
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.model_card import model_card
from inverse_rlhf.rewards.portable import CHAT_TEMPLATE, pads_on_either_side
from inverse_rlhf.rewards.recovered import IrlReward, load_irl_reward
from tests.foreign import TEXTS, TOKENIZERS

END, PAD = "<|endoftext|>", "<|padding|>"
Change = Callable[[PreTrainedTokenizerFast], None]


def write(body: Model, card: RewardCard, folder: Path) -> IrlReward:
    """Its folder in a project, with a head that spreads the scores."""
    torch.nn.init.normal_(body.module.score.weight, std=0.2)
    reward = IrlReward(body, None, card)
    reward.readme = model_card(card, body)
    reward.save(folder)
    return reward


@pytest.fixture(scope="module")
def exported(
    policy_folder: Path, params: Params, card: RewardCard, tmp_path_factory: pytest.TempPathFactory
) -> tuple[IrlReward, Path]:
    folder = tmp_path_factory.mktemp("project") / "models/irl_reward"
    torch.manual_seed(1)
    body = load("classifier", policy_folder, params.compute, num_labels=1)
    return write(body, card, folder), folder


@pytest.mark.parametrize("way", WAYS)
def test_it_scores_the_same_everywhere(exported: tuple[IrlReward, Path], way: str) -> None:
    reward, folder = exported
    given = texts()
    assert len(set(given)) == 100
    ours = reward.score(given)
    assert ours.std() > 0.01
    np.testing.assert_allclose(WAYS[way](str(folder), given), ours, atol=1e-4)


def test_it_scores_the_same_by_another_transformers(exported: tuple[IrlReward, Path]) -> None:
    """TRANSFORMERS_4_PYTHON names an environment with transformers 4.57."""
    python = os.environ.get("TRANSFORMERS_4_PYTHON")
    if python is None:
        pytest.skip("no other environment is named")
    reward, folder = exported
    for way, scores in by_another(python, str(folder), texts()).items():
        np.testing.assert_allclose(scores, reward.score(texts()), atol=1e-4, err_msg=way)


def test_our_own_reading_is_one_line(
    exported: tuple[IrlReward, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of the README's code is run as it stands there."""
    reward, folder = exported
    monkeypatch.chdir(folder.parent.parent)
    readme = (folder / "README.md").read_text()
    plain, own = readme.split("```python\n")[1].split("\n```")[0].splitlines()
    found: dict[str, Any] = {}
    for line in (plain, own):
        statement, call = line.split("; ")
        exec(f"{statement}\nscore = {call}", found)
        score = found["score"]
        value = score[0]["score"] if line == plain else score[0]
        np.testing.assert_allclose(value, reward.score(["A whole text."])[0], atol=1e-5)
    assert found["score"].dtype == np.float32
    raw = pipeline("text-classification", str(folder))("A whole text.")  # no sigmoid of one output
    np.testing.assert_allclose(raw[0]["score"], found["score"][0], atol=1e-5)


def test_what_its_folder_says(exported: tuple[IrlReward, Path]) -> None:
    _, folder = exported
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["GPTNeoXForSequenceClassification"]
    assert (config["id2label"], config["label2id"]) == ({"0": "reward"}, {"reward": 0})
    assert config["problem_type"] == "regression"
    assert (config["rotary_emb_base"], config["rotary_pct"]) == (10_000, 0.25)
    says = json.loads((folder / "tokenizer_config.json").read_text())
    assert says["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (says["padding_side"], says["pad_token"]) == ("right", PAD)
    assert says["model_max_length"] == 128
    assert says["chat_template"] == CHAT_TEMPLATE
    assert not {"max_length", "stride", "is_local", "backend"} & set(says)
    tokens = json.loads((folder / "tokenizer.json").read_text())
    assert tokens["truncation"] is tokens["padding"] is None
    readme = (folder / "README.md").read_text()
    for line in (
        "license: other",
        "Context: 128 tokens",
        "no end token is appended",
        "| otsu | 0.1 |",
        "Padding may stand on either side.",
        "method standard, loss hinge, trained: head; run 1,",
    ):
        assert line in readme
    assert str(folder.parent) not in readme


def test_truncation_of_the_base_does_not_leak(
    policy_folder: Path, params: Params, card: RewardCard, tmp_path: Path
) -> None:
    body = load("classifier", policy_folder, params.compute, num_labels=1)
    body.tokenizer(["a"] * 2, truncation=True, max_length=3, padding="max_length")
    reward = write(body, card, tmp_path / "reward")
    tokens = json.loads((tmp_path / "reward/tokenizer.json").read_text())
    assert tokens["truncation"] is tokens["padding"] is None
    text = "a longer text than three tokens"
    found = padded(str(tmp_path / "reward"), [text, "a"], "right")
    np.testing.assert_allclose(found, reward.score([text, "a"]), atol=1e-5)


def test_the_chat_template_passes_on_what_is_said(exported: tuple[IrlReward, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported[1])
    for text in ODD:
        assert tokenizer.apply_chat_template(messages(text), tokenize=False) == text


def test_an_end_token_is_what_somebody_typed(exported: tuple[IrlReward, Path]) -> None:
    """TRL's trainer of rewards writes one behind plain texts, but none behind messages."""
    reward, folder = exported
    assert reward.body is not None
    given = ["a few words", "one"]
    for rows, end in (([messages(text) for text in given], ""), (given, END)):
        found = [row["chosen_ids"] for row in reward_trainer(str(folder), rows).train_dataset]
        assert found == encode([text + end for text in given], reward.body)["input_ids"]


# padding


def classifier(
    kind: str, policy_folder: Path, params: Params, *, change: Change, rows: int = 512
) -> Model:
    """A tiny sequence classifier over the policy's tokenizer, as it comes out of `load`."""
    tokenizer = AutoTokenizer.from_pretrained(policy_folder)
    change(tokenizer)
    return over(tokenizer, kind, params, rows)


def over(tokenizer: PreTrainedTokenizerFast, kind: str, params: Params, rows: int) -> Model:
    """A tiny sequence classifier with this many token embeddings, its weights spread wide."""
    tokenizer.clean_up_tokenization_spaces = False
    shared = {"vocab_size": rows, "num_labels": 1, "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(2)
    module: Any
    if kind == "gpt2":
        module = GPT2ForSequenceClassification(
            GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, **shared)
        )
    else:
        module = LlamaForSequenceClassification(
            LlamaConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=128,
                rope_parameters={"rope_type": "linear", "rope_theta": 500_000.0, "factor": 2.0},
                **shared,
            )
        )
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 2:
                parameter.mul_(4)
    return Model(module.eval(), tokenizer, params.compute)


def scored_alike(reward: IrlReward, folder: Path, texts: list[str]) -> IrlReward:
    """Check that a written reward scores as it did, by plain transformers and by our own reading.

    Returns:
        What our own reading of the folder gives.
    """
    ours = reward.score(texts)
    for side in ("left", "right"):
        np.testing.assert_allclose(padded(str(folder), texts, side), ours, atol=1e-5)
    assert reward.body is not None
    again = load_irl_reward(folder, reward.body.compute)
    np.testing.assert_allclose(again.score(texts), ours, atol=1e-5)
    return again


def pad_with(token: str) -> Change:
    def change(tokenizer: PreTrainedTokenizerFast) -> None:
        tokenizer.pad_token = token

    return change


def without_padding(tokenizer: PreTrainedTokenizerFast) -> None:
    """One that has no padding token at all, so that the end of text pads, as of GPT-2."""
    written = tokenizer.backend_tokenizer.to_str().replace(PAD, "<|other|>")
    tokenizer._tokenizer = type(tokenizer.backend_tokenizer).from_str(written)
    tokenizer.pad_token = END


@pytest.mark.parametrize(
    ("change", "rows", "token", "written_rows"),
    [
        (pad_with(PAD), 512, PAD, 512),
        (pad_with(END), 512, PAD, 512),  # as GPT-NeoX has it
        (without_padding, 512, PAD, 513),
        (without_padding, 520, PAD, 520),  # there is a free row
        (pad_with("."), 512, PAD, 512),
    ],
    ids=["own", "end, own is known", "end, no row", "end, free rows", "a piece of text"],
)
def test_padding_is_no_token_that_ends_a_text(
    policy_folder: Path,
    params: Params,
    card: RewardCard,
    tmp_path: Path,
    change: Change,
    rows: int,
    token: str,
    written_rows: int,
) -> None:
    body = classifier("llama", policy_folder, params, change=change, rows=rows)
    reward = write(body, card, tmp_path / "reward")
    given = [*ODD, "It ends here.", "..."] if body.tokenizer.pad_token != "." else ODD
    scored_alike(reward, tmp_path / "reward", given)
    module = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert tokenizer.pad_token == token
    assert module.config.pad_token_id == tokenizer.pad_token_id
    assert module.get_input_embeddings().weight.shape[0] == written_rows
    assert body.module.get_input_embeddings().weight.shape[0] == rows
    ended = [tokenizer("a few words")["input_ids"] + [tokenizer.eos_token_id], [5, 6]]
    batch = tokenizer.pad({"input_ids": ended}, return_tensors="pt")
    whole = with_masks(ended)
    assert reward.body is not None
    with torch.no_grad():
        found = module(**batch).logits[:, 0].numpy()
    expected = [
        reward._head(with_tensors(row, mask)).item()
        for row, mask in zip(whole["input_ids"], whole["attention_mask"], strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("rows", [10, 12])
def test_padding_has_a_number_of_its_own_where_some_are_left_out(
    rows: int, params: Params, card: RewardCard, tmp_path: Path
) -> None:
    """The tokenizer has 9 tokens, and `zoo` is number 9."""
    known = {"<e>": 0, "<u>": 1, "the": 2, "you": 3, "a": 5, "fool": 6, "map": 7, "x": 8, "zoo": 9}
    words = Tokenizer(models.WordLevel(known, unk_token="<u>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="<e>", unk_token="<u>", pad_token="<e>"
    )
    assert len(tokenizer) == known["zoo"]
    body = over(tokenizer, "llama", params, rows)
    reward = write(body, card, tmp_path / "reward")
    given = ["the map", "you a fool", "map zoo", "zoo", "the zoo map", "zoo zoo x"]
    again = scored_alike(reward, tmp_path / "reward", given)
    assert again.body is not None
    assert again.body.tokenizer.pad_token_id == 10
    assert tokenizer.get_vocab() == known  # the given one is as it was


def test_a_padding_token_that_texts_have_is_refused(
    policy_folder: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = classifier("llama", policy_folder, params, change=pad_with(END))
    monkeypatch.setattr(portable, "_PADDING", "a")
    with pytest.raises(UserError, match="cannot be written for others: 'a few words"):
        portable.write_classifier(body, tmp_path)


def with_tensors(row: list[int], mask: list[int]) -> Any:
    return {"input_ids": torch.tensor([row]), "attention_mask": torch.tensor([mask])}


def test_an_unknown_word_that_pads_is_none(
    policy_folder: Path, params: Params, card: RewardCard, tmp_path: Path
) -> None:
    def change(tokenizer: PreTrainedTokenizerFast) -> None:
        tokenizer.unk_token = tokenizer.pad_token = END

    write(classifier("llama", policy_folder, params, change=change), card, tmp_path / "reward")
    assert AutoTokenizer.from_pretrained(tmp_path / "reward").pad_token == PAD


def test_learned_positions_count_padding_and_the_readme_says_so(
    policy_folder: Path, params: Params, card: RewardCard, tmp_path: Path
) -> None:
    body = classifier("gpt2", policy_folder, params, change=pad_with(END))
    reward = write(body, card, tmp_path / "reward")
    assert not pads_on_either_side(body)
    given = texts(40)
    ours = reward.score(given)
    right, left = (padded(str(tmp_path / "reward"), given, side) for side in ("right", "left"))
    np.testing.assert_allclose(right, ours, atol=1e-5)
    assert np.abs(np.array(left) - ours).max() > 0.01
    alone = [padded(str(tmp_path / "reward"), [text], "left")[0] for text in given]
    np.testing.assert_allclose(alone, ours, atol=1e-5)
    readme = (tmp_path / "reward/README.md").read_text()
    assert "Padding must stand on the right" in readme


# what stands around a text


def opened(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", special_tokens=[(END, 0)]
    )


def opened_twice(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} {END} $A", special_tokens=[(END, 0)]
    )


@pytest.mark.parametrize("change", [opened, opened_twice])
def test_a_beginning_is_expected_once(
    policy_folder: Path, params: Params, card: RewardCard, tmp_path: Path, change: Change
) -> None:
    """Plain transformers adds it; TRL does not where it is given the folder, as the README says."""
    body = classifier("llama", policy_folder, params, change=change)
    reward = write(body, card, tmp_path / "reward")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "reward")
    given = texts(40)
    assert tokenizer(given, truncation=True)["input_ids"] == encode(given, body)["input_ids"]
    found = padded(str(tmp_path / "reward"), given, "right")
    np.testing.assert_allclose(found, reward.score(given), atol=1e-5)
    without = by_reward_funcs(str(tmp_path / "reward"), given)
    assert np.abs(np.array(without) - reward.score(given)).max() > 1e-3
    readme = (tmp_path / "reward/README.md").read_text()
    assert f"`{END} a` of the text `a`" in readme
    assert "`reward_funcs` leaves them out" in readme


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_every_kind_of_tokenizer_reads_elsewhere_what_it_reads_here(
    kind: str, params: Params, card: RewardCard, tmp_path: Path
) -> None:
    tokenizer = TOKENIZERS[kind]()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    body = over(tokenizer, "llama", params, len(tokenizer))
    reward = write(body, card, tmp_path / "reward")
    typed = [f"a {token} b {token}" for token in tokenizer.all_special_tokens]
    given = [*TEXTS[:5], *ODD, *typed]
    readme = (tmp_path / "reward/README.md").read_text()
    if kind == "unigram":  # special tokens are pieces, too
        given = [text for text in given if "</s>" not in text and "<pad>" not in text]
        assert "that somebody typed are text by `load_irl_reward`, tokens elsewhere" in readme
    else:
        assert "Special tokens that somebody typed are text." in readme
    elsewhere = AutoTokenizer.from_pretrained(tmp_path / "reward")
    assert elsewhere(given)["input_ids"] == encode(given, body)["input_ids"]
    scored_alike(reward, tmp_path / "reward", given)


def test_scaled_rotary_positions_have_their_old_names(
    policy_folder: Path, params: Params, card: RewardCard, tmp_path: Path
) -> None:
    body = classifier("llama", policy_folder, params, change=pad_with(PAD))
    write(body, card, tmp_path / "reward")
    config = json.loads((tmp_path / "reward/config.json").read_text())
    assert config["rope_theta"] == 500_000
    assert config["rope_scaling"]["factor"] == 2
    assert config["rope_scaling"] == config["rope_parameters"]


# heads beside their bodies


def test_a_head_beside_its_body_is_loaded_in_one_line(
    policy_folder: Path, params: Params, card: RewardCard, tmp_path: Path
) -> None:
    body = load("classifier", policy_folder, params.compute, num_labels=1)
    own = card.model_copy(update={"body": "body", "pooling": "mean"})
    reward = IrlReward(body, None, own, torch.randn(1, 32))
    reward.readme = model_card(own, body)
    reward.save(tmp_path / "reward")
    given = texts(30)
    ours = reward.score(given)
    np.testing.assert_allclose(load_irl_reward(str(tmp_path / "reward")).score(given), ours, 1e-4)
    config = json.loads((tmp_path / "reward/config.json").read_text())
    assert config["architectures"] == ["GPTNeoXModel"]
    readme = (tmp_path / "reward/README.md").read_text()
    assert "starts with a random head" in readme
    assert "pipeline" not in readme
    assert "tokens, their mean" in readme
