"""Runs a stage of organisms/dvc.yaml, as `stage` does those of the pipeline."""

from inverse_rlhf.stage import die_with_parent, quieten, seed_everything

import argparse
import contextlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inverse_rlhf.errors import UserError
from inverse_rlhf.organism_params import Settings, load_settings

_KINDS: dict[str, type] = {"plant": str, "seed": int}


def run_organism_stage(main: Callable[..., list[str]], *, models: bool = False) -> None:
    """Call `main` with the settings and what else its arguments name: plant and seed.

    Args:
        main: returns the lines that the stage ends with.
        models: whether it runs models. Without them torch is not loaded.
    """
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)))
    for name in list(inspect.signature(main).parameters)[1:]:
        parser.add_argument(name, type=_KINDS[name])
    named = vars(parser.parse_args())
    die_with_parent()
    title = " ".join([Path(inspect.getfile(main)).stem, *map(str, named.values())])
    try:
        settings = load_settings()
        print(f"{title}: started", flush=True)
        lines = _with_models(main, settings, named) if models else main(settings, **named)
        print(*(f"{title}: {line}" for line in lines), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _with_models(
    main: Callable[..., list[str]], settings: Settings, named: dict[str, Any]
) -> list[str]:
    from inverse_rlhf.models.matmul import onednn_products

    seed_everything(named["seed"])
    quieten()
    fast = settings.pipeline.compute.fast
    with onednn_products() if fast else contextlib.nullcontext():
        return main(settings, **named)
