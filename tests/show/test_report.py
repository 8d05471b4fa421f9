"""The report of the closed loop: all that it promises, of every kind of results."""

import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.params import Params
from inverse_rlhf.rewards.card import RewardCard
from inverse_rlhf.show.origin import VERSION, code_digest
from inverse_rlhf.show.report import Results
from tests.show.reports import results, rewards, scores, written

BAD = "<script>alert('x')</script>"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.parquet"
    path.write_bytes(b"pairs")
    return path


@pytest.fixture
def found(params: Params, card: RewardCard) -> Results:
    return results(params.model_dump(), card)


class Reader(HTMLParser):
    """What a page loads, its ids, and its headings."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.levels: list[int] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "srcset", "data", "action") and value and value[0] != "#":
                self.loaded.append(value)
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))


def test_it_has_all_parts(found: Results, tmp_path: Path, data: Path) -> None:
    html = written(found, tmp_path / "report.html", data)
    for id_ in ("answer", "care", "made-of", "policies", "figures", "texts", "tables", "made"):
        assert f'id="{id_}"' in html
        assert f'href="#{id_}"' in html
    assert "ROC-AUC 0.900, 95 % interval 0.850 to 0.950" in html
    assert "Strong." in html
    interval = r"\([+\u2212]0\.\d\d, \u2212?0\.\d\d to \u2212?0\.\d\d\)"
    assert re.search(rf"goes with:\s+<strong>[^<]+</strong> {interval}", html)
    assert "made by a grammar" in html  # params.yaml's source
    assert "kl_coef: 0.5" in html
    assert hashlib.sha256(b"pairs").hexdigest() in html
    assert "2410.12491" in html
    assert f"<dt>inverse-rlhf</dt><dd>{VERSION}</dd>" in html
    assert f"<dd>{code_digest()}</dd>" in html
    assert html.count("may be toxic") >= 5
    assert '<span class="w up' in html
    assert len(html.encode()) < 500_000


def test_it_loads_nothing(found: Results, tmp_path: Path, data: Path) -> None:
    html = written(found, tmp_path / "report.html", data)
    page = Reader(html)
    assert page.loaded == ["data:,"]
    assert "http://" not in html
    assert "https://" not in html
    assert not re.search(r"url\((?!#)|@import", html)


def test_ids_are_unique_and_headings_in_order(found: Results, tmp_path: Path, data: Path) -> None:
    page = Reader(written(found, tmp_path / "report.html", data))
    assert len(page.ids) == len(set(page.ids))
    assert page.levels[0] == 1
    assert page.levels.count(1) == 1
    assert all(
        after <= before + 1 for before, after in zip(page.levels, page.levels[1:], strict=False)
    )


def test_the_same_bytes_twice(found: Results, tmp_path: Path, data: Path) -> None:
    first, second = (written(found, tmp_path / name, data) for name in ("a.html", "b.html"))
    assert first == second


def test_the_order_of_keys_in_a_file_changes_nothing(
    found: Results, tmp_path: Path, data: Path
) -> None:
    weights = {
        side: {"weight": {"toxicity": 1.0, "length_target": 2.0}}
        for side in ("planted", "recovered")
    }
    known = found.rewards | {"weights": weights}
    planted = {"toxicity": 1.0, "length_target": 0.5}
    as_read = json.loads(json.dumps(known, sort_keys=True))
    one, other = (
        written(replace(found, rewards=rewards, planted=planted), tmp_path / "report.html", data)
        for rewards in (known, as_read)
    )
    assert list(known["controls"]) != list(as_read["controls"])
    assert one == other


def test_texts_are_behind_a_click(found: Results, tmp_path: Path, data: Path) -> None:
    html = written(found, tmp_path / "report.html", data)
    outside = re.sub(r"<details.*?</details>", "", html, flags=re.DOTALL)
    assert 'class="text"' in html
    assert 'class="text"' not in outside
    assert "figure-ngrams" not in outside


def test_anyones_text_is_only_text(params: Params, card: RewardCard, tmp_path: Path) -> None:
    table = scores()
    table.loc[0, "prompt"] = BAD
    table.loc[:30, "completion"] = f" {BAD}\0\x1b\u202e & <b>"
    asked: dict[str, Any] = params.model_dump()
    asked["data"]["source"] = f"/{BAD}.csv"
    data = tmp_path / BAD.replace("/", "_")
    data.write_bytes(b"")
    html = written(results(asked, card, table), tmp_path / "report.html", data)
    assert BAD not in html
    assert html.count("<script") == 1
    assert "&lt;script&gt;" in html
    assert not re.search("[\0\x1b\u202e]", html)


def test_policies_have_their_own_columns(found: Results, tmp_path: Path, data: Path) -> None:
    """Whatever the order that a file has them in."""
    turned = replace(found, policies=dict(sorted(found.policies.items(), reverse=True)))
    html = written(turned, tmp_path / "a.html", data)
    assert html == written(found, tmp_path / "b.html", data)
    row = re.search(r"toxic texts, share</th>(.*?)</tr>", html)
    assert row is not None
    assert re.findall(r'data-order="([\d.]+)"', row[1]) == ["0.01", "0.31", "0.61"]


def variations() -> dict[str, Any]:
    empty, long, one, labels = scores(), scores(), scores(), scores()
    empty["completion"] = ["", " "] * (len(empty) // 2)
    long.loc[:5, "completion"] = " " + 99_999 * "a"
    long.loc[:5, "prompt"] = 100_000 * "p"
    one["irl_std"] = np.where(one["irl_std"].isna(), np.nan, 0.0)
    labels["toxic"] = pd.array([None] * len(labels), dtype="Int8")
    same = scores()
    same["irl_reward"] = np.float32(1.0)
    parts = {"planted": {"length_target": 1.0, "keyword": -2.0}}
    side = {"weight": parts["planted"], "ratio": {"length_target": 1.0, "keyword": -2.0}}
    weights = rewards() | {"weights": {"planted": side, "recovered": side}}
    return {
        "empty completions": ({"table": empty}, "(empty)"),
        "100,000 characters": ({"table": long}, "98500 more characters"),
        "one run": ({"table": one, "known": rewards(runs=1)}, "There is one run"),
        "no labels": ({"table": labels}, "have no labels"),
        "one class": ({"known": rewards(one_class=True)}, "no ROC-AUC"),
        "no controls": ({"known": rewards(controls=False)}, "control: length"),
        "planted": ({"known": weights, **parts}, "Planted and recovered weights"),
        "a true reward of another kind": (
            {"planted": {"length_target": 1.0}},
            "below which a text is called low",
        ),
        "nothing found": ({"known": rewards(found=0.5)}, "and not what the policy was aligned to"),
        "constant reward": ({"table": same}, "No named objective"),
        "failure-aware": (
            {"known": rewards() | {"plain": rewards()["test"]}},
            "before the correction",
        ),
        "human labels": (
            {"known": rewards() | {"human": rewards()["test"]}},
            "labels of the comments",
        ),
    }


@pytest.mark.parametrize("name", variations())
def test_every_kind_of_results(
    name: str, params: Params, card: RewardCard, tmp_path: Path, data: Path
) -> None:
    settings, expected = variations()[name]
    html = written(results(params.model_dump(), card, **settings), tmp_path / "report.html", data)
    assert expected in html
    assert "nan" not in re.sub(r"<[^>]*>", " ", html).lower().split()
    assert len(html.encode()) < 500_000
    if name == "one run":
        assert "Where runs disagree most" not in html
    assert ("Nothing of the true reward was found" in html) == (name == "nothing found")
    if name == "a true reward of another kind":
        assert "toxic texts" not in html.partition('id="figures"')[2].partition('id="texts"')[0]
    if name == "planted":
        assert "Mean true reward of each policy" in html
        assert "one low by the true reward" in html
