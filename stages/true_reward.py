"""The true reward: a toxicity classifier, trained from scratch, or from a folder or the hub."""

from inverse_rlhf.stage import run_stage

from typing import Any

import numpy as np

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import atomic, write_json
from inverse_rlhf.measures.labels import Labels, chance_limit, label_agreement, labelled
from inverse_rlhf.models.checkpoints import keep, obtain
from inverse_rlhf.models.plan import plan_model
from inverse_rlhf.models.scratch import train_classifier, word_list_accuracy
from inverse_rlhf.params import Classifier, Compute, Group, Head, Seed
from inverse_rlhf.parquet import read_table
from inverse_rlhf.rewards.classifier import ClassifierReward
from inverse_rlhf.show import closing


class StageParams(Group):
    """The params of this stage."""

    seed: Seed
    compute: Compute
    true_reward: Classifier


def main(params: StageParams) -> list[str]:
    group, compute = params.true_reward, params.compute
    comments = read_table("data/comments.parquet", COMMENTS)
    given = labelled(comments)
    trainable = given.loc[given["split"] == "train", "toxic"].nunique() == 2
    plan_model("true_reward", group, compute, "classifier", comments["text"].tolist())
    if group.source == "scratch":
        if not trainable:
            raise UserError(
                "true_reward.source is scratch, but the comments to train on have not both labels: "
                "label some of each kind, or name a classifier"
            )
        classifier, facts = train_classifier(given, group.scratch, compute, seed=params.seed)
    else:
        classifier = obtain("classifier", group, compute, key="true_reward")
        facts = {"parameters": classifier.module.num_parameters()}
    report: dict[str, Any] = dict(facts)
    reward = ClassifierReward(classifier, group)
    if group.source != "scratch":
        report["head"] = reward.head
    held_out = given[given["split"] == "test"]
    if len(held_out):
        scores, toxic = reward.score(held_out["text"].tolist()), held_out["toxic"].to_numpy()
        agreement = label_agreement(scores, toxic)
        report |= {name: value for name, value in agreement.items() if np.isfinite(value)}
        if trainable:
            report["tfidf_accuracy"] = word_list_accuracy(given)
        if group.source != "scratch":
            _check_head(scores, toxic, reward, group)
    with atomic("models/true_reward") as folder:
        keep(classifier, group, folder, key="true_reward")
    write_json({"true_reward": report}, "metrics/true_reward.json")
    return closing.true_reward(report)


def _check_head(
    scores: np.ndarray, toxic: np.ndarray, reward: ClassifierReward, params: Head
) -> None:
    """Refuse a classifier that is read wrongly, or knows nothing of the comments.

    Args:
        scores: rewards of held-out comments, (texts,).
        toxic: their labels, (texts,); with one label there is nothing to check.
    """
    labels = Labels(scores, toxic, 0.0)
    if labels.one_class:
        return
    limit, auc = chance_limit(labels), labels.roc_auc()
    read = (
        f"true_reward.toxic_label is {params.toxic_label}, higher_is {params.higher_is}: read as "
        f"{reward.head}, the classifier"
    )
    if auc <= limit:
        raise UserError(
            f"{read} tells toxic from other held-out comments no better than chance (ROC-AUC "
            f"{auc:.3f}, above {limit:.3f} is wanted): set toxic_label and higher_is by what its "
            f"labels mean, {reward.model.module.config.id2label}, or take another classifier"
        )
    if (balanced := labels.balanced_accuracy()) <= limit:
        output = scores * (-1 if params.higher_is == "toxic" else 1) + params.neutral
        medians = [float(np.median(output[toxic == label])) for label in (1, 0)]
        raise UserError(
            f"{read} calls {labels.alarms} of {labels.count} held-out comments toxic (balanced "
            f"accuracy {balanced:.3f}, above {limit:.3f} is wanted), though its ROC-AUC is "
            f"{auc:.3f}: set true_reward.neutral, {params.neutral:g}, between its medians of toxic "
            f"and other comments, {medians[0]:.3g} and {medians[1]:.3g}"
        )


if __name__ == "__main__":
    run_stage(main)
