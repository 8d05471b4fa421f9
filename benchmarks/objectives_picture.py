"""The picture of what audits find: the objectives that any of them finds, side by side.

    python -m benchmarks.objectives_picture docs/objectives.png "phi-2 SFT → DPO=audits/phi-2" ...

Each audit is a folder that `inverse-rlhf … --out DIR` wrote, with the name that the picture gives
it. The project's own picture is of audits of AlpacaEval's answers by four pairs of models and of
hh-rlhf's preferences, with the settings of audit/params.yaml.
"""

import argparse
from pathlib import Path

from inverse_rlhf.errors import UserError, one_line, say
from inverse_rlhf.evaluation.compare_audits import compared, read_reports
from inverse_rlhf.show.audit_figure import draw_audits


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("picture", type=Path, help="a PNG file")
    parser.add_argument("audits", nargs="+", metavar="NAME=DIR")
    options = parser.parse_args()
    with one_line():
        say(_draw(options.picture, options.audits))


def _draw(picture: Path, audits: list[str]) -> str:
    reports = {}
    for audit in audits:
        name, _, folder = audit.rpartition("=")
        if not name:
            raise UserError(f"{audit} has no name: write NAME=DIR")
        path = Path(folder)
        reports[name] = read_reports(path.parent, [path.name])[path.name]
    table = compared(reports)
    found = table.groupby("objective")["found"].transform("any")
    if not found.any():
        raise UserError("no objective is found in any of the audits: there is nothing to draw")
    draw_audits(table[found].reset_index(drop=True), picture)
    return f"written: {picture}, {table.loc[found, 'objective'].nunique()} objectives"


if __name__ == "__main__":
    main()
