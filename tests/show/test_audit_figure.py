from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.patches import Rectangle

from inverse_rlhf.show.audit_figure import BARS, SHOWN, audit_map, draw_audits, objective_bars


def table(weights: dict[str, dict[str, tuple[float, bool]]]) -> pd.DataFrame:
    rows = [
        {"objective": objective, "audit": audit, "weight": weight, "found": found}
        for objective, by_audit in weights.items()
        for audit, (weight, found) in by_audit.items()
    ]
    return pd.DataFrame(rows)


def test_a_map_in_the_tables_order() -> None:
    weights = {
        "length": {"z": (0.5, True), "a": (-2.0, True)},
        "commas": {"z": (1.0, False), "a": (0.25, True)},
        "bold": {"z": (0.0, False), "a": (0.0, False)},
    }
    axes, bar = audit_map(table(weights)).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["length", "commas", "bold"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["z", "a"]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), [[0.5, -2.0], [1.0, 0.25], [0.0, 0.0]])
    assert image.get_clim() == (-2.0, 2.0)  # white is 0
    assert axes.get_title(loc="left") == "Objectives found: z 1, a 2"
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
    assert texts[(0, 1)].get_color() == "#595959"


def test_the_first_are_shown_and_all_that_are_found_counted() -> None:
    many = SHOWN + 5
    axes = audit_map(table({f"o{n:02}": {"one": (1.0, True)} for n in range(many)})).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"o{n:02}" for n in range(SHOWN)]
    assert axes.get_title(loc="left") == f"Objectives found: one {many}"


def test_no_weight_at_all_and_the_same_bytes(tmp_path: Path) -> None:
    zeros = table({"length": {"one": (0.0, False)}, "commas": {"one": (0.0, False)}})
    for name in ("a.png", "b.png"):
        draw_audits(zeros, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert b"Software" not in (tmp_path / "a.png").read_bytes()  # nor its version
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a.png", "b.png", "a.svg", "b.svg"}
    assert "Weights of objectives" in (tmp_path / "a.svg").read_text(encoding="utf-8")


def objectives(count: int) -> pd.DataFrame:
    weight = np.array([-2.0, 1.0, 0.2, *[0.0] * count])[:count]
    return pd.DataFrame(
        {
            "name": [f"objective_{n}" for n in range(count)],
            "weight": weight,
            "low": weight - 0.3,
            "high": weight + 0.1,
            "found": np.abs(weight) > 0.5,
            "critical": 0.5,
        }
    )


def test_bars_with_intervals_and_what_nothing_would_give() -> None:
    figure = objective_bars(objectives(3))
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [-2.0, 1.0, 0.2]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "objective 0",
        "objective 1",
        "objective 2",
    ]
    intervals = [line.get_xdata() for line in axes.get_lines()[:3]]
    np.testing.assert_allclose(intervals, [[-2.3, -1.9], [0.7, 1.1], [-0.1, 0.3]])
    critical = {line.get_xdata()[0] for line in axes.get_lines() if line.get_linestyle() == "--"}
    assert critical == {-0.5, 0.5}
    kinds = [text.get_text() for text in figure.legends[0].get_texts()]
    assert kinds == ["found: more of it", "found: less of it", "not found"]
    assert len({bar.get_hatch() for bar in axes.patches[:2]}) == 2
    assert not axes.patches[2].get_fill() or axes.patches[2].get_facecolor()[3] == 0


def test_the_largest_only() -> None:
    assert len(objective_bars(objectives(BARS + 9)).axes[0].patches) == BARS
