"""The true reward: a toxicity classifier, trained from scratch, or from a folder or the hub."""

from inverse_rlhf.cli import run_stage
from inverse_rlhf.errors import UserError
from inverse_rlhf.files import write_json
from inverse_rlhf.measures.agreement import label_agreement
from inverse_rlhf.models import obtain, save
from inverse_rlhf.params import Params
from inverse_rlhf.rewards import ClassifierReward
from inverse_rlhf.tables import COMMENTS, read_table
from inverse_rlhf.training import train_classifier, word_list_accuracy


def main(params: Params) -> None:
    group, compute = params.true_reward, params.compute
    comments = read_table("data/comments.parquet", COMMENTS)
    if group.source == "scratch":
        model, tokenizer, facts = train_classifier(
            comments, group.scratch, compute, seed=params.seed
        )
    else:
        model, tokenizer = obtain("classifier", group, compute, key="true_reward")
        facts = {"parameters": model.num_parameters()}
    reward = ClassifierReward(model, tokenizer, compute, toxic_label=group.toxic_label)
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
    save((model, tokenizer), "models/true_reward")
    write_json({"true_reward": facts}, "metrics/true_reward.json")


if __name__ == "__main__":
    run_stage(main)
