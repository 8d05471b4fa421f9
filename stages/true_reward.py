"""The true reward: a toxicity classifier, trained from scratch, or from a folder or the hub."""

from inverse_rlhf.stage import run_stage

from inverse_rlhf.data.tables import COMMENTS
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import write_json
from inverse_rlhf.measures.labels import label_agreement
from inverse_rlhf.models.checkpoints import obtain
from inverse_rlhf.models.scratch import train_classifier, word_list_accuracy
from inverse_rlhf.params import Classifier, Compute, Group, Seed
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
    if group.source == "scratch":
        classifier, facts = train_classifier(comments, group.scratch, compute, seed=params.seed)
    else:
        classifier = obtain("classifier", group, compute, key="true_reward")
        facts = {"parameters": classifier.module.num_parameters()}
    reward = ClassifierReward(classifier, toxic_label=group.toxic_label)
    held_out = comments[comments["split"] == "test"]
    agreement = label_agreement(
        reward.score(held_out["text"].tolist()), held_out["toxic"].to_numpy()
    )
    if agreement["roc_auc"] < 0.5:
        raise UserError(
            f"true_reward.toxic_label is {group.toxic_label}, but held-out toxic comments score as "
            f"less toxic than the others (ROC-AUC {agreement['roc_auc']:.3f}): it is another class"
        )
    facts |= agreement | {"tfidf_accuracy": word_list_accuracy(comments)}
    classifier.save("models/true_reward")
    write_json({"true_reward": facts}, "metrics/true_reward.json")
    return closing.true_reward(facts)


if __name__ == "__main__":
    run_stage(main)
