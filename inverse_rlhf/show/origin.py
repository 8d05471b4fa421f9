"""Which inverse-rlhf made a page: its version, and a digest of its code.

Not the number of a commit: a page that is committed lies in a later commit than it could name, and
each commit that changes no code would change the page. The code's digest is of the same bytes for
a checkout, changed or not, and for what is installed from it; settings (YAML) are no code.
"""

import hashlib
from pathlib import Path

from inverse_rlhf.files import digest_of

VERSION = "0.1.0"
"""As pyproject.toml and CITATION.cff have it."""
_PACKAGE = Path(__file__).parents[1]


def code_digest() -> str:
    """SHA-256 of what `sha256sum` says of the package's files, by their path, in hexadecimal."""
    root = _PACKAGE.parent
    files = [
        path
        for path in _PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".yaml")
    ]
    names = sorted(path.relative_to(root).as_posix() for path in files)
    lines = "".join(f"{digest_of(root / name)}  {name}\n" for name in names)
    return hashlib.sha256(lines.encode()).hexdigest()


def made_by() -> dict[str, str]:
    """Both, by what they are called."""
    return {"inverse-rlhf": VERSION, "SHA-256 of its code": code_digest()}
