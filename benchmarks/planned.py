"""The memory that Pythia presets plan on a GPU, as the comments in their files have it.

    python -m benchmarks.planned              # all of them
    python -m benchmarks.planned pythia-1b -S compute.batch_size=32

In GB of 1e9 bytes, by inverse_rlhf/models/needs.py, for prompts of ten words. The classifier is
RoBERTa-base.
"""

import argparse
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML
from transformers import RobertaConfig

from inverse_rlhf.models import needs
from inverse_rlhf.models.needs import Lengths
from inverse_rlhf.models.plan import GB
from inverse_rlhf.models.shapes import Shape, shape_of_config
from inverse_rlhf.params import Params, load_params
from tests.presets.running import write_params
from tests.presets.shapes import PYTHIA, pythia_config

LENGTHS = Lengths(14.0, 30)
"""Of prompts, in tokens."""
COMMENTS = Lengths(90.0, 140)


@cache
def _shapes(name: str) -> tuple[Shape, Shape, Shape]:
    """Of a policy, of its body, and of the classifier."""
    config = pythia_config(name)
    roberta = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, num_labels=2)
    return (
        shape_of_config(config, "policy"),
        shape_of_config(config, "body"),
        shape_of_config(roberta, "classifier"),
    )


def planned(name: str, params: Params) -> dict[str, float]:
    """GB on a GPU by stage, and by `disk` what finished fits take there.

    Args:
        name: of a Pythia preset, whose shape the policies have.
    """
    policy, body, judge = _shapes(name)
    splits, irl = params.data.splits, params.irl
    prompts = splits.irl + splits.valid + splits.test
    texts = 2 * prompts * params.pairs.samples + prompts
    tokens = LENGTHS.mean + params.pairs.max_new_tokens
    found = {
        "rlhf_train": needs.policy_training_need(params, policy, judge, LENGTHS, "cuda"),
        "generate_pairs": needs.completions_need(params, policy, LENGTHS, prompts),
        "maxmargin_irl": needs.fits_need(params, body, tokens, texts, "cuda"),
        "rerl_with_irl_rm": needs.policy_training_need(params, policy, body, LENGTHS, "cuda"),
        "evaluate": needs.evaluation_need(
            params, policy, [judge, body], LENGTHS, COMMENTS, splits.test
        ),
    }
    figures = {stage: sum(need.values()) / GB for stage, need in found.items()}
    return figures | {"disk": needs.fits_disk(irl, body) / GB}


def line(name: str, settings: dict[str, Any]) -> str:
    """The figures of a preset, with settings of keys such as compute.batch_size that differ."""
    with TemporaryDirectory() as folder:
        sources = {f"{kind}.revision": None for kind in ("data", "base_policy", "true_reward")}
        write_params(name, settings | sources, Path(folder))
        figures = planned(name, load_params(Path(folder) / "params.yaml"))
    disk = figures.pop("disk")
    stages = ", ".join(f"{stage} {figure:.1f}" for stage, figure in figures.items())
    return f"{stages}; .irl_runs {disk:.1f}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=list(PYTHIA), metavar="NAME")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    pairs = (setting.partition("=")[::2] for setting in options.settings)
    settings = {key: YAML(typ="safe", pure=True).load(value) for key, value in pairs}
    for name in options.names:
        print(f"{name}: {line(name, settings)}", flush=True)


if __name__ == "__main__":
    main()
