"""Digests of what DVC does not see: anyone's files and models, commits of the hub, libraries.

It always runs, and what depends on it runs again only where a digest has changed.
"""

from inverse_rlhf.stage import run_stage

from pathlib import Path

from inverse_rlhf.digests import Digests, Source, unknown_commits, versions, write_changed
from inverse_rlhf.files import read_json
from inverse_rlhf.params import Body, Group, Place, TransferFile


class StageParams(Group):
    """The params of this stage."""

    data: Place
    base_policy: Place
    true_reward: Place
    irl: Body
    evaluate: TransferFile


def main(params: StageParams) -> list[str]:
    data, base, true, body = params.data, params.base_policy, params.true_reward, params.irl
    prompts = params.evaluate.transfer_prompts
    sources = {
        "data/inputs/source.json": Source("data.source", data.source, data.revision, "dataset"),
        "data/inputs/base_policy.json": Source("base_policy.source", base.source, base.revision),
        "data/inputs/true_reward.json": Source("true_reward.source", true.source, true.revision),
        "data/inputs/body.json": Source("irl.body", body.body, body.body_revision),
        "data/inputs/transfer.json": Source("evaluate.transfer_prompts", prompts, None, "file"),
    }
    digests = Digests(Path(".digests.json"))
    found = {path: digests.of(source, read_json(path)) for path, source in sources.items()}
    found["data/inputs/versions.json"] = versions()
    lines = write_changed(found)
    digests.save()
    lines += [
        f"no commit of {name} is known: the hub cannot be asked"
        for name in unknown_commits({path: found[path] for path in sources})
    ]
    return lines or ["as before"]


if __name__ == "__main__":
    run_stage(main, models=False)
