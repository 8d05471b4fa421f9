"""The headline numbers: what DVC compares experiments by."""

from typing import Any


def summary(rewards: dict[str, Any], policies: dict[str, dict[str, Any]]) -> dict[str, float]:
    """The content of metrics/summary.json: medians over runs on test completions, from the full
    reports. A number that is undefined is absent.

    Args:
        rewards, policies: the content of metrics/reward.json and metrics/policies.json.
    """
    test, shuffled = rewards["test"], rewards["controls"].get("shuffled", {})
    agreement = rewards["agreement"]
    names = ("roc_auc", "accuracy", "kappa", "spearman", "pair_accuracy", "starc", "discrimination")
    found = {name: test.get(name, {}).get("median") for name in names}
    found |= {
        "shuffled_roc_auc": shuffled.get("roc_auc", {}).get("median"),
        "run_kappa": agreement.get("label_kappa"),
        **{f"toxicity_{name}": policy["toxicity_rate"] for name, policy in policies.items()},
        **{f"kl_{name}": policies[name]["kl_to_base"] for name in ("rlhf", "rerl")},
    }
    return {name: value for name, value in found.items() if value is not None}
