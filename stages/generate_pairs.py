"""Sample completions of the same prompts from the base and from the aligned policy."""

import time
from pathlib import Path

from inverse_rlhf.cli import run_stage
from inverse_rlhf.completions import complete
from inverse_rlhf.files import write_json
from inverse_rlhf.params import Params
from inverse_rlhf.tables import PAIRS, read_prompts, write_table


def main(params: Params) -> None:
    started = time.monotonic()
    prompts = read_prompts("data/prompts.parquet", "irl", "valid", "test")
    pairs = prompts[["prompt_id", "prompt", "split"]]
    for name, path in (("base", Path("models/base")), ("aligned", Path("models/rlhf"))):
        sampled = complete(prompts, path, params, name=name)
        sampled = sampled.rename(columns={"completion": f"{name}_completion"})
        on = [key for key in ("prompt_id", "sample") if key in pairs]
        pairs = pairs.merge(
            sampled, on=on, validate="one_to_many" if len(on) == 1 else "one_to_one"
        )
    write_table(pairs, "data/pairs.parquet", PAIRS)
    facts = {"pairs": len(pairs), "seconds": time.monotonic() - started}
    write_json({"generate_pairs": facts}, "metrics/generate_pairs.json")


if __name__ == "__main__":
    run_stage(main)
