"""The README of a recovered reward's folder: how it is loaded, what it reads, what it means."""

from inverse_rlhf.models.checkpoints import Model
from inverse_rlhf.models.reading import text_ids
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.rewards.portable import LABEL, pads_on_either_side

_OWN_LINE = (
    "from inverse_rlhf.rewards.recovered import load_irl_reward; "
    'load_irl_reward("models/irl_reward").score(["A whole text."])'
)
_PLAIN_LINE = (
    'from transformers import pipeline; pipeline("text-classification", "models/irl_reward")'
    '("A whole text.", function_to_apply="none", truncation=True)'
)


def model_card(card: RewardCard, body: Model | None) -> str:
    """Markdown with the hub's front matter.

    Args:
        card: of the reward.
        body: its transformer, a sequence classifier or not, as `card.body` says.
    """
    classifier = card.body == "sequence_classifier" and body is not None
    parts = [
        _front(classifier),
        "# A recovered reward\n",
        "It scores a whole text, a prompt with its completion: the higher, the more an aligned "
        "policy prefers it to its base policy.\n",
        _loading(body if classifier else None),
        _method(card),
        _reading(card, body),
        _scale(card),
        "## Licence\n\n"
        + (
            "The weights derive from another model's, whose licence holds for them"
            if body is not None
            else "The weights are of text features, fitted to the pairs"
        )
        + "; inverse-rlhf, which fitted them, is under the MIT licence.\n",
    ]
    return "\n".join(parts)


def _front(classifier: bool) -> str:
    lines = ["license: other", "license_name: of-the-base-model", "tags:", "- reward-model"]
    if classifier:
        lines = ["library_name: transformers", "pipeline_tag: text-classification", *lines]
    return "\n".join(["---", *lines, "---", ""])


def _loading(classifier: Model | None) -> str:
    lines = ["## Loading\n", "```python"]
    if classifier is not None:
        lines += [_PLAIN_LINE]
    lines += [_OWN_LINE, "```\n"]
    if classifier is not None:
        rope = getattr(classifier.module.config.get_text_config(), "rope_parameters", None) or {}
        old = "transformers 4.57, where it knows the architecture, and 5"
        if any(isinstance(value, dict) for value in rope.values()):  # of each kind of layer
            old = "transformers 5; older versions read the rotary positions of its layers otherwise"
        lines += [
            "Both give the same: a plain `AutoModelForSequenceClassification` with one output, "
            f"`{LABEL}`. The first cuts texts that are longer than the context only with "
            f"`truncation=True`. It is for {old}.\n"
        ]
    else:
        lines += [
            "There is no class of transformers for it: one that loads its transformer, if it has "
            "one, as a sequence classifier starts with a random head.\n"
        ]
    return "\n".join(lines)


def _method(card: RewardCard) -> str:
    which = "the mean of all runs" if card.run is None else f"run {card.run}"
    pairs = "Pairs" if card.pairs is None else f"{card.pairs} pairs"
    return (
        "## Method and data\n\n"
        "Max-margin inverse reinforcement learning (inverse-rlhf; Joselowitz et al., "
        f"arXiv 2410.12491): method {card.method}, loss {card.loss}, trained: {card.trainable}; "
        f"{which}, which prefers the aligned completion in {card.valid_discrimination:.1%} of "
        f"held-out pairs. {pairs} of completions of the same prompts, one by the base and one by "
        "the aligned policy, are all it was fitted on: not the reward that the aligned policy was "
        "trained with, and no labels.\n"
    )


def _reading(card: RewardCard, body: Model | None) -> str:
    lines = ["## What it reads\n", f"- Features: {', '.join(card.features)}."]
    if body is not None:
        where = "last token" if card.pooling == "last" else "tokens, their mean"
        lines += [
            f"- Hidden states of the {where}, after all blocks that it has.",
            f"- Context: {body.max_tokens} tokens; longer texts are cut at the "
            f"{'beginning' if body.tokenizer.truncation_side == 'left' else 'end'}.",
            *_ends(card, body),
            "- The chat template passes on what messages say, one after another, and adds nothing.",
            _typed(body),
        ]
    return "\n".join(lines) + "\n"


def _ends(card: RewardCard, body: Model) -> list[str]:
    """What stands around a text, and where padding may."""
    tokenizer = body.tokenizer
    [whole], inner = text_ids(["a"], tokenizer), tokenizer("a", add_special_tokens=False)
    lines = []
    if whole == inner["input_ids"]:
        lines.append(
            "- No special token stands around a text, and no end token is appended. TRL's "
            "`RewardTrainer` appends one to plain texts, but not to messages: give it messages."
        )
    else:
        around = " ".join(tokenizer.convert_ids_to_tokens(whole))
        lines.append(
            f"- The tokenizer adds special tokens, `{around}` of the text `a`; no other is "
            "appended. TRL's `reward_funcs` leaves them out where it is given this folder, and its "
            "`RewardTrainer` adds an end token to plain texts: give them a function that calls "
            "`score`."
        )
    if card.body == "sequence_classifier":
        lines.append(
            "- Padding may stand on either side."
            if pads_on_either_side(body)
            else "- Padding must stand on the right, as positions count it: where a program pads "
            "on the left, as RewardBench does, let it read one text at a time."
        )
    return lines


def _typed(body: Model) -> str:
    """Whether special tokens within a text are text elsewhere, too."""
    tokenizer = body.tokenizer
    read = tokenizer(
        " ".join(tokenizer.all_special_tokens), add_special_tokens=False, split_special_tokens=True
    )
    found = {*read["input_ids"]} & {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    where = " by `load_irl_reward`, tokens elsewhere: it has pieces of their names" if found else ""
    return f"- Special tokens that somebody typed are text{where}."


def _scale(card: RewardCard) -> str:
    cuts = "\n".join(f"| {name} | {value:.6g} |" for name, value in card.thresholds.items())
    return (
        "## Scale and threshold\n\n"
        "Pairs tell a reward up to an offset of each prompt and a positive scale: compare texts, "
        f"best those of one prompt. Its mean is {card.mean:.6g} and its standard deviation "
        f"{card.std:.6g} on the texts that it was fitted on. A text with less than the threshold "
        "is called bad (toxic); each was found without labels or the true reward, and reports use "
        "the one that `evaluate.threshold` names, human_median unless it is changed.\n\n"
        f"| threshold | value |\n|---|---|\n{cuts}\n"
    )
