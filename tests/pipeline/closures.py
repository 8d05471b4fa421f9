"""What a module of the project imports, for the tests of both dvc.yaml."""

import ast
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("inverse_rlhf", "stages")
TEMPLATES = "inverse_rlhf/show/templates"
"""Of pages: code that is no module."""


def names(entries: list[Any]) -> set[str]:
    """The paths of a stage's deps, outs or metrics, some of which have settings."""
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


class _WithoutTypes(ast.NodeTransformer):
    """Leaves out what is imported for types alone, which is nothing when the module runs."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


@cache
def imported(path: Path) -> frozenset[Path]:
    """The project's modules that a module imports itself, but for types alone."""
    found = set()
    for node in ast.walk(_WithoutTypes().visit(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            candidates = [node.module or ""] + [f"{node.module}.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        else:
            continue
        for name in candidates:
            file = ROOT / (name.replace(".", "/") + ".py")
            if name.split(".")[0] in PACKAGES and file.is_file():
                found.add(file)
    return frozenset(found)


def closure(path: Path, exempt: set[str]) -> set[str]:
    """A module and all that it imports, but for what the exempt ones import."""
    todo, seen = [path], set()
    while todo:
        file = todo.pop()
        if file not in seen and str(file.relative_to(ROOT)) not in exempt:
            seen.add(file)
            todo.extend(imported(file))
    return {str(file.relative_to(ROOT)) for file in seen}
