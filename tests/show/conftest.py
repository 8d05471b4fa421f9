"""What the tests of figures share."""

from typing import Any

import pytest
from matplotlib.figure import Figure


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are written."""
    figures: list[Figure] = []
    write = Figure.savefig

    def spy(self: Figure, *args: Any, **settings: Any) -> None:
        figures.append(self)
        write(self, *args, **settings)

    monkeypatch.setattr(Figure, "savefig", spy)
    return figures
