"""docs/files.md has every file, column and key that there is, and no other."""

import csv
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from inverse_rlhf.data import organisms as organism_tables
from inverse_rlhf.data import tables as data
from inverse_rlhf.data.given_pairs import GIVEN_PAIRS
from inverse_rlhf.evaluation import audit_tables as audits
from inverse_rlhf.evaluation import tables as evaluation
from inverse_rlhf.evaluation.namings import NAMINGS
from inverse_rlhf.irl import tables as irl
from inverse_rlhf.params import read_yaml
from tests.docs.keys import TABLES, TEXT, fits, keys_of, leaves
from tests.docs.pages import ROOT, as_committed, rows

SCHEMAS = {
    "data/comments.parquet": data.COMMENTS,
    "data/prompts.parquet": data.PROMPTS,
    "data/transfer_prompts.parquet": data.TRANSFER_PROMPTS,
    "data/pairs.parquet": data.PAIRS,
    "data/irl_runs.parquet": irl.IRL_RUNS,
    "data/irl_scores.parquet": irl.IRL_SCORES,
    "data/outliers.parquet": irl.OUTLIERS,
    "data/scores.parquet": evaluation.SCORES,
    "data/run_correlations.parquet": evaluation.RUN_CORRELATIONS,
    "data/word_credits.parquet": evaluation.WORD_CREDITS,
    "data/shown_credits.parquet": evaluation.SHOWN_CREDITS,
    "data/token_credits.parquet": evaluation.TOKEN_CREDITS,
    "data/margins.parquet": evaluation.MARGINS,
    "data/ngrams.parquet": evaluation.NGRAMS,
    "data/disagreements.parquet": evaluation.DISAGREEMENTS,
    "audit/pairs/NAME.parquet": GIVEN_PAIRS,
    "audit/results/NAME/objectives.parquet": audits.FOUND_OBJECTIVES,
    "audit/results/NAME/margins.parquet": audits.MARGINS,
    "audit/results/NAME/examples.parquet": audits.EXAMPLES,
    "organisms/base/SEED.parquet": organism_tables.BASE,
    "organisms/pairs/PLANT-SEED/planted.parquet": organism_tables.PLANTED,
    "organisms/results/PLANT-SEED/namings.parquet": NAMINGS,
}
OUTSIDE = ("metrics/organisms.json", "metrics/organisms.html")  # written outside their repository
CONDITIONS = ("with ", "where ")


@pytest.mark.parametrize("path", SCHEMAS)
def test_tables_have_their_columns(path: str) -> None:
    told = [(row[0].strip("`"), row[1]) for row in TABLES[path]]
    assert told == [(field.name, _type(field)) for field in SCHEMAS[path]]


def test_every_schema_is_of_a_file() -> None:
    found = {}
    for file in (ROOT / "inverse_rlhf").rglob("*.py"):
        if "= table_schema(" in file.read_text("utf-8"):
            module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
            found |= {f"{file.stem}.{k}": v for k, v in vars(module).items() if _is_schema(v)}
    of_files = [id(schema) for schema in SCHEMAS.values()]
    assert [name for name, schema in found.items() if id(schema) not in of_files] == []
    assert {path for path in TABLES if path.endswith(".parquet")} == set(SCHEMAS)


@pytest.mark.parametrize("path", [path for path in TABLES if path.endswith(".csv")])
def test_csv_files_have_their_columns(path: str) -> None:
    with _present(path)[0].open(newline="") as stream:
        assert next(csv.reader(stream)) == [row[0].strip("`") for row in TABLES[path]]


@pytest.mark.parametrize("path", [path for path in TABLES if path.endswith(".json")])
def test_reports_have_their_keys(path: str) -> None:
    patterns = [(key, row[2]) for row in TABLES[path] for key in keys_of(row)]
    unused = {key for key, meaning in patterns if not meaning.startswith(CONDITIONS)}
    for file in _present(path):
        for key, value in leaves(json.loads(file.read_text("utf-8"))):
            fitting = {pattern for pattern, _ in patterns if fits(key, value, pattern)}
            assert fitting, f"{file}: no row of {'.'.join(key)}"
            unused -= fitting
    if as_committed():
        assert unused == set(), f"no key of a row of {path}"


def test_every_output_is_there_and_no_other() -> None:
    outputs = {*_outputs("dvc.yaml"), *_outputs("audit/dvc.yaml"), *OUTSIDE}
    outputs |= {_within(path) for path in _outputs("organisms/dvc.yaml")}
    files = [row[0] for row in rows(TEXT) if re.fullmatch(r"`[\w./-]+/[\w./-]+`", row[0])]
    told = {*TABLES, *(name.strip("`") for name in files)}
    assert outputs - told == set()
    inside = {path for path in told if any(path.startswith(f"{out}/") for out in outputs)}
    assert told - outputs - inside == set()


def _type(field: pa.Field) -> str:
    kind = field.type
    if pa.types.is_dictionary(kind):
        name = "category"
    elif pa.types.is_list(kind):
        name = f"list of {kind.value_type}"
    else:
        name = {"double": "float64", "float": "float32"}.get(str(kind), str(kind))
    return f"{name}, null" if field.nullable else name


def _is_schema(value: Any) -> bool:
    return isinstance(value, pa.Schema)


def _present(path: str) -> list[Path]:
    """The files of a path that are in this checkout; data are not in git."""
    found = sorted(ROOT.glob(re.sub(r"\b[A-Z-]+\b", "*", path)))
    if not found:
        pytest.skip(f"{path} is not in git, and there is no run here: dvc pull or dvc repro")
    return found


def _outputs(name: str) -> Iterator[str]:
    for stage in read_yaml(ROOT / name)["stages"].values():
        stage = stage.get("do", stage)
        for out in [*stage.get("outs", []), *stage.get("metrics", [])]:
            path = out if isinstance(out, str) else next(iter(out))
            path = path.replace("${item.plant}-${item.seed}", "PLANT-SEED")
            yield path.replace("${item}", "SEED").replace("${key}", "NAME")


def _within(path: str) -> str:
    return f"organisms/{path}"
