from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from inverse_rlhf.show.audit_figure import SHOWN, draw_audits


def table(weights: dict[str, dict[str, tuple[float, bool]]]) -> pd.DataFrame:
    rows = [
        {"objective": objective, "audit": audit, "weight": weight, "found": found}
        for objective, by_audit in weights.items()
        for audit, (weight, found) in by_audit.items()
    ]
    return pd.DataFrame(rows)


def test_a_map_in_the_tables_order(tmp_path: Path, drawn: list[Figure]) -> None:
    weights = {
        "length": {"z": (0.5, True), "a": (-2.0, True)},
        "commas": {"z": (1.0, False), "a": (0.25, True)},
        "bold": {"z": (0.0, False), "a": (0.0, False)},
    }
    draw_audits(table(weights), tmp_path / "map.png")
    axes, bar = drawn[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["length", "commas", "bold"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["z", "a"]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), [[0.5, -2.0], [1.0, 0.25], [0.0, 0.0]])
    assert image.get_clim() == (-2.0, 2.0)  # white is 0
    assert axes.get_title() == "Objectives found: z 1, a 2"
    assert "nats" in bar.get_ylabel()
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    centres = {
        (round(patch.get_x() + patch.get_width() / 2), round(patch.get_y() + 0.46))
        for patch in frames
    }
    assert centres == {(0, 0), (1, 0), (1, 1)}
    texts = {tuple(text.get_position()): text for text in axes.texts}
    assert texts[(1, 0)].get_text() == "-2.00"
    bold = {place for place, text in texts.items() if text.get_fontweight() == "bold"}
    assert bold == centres
    assert texts[(1, 0)].get_color() == "white"
    assert texts[(0, 0)].get_color() == "black"
    assert texts[(0, 1)].get_color() == "grey"


def test_the_first_are_shown_and_all_that_are_found_counted(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    many = SHOWN + 5
    draw_audits(table({f"o{n:02}": {"one": (1.0, True)} for n in range(many)}), tmp_path / "m.png")
    axes = drawn[0].axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"o{n:02}" for n in range(SHOWN)]
    assert axes.get_title() == f"Objectives found: one {many}"


def test_no_weight_at_all_and_the_same_bytes(tmp_path: Path) -> None:
    zeros = table({"length": {"one": (0.0, False)}, "commas": {"one": (0.0, False)}})
    for name in ("a.png", "b.png"):
        draw_audits(zeros, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"Software" not in (tmp_path / "a.png").read_bytes()  # nor its version
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}
