"""Runs a stage of audit/dvc.yaml, as `stage` does those of the pipeline."""

from inverse_rlhf.stage import quieten, run_named, seed_everything

import argparse
import inspect
from collections.abc import Callable
from pathlib import Path

from inverse_rlhf.audit_params import AuditParams, load_audit_params

PARAMS = Path("audit/params.yaml")


def run_audit_stage(main: Callable[[AuditParams, str], list[str]], *, models: bool = False) -> None:
    """Call `main` with the audit params and the name of an audit, from the command line.

    Args:
        main: returns the lines that the stage ends with.
        models: whether it runs models. Without them torch is not loaded.
    """
    parser = argparse.ArgumentParser(description=inspect.getdoc(inspect.getmodule(main)))
    parser.add_argument("name", nargs="?", default="", help="of the audit in audit/params.yaml")
    name = parser.parse_args().name
    title = " ".join(filter(None, (Path(inspect.getfile(main)).stem, name)))

    def work(params: AuditParams) -> list[str]:
        if models:
            seed_everything(params.seed)
            quieten()
        return main(params, name)

    run_named(title, lambda: load_audit_params(PARAMS), work)
