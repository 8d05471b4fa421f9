"""Runs a stage of organisms/dvc.yaml, as `stage` does those of the pipeline."""

from inverse_rlhf.stage import quieten, run_named, seed_everything

import argparse
import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    title = " ".join([Path(inspect.getfile(main)).stem, *map(str, named.values())])

    def work(settings: Settings) -> list[str]:
        return _with_models(main, settings, named) if models else main(settings, **named)

    run_named(title, load_settings, work)


def _with_models(
    main: Callable[..., list[str]], settings: Settings, named: dict[str, Any]
) -> list[str]:
    from inverse_rlhf.models.matmul import onednn_products

    seed_everything(named["seed"])
    quieten()
    fast = settings.pipeline.compute.fast
    with onednn_products() if fast else contextlib.nullcontext():
        return main(settings, **named)
