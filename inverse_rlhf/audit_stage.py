"""Runs a stage of audit/dvc.yaml, as `stage` does those of the pipeline."""

from inverse_rlhf.stage import die_with_parent, quieten, seed_everything

import argparse
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

from inverse_rlhf.audit_params import AuditParams, load_audit_params
from inverse_rlhf.errors import UserError

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
    die_with_parent()
    title = " ".join(filter(None, (Path(inspect.getfile(main)).stem, name)))
    try:
        params = load_audit_params(PARAMS)
        print(f"{title}: started", flush=True)
        if models:
            seed_everything(params.seed)
            quieten()
        lines = main(params, name)
        print(*(f"{title}: {line}" for line in lines), sep="\n")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
