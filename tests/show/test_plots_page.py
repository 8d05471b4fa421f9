"""`dvc plots` in Chromium with the network cut: every chart and picture is drawn."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dvc_render.vega_templates import TEMPLATES
from matplotlib.figure import Figure

from inverse_rlhf.params import read_yaml
from inverse_rlhf.show.plots_page import main, plots_page
from tests.browser import NARROW, WIDE, Browser, Visit

ROOT = Path(__file__).parents[2]
PIPELINES = ("dvc.yaml", "audit/dvc.yaml", "organisms/dvc.yaml")
# Marks of data; axes and legends are groups of other names.
DRAWN = """() => [...document.querySelectorAll(".vega-embed")].map(chart => {
  const marks = ["line", "rect", "symbol"].flatMap(mark =>
    [...chart.querySelectorAll(`.mark-${mark}[class*="marks"], .mark-${mark}[class*="layer"]`)]);
  const paths = marks.flatMap(mark => [...mark.querySelectorAll("path")]);
  return [chart.id, paths.filter(path => path.getBBox().width > 0).length];
})"""
PICTURES = """() => [...document.images].map(
  picture => [picture.alt, picture.complete && picture.naturalWidth > 0])"""


def charts(path: str) -> dict[str, Any]:
    """The charts that a dvc.yaml defines, by title."""
    found: dict[str, Any] = {}
    for plot in read_yaml(ROOT / path)["plots"]:
        if isinstance(plot, dict):
            found |= plot
    return found


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def fill(folder: Path, *, shift: float) -> None:
    """The tables and pictures of the charts below."""
    generator = np.random.default_rng(0)
    for chart in OWN.values():
        for path, column in chart["y"].items():
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            table = pd.read_csv(place) if place.exists() else pd.DataFrame(index=range(8))
            columns = column if isinstance(column, list) else [column]
            label = chart.get("template") == "confusion"
            values = ["toxic", "non-toxic"] * 4 if label else generator.uniform(size=8) + shift
            table[chart["x"]] = ["toxic", "non-toxic", "toxic", "toxic"] * 2 if label else range(8)
            table.assign(**dict.fromkeys(columns, values)).to_csv(place, index=False)
    (folder / "metrics/figures").mkdir(exist_ok=True)
    for name in ("roc", "summary"):
        figure = Figure(figsize=(12, 1))
        figure.subplots().plot([0, 1 + shift])
        figure.savefig(folder / f"metrics/figures/{name}.png")


OWN = charts("dvc.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC repository with this one's charts, one of every template, and two pictures."""
    folder = tmp_path_factory.mktemp("plots")
    fill(folder, shift=0.0)
    of_templates = {
        f"Template {template.DEFAULT_NAME}": {
            "template": template.DEFAULT_NAME,
            "x": "actual" if "confusion" in template.DEFAULT_NAME else "step",
            "y": {"metrics/curves/confusion.csv": "predicted"}
            if "confusion" in template.DEFAULT_NAME
            else {"metrics/curves/rlhf.csv": "kl"},
        }
        for template in TEMPLATES
    }
    plots = [{title: chart} for title, chart in (OWN | of_templates).items()]
    (folder / "dvc.yaml").write_text(json.dumps({"plots": [*plots, "metrics/figures"]}))
    run(folder, "git", "init", "-q")
    run(folder, "dvc", "init", "-q")
    run(folder, "git", "add", "-A")
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    run(folder, "git", *identity, "commit", "-qm", "one")
    fill(folder, shift=1.0)
    page = folder / ".dvc/plots.html"
    page.write_text(plots_page(), encoding="utf-8")
    run(folder, "dvc", "config", "--local", "plots.html_template", "plots.html")
    return folder


def look(visit: Visit, lines: int, titles: set[str]) -> None:
    visit.page.wait_for_selector(f":nth-match(.vega-embed svg[role=img], {len(titles)})")
    assert visit.troubles() == []
    assert {address.partition(":")[0] for address in visit.asked} == {"file"}
    drawn = dict(visit.page.evaluate(DRAWN))
    assert set(drawn) == titles
    assert min(drawn.values()) >= lines, drawn
    pictures = visit.page.evaluate(PICTURES)
    assert len(pictures) == 2 * lines
    assert all(alt and shown for alt, shown in pictures)
    first = visit.page.evaluate("document.getElementById('plots').firstElementChild.id")
    assert first == "metrics_figures_summary_png"
    assert visit.overflow() == 0
    assert visit.barriers() == []


@pytest.mark.parametrize(
    ("command", "revisions", "width"),
    [(("show",), 1, WIDE), (("diff", "HEAD"), 2, NARROW)],
    ids=["show", "diff"],
)
def test_all_is_drawn_offline(
    browser: Browser, project: Path, command: tuple[str, ...], revisions: int, width: int
) -> None:
    out = f"out-{command[0]}"
    run(project, "dvc", "plots", *command, "--out", out)
    titles = {*OWN, *(f"Template {template.DEFAULT_NAME}" for template in TEMPLATES)}
    ids = {re.sub("[ ,]", "_", title) for title in titles}
    with browser.open(project / out / "index.html", width=width) as visit:
        look(visit, revisions, ids)


def test_titles_break_no_script() -> None:
    titles = [title for path in PIPELINES for title in charts(path)]
    assert titles
    # DVC writes a title into a script, within apostrophes, as a selector of an element's id.
    assert [title for title in titles if not re.fullmatch(r"[A-Za-z][\w ,-]*", title)] == []


def test_a_clone_without_the_page_is_told_of_none() -> None:
    for path in (".dvc/config", "organisms/.dvc/config"):
        assert "html_template" not in (ROOT / path).read_text(encoding="utf-8")
    ignored = (ROOT / ".dvc/.gitignore").read_text(encoding="utf-8").split()
    assert {"/plots.html", "/config.local"} <= set(ignored)


def test_the_page_is_written_whole_and_loads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["plots_page", str(tmp_path / "plots.html")])
    main()
    page = (tmp_path / "plots.html").read_text(encoding="utf-8")
    assert '<meta charset="utf-8">' in page
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page)
    assert page.count("{plot_divs}") == 1
    assert "{scripts}" not in page
    assert page.count("</script>") == page.count("<script>") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["plots.html"]
