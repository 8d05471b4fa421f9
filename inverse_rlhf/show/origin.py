"""Which inverse-rlhf made a page: its version, and a digest of its code.

Not the number of a commit: a page that is committed lies in a later commit than it could name, and
each commit that changes no code would change the page. The code's digest is of the same bytes for
a checkout, changed or not, and for what is installed from it.
"""

import hashlib
import tomllib
from importlib import metadata
from pathlib import Path

from inverse_rlhf.files import digest_of

_PACKAGE = Path(__file__).parents[1]


def version() -> str:
    """The version of the checkout that this is, else of the package that is installed."""
    project = _PACKAGE.with_name("pyproject.toml")
    if project.is_file():
        content = tomllib.loads(project.read_text(encoding="utf-8"))
        return str(content["project"]["version"])
    return metadata.version("inverse-rlhf")


def code_digest() -> str:
    """SHA-256 of what `sha256sum` says of the package's files, by their path, in hexadecimal."""
    root = _PACKAGE.parent
    files = [path for path in _PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    names = sorted(path.relative_to(root).as_posix() for path in files)
    lines = "".join(f"{digest_of(root / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def made_by() -> dict[str, str]:
    """Both, by what they are called."""
    return {"inverse-rlhf": version(), "SHA-256 of its code": code_digest()}
