"""The explorer without a model: its server, its answers, an audit's reward, what it starts from."""

import http.client
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inverse_rlhf.errors import UserError
from inverse_rlhf.evaluation.audit_tables import FOUND_OBJECTIVES
from inverse_rlhf.explore.__main__ import main
from inverse_rlhf.explore.answers import (
    CREDITED,
    LONGEST,
    MOST,
    Front,
    SamplesAsked,
    TextsAsked,
    credit_words,
    joined_with,
    objective_rows,
)
from inverse_rlhf.explore.audited import AuditedReward
from inverse_rlhf.explore.server import Explorer
from inverse_rlhf.parquet import write_table
from inverse_rlhf.rewards.objective_reward import ObjectiveReward
from inverse_rlhf.show.page import number
from tests.explored import answered, asked, served

MINUS = "\N{MINUS SIGN}"
JSON = {"Content-Type": "application/json"}
QUESTION = json.dumps({"prompt": "A", "completions": ["b"]}).encode()


class Echo:
    """A subject that says what it was asked, fails at "bug", and waits at "slow"."""

    front = Front("Echo", "What?", {"Of": "nothing <b>"}, {"R̂": "length"}, "letters", "texts")

    def __init__(self) -> None:
        self.going, self.waiting = threading.Event(), threading.Event()

    def score(self, asked: TextsAsked) -> dict[str, Any]:
        if asked.completions == ["bug"]:
            raise ValueError("no\nluck")
        if asked.completions == ["slow"]:
            self.waiting.set()
            self.going.wait(10)
        return {"prompt": asked.prompt, "completions": asked.completions}

    def sample(self, asked: SamplesAsked) -> dict[str, Any]:
        raise UserError("nothing to\nsample")


@pytest.fixture(scope="module")
def server():
    with served(Echo()) as running:
        yield running


def test_the_page_is_one_file_that_forbids_everything_but_its_own_questions(server: Explorer):
    status, headers, body = asked(server, "GET", "/")
    page = body.decode()
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in page
    assert "connect-src 'self'" in page
    assert "nothing &lt;b&gt;" in page
    assert "src=" not in page.replace('http-equiv="Content-Security-Policy"', "")
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert server.address == f"http://127.0.0.1:{server.server_port}/"


def test_it_listens_on_loopback_alone(server: Explorer):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_question_is_answered(server: Explorer):
    status, _, body = asked(server, "POST", "/score", QUESTION, JSON)
    assert (status, json.loads(body)) == (200, {"prompt": "A", "completions": ["b"]})


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_forwarded_port_and_both_names_are_this_machine(server: Explorer, name: str):
    for host in (name, f"{name}:1234"):
        headers = JSON | {"Host": host, "Origin": f"http://{host}"}
        assert asked(server, "POST", "/score", QUESTION, headers)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8642", "127.0.0.1.evil.example", "localhost:x", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_rebound_name_is_refused(server: Explorer, host: str, method: str):
    path, body = ("/", None) if method == "GET" else ("/score", QUESTION)
    status, _, answer = asked(server, method, path, body, JSON | {"Host": host})
    assert status == 403
    assert "127.0.0.1" in json.loads(answer)["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_site_is_refused(server: Explorer, headers: dict[str, str]):
    status, _, body = asked(server, "POST", "/score", QUESTION, JSON | headers)
    assert (status, json.loads(body)) == (
        403,
        {"error": "questions are taken from the page itself only"},
    )


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/score", QUESTION, {"Content-Type": "text/plain"}, 415),
        ("POST", "/score", QUESTION, {}, 415),
        ("POST", "/score", None, JSON | {"Content-Length": "99999999"}, 413),
        ("POST", "/score", None, JSON | {"Content-Length": "9" * 5000}, 413),
        ("POST", "/score", None, JSON | {"Content-Length": "-1"}, 411),
        ("POST", "/score", b"{", JSON, 400),
        ("POST", "/score", b"[" * 100_000, JSON, 400),
        ("POST", "/score", b"\xff", JSON, 400),
        ("POST", "/score", b'{"prompt": "\\ud800", "completions": ["a"]}', JSON, 400),
        ("POST", "/score", b'{"prompt": 1, "completions": ["a"]}', JSON, 400),
        ("POST", "/score", b'{"prompt": "", "completions": []}', JSON, 400),
        ("POST", "/score", b'{"prompt": "", "completions": ["a"], "more": 1}', JSON, 400),
        ("POST", "/sample", b'{"prompt": "a", "seed": -1}', JSON, 400),
        ("POST", "/", QUESTION, JSON, 404),
        ("GET", "/score", None, {}, 404),
        ("GET", "/../params.yaml", None, {}, 404),
        ("GET", "/?x", None, {}, 404),
        ("PUT", "/score", QUESTION, JSON, 501),
        ("DELETE", "/", None, {}, 501),
        ("OPTIONS", "/score", None, {"Origin": "http://evil.example"}, 501),
    ],
)
def test_what_is_no_question_of_the_page_is_refused_in_one_line(
    server: Explorer, method, path, body, headers, status
):
    found, sent, answer = asked(server, method, path, body, headers)
    line = json.loads(answer)["error"]
    assert found == status
    assert line
    assert "\n" not in line
    assert sent["Content-Type"] == "application/json"
    assert "Access-Control-Allow-Origin" not in sent
    assert asked(server, "POST", "/score", QUESTION, JSON)[0] == 200  # it goes on


def test_a_body_that_breaks_off_is_refused(server: Explorer):
    connection = socket.create_connection(("127.0.0.1", server.server_port), timeout=10)
    with connection:
        connection.sendall(
            b"POST /score HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 90\r\n\r\n{"
        )
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.makefile("rb").readline()


def test_bad_input_and_bugs_are_one_line_and_the_server_survives(server: Explorer, capfd):
    assert answered(server, "/sample", {"prompt": "a", "seed": 0}) == {"error": "nothing to sample"}
    error = answered(server, "/score", {"prompt": "", "completions": ["bug"]})["error"]
    assert error.startswith("the explorer failed (ValueError: no luck)")
    assert "Traceback" in capfd.readouterr().err
    assert answered(server, "/score", {"prompt": "", "completions": ["b"]})["prompt"] == ""


def test_questions_wait_for_each_other_and_not_for_ever(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("inverse_rlhf.explore.server._PATIENCE", 0.05)
    subject = Echo()
    with served(subject) as server:
        slow = threading.Thread(
            target=answered, args=(server, "/score", {"prompt": "", "completions": ["slow"]})
        )
        slow.start()
        assert subject.waiting.wait(10)
        error = answered(server, "/score", {"prompt": "", "completions": ["b"]})["error"]
        subject.going.set()
        slow.join()
        assert "try again" in error
        assert "error" not in answered(server, "/score", {"prompt": "", "completions": ["b"]})


def test_a_browser_that_goes_away_is_no_trouble(capfd):
    subject = Echo()
    with served(subject) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
        body = json.dumps({"prompt": "a" * 10, "completions": ["slow"]}).encode()
        connection.request("POST", "/score", body, JSON)
        assert subject.waiting.wait(10)
        connection.close()
        subject.going.set()
        time.sleep(0.1)
        assert "error" not in answered(server, "/score", {"prompt": "", "completions": ["b"]})
    assert capfd.readouterr().err == ""


def test_a_taken_port_is_said_before_anything_is_loaded(server: Explorer, capsys, tmp_path: Path):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), "--port", str(server.server_port)])
    assert ended.value.code == 2
    assert f"port {server.server_port} is taken" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["65536", "-1", "x", "8.5"])
def test_a_port_is_a_number(port: str, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--port", port])
    assert ended.value.code == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("completions", "line"),
    [
        ([""], "completion 1 is empty"),
        (["a", " \n\t"], "completion 2 is empty"),
        (["a", "\u200b" * 50], "nothing can be seen in completion 2"),
        (["\0"], "nothing can be seen in completion 1"),
        (["a" * (LONGEST + 1)], "200,001 characters"),
        (["a"] * (MOST + 1), "score 8 at most"),
    ],
)
def test_what_is_missing_or_too_much_is_said(completions: list[str], line: str):
    with pytest.raises(UserError, match=line):
        TextsAsked(prompt="", completions=completions).check()


def test_sampling_needs_a_prompt():
    with pytest.raises(UserError, match="the prompt is empty"):
        SamplesAsked(prompt=" ", seed=0).check()
    with pytest.raises(UserError, match="nothing can be seen in the prompt"):
        SamplesAsked(prompt="\u200b", seed=0).check()


def lengths(texts):
    return np.array([len(text) for text in texts], dtype=np.float64)


def test_words_are_credited_in_their_places():
    found = credit_words("Say", " it, don't it!", lengths, joined=True)
    assert "".join(piece.text for piece in found.pieces) == " it, don't it!"
    credits = [(piece.text, piece.credit) for piece in found.pieces]
    assert credits == [
        *((" ", None), ("it", 3.0), (", ", None)),
        *(("don't", 6.0), (" ", None), ("it", 3.0), ("!", None)),
    ]
    assert (found.left, found.note) == (0, None)


@pytest.mark.parametrize("text", ["word " * 20_000, "a" * 100_000, "! " * 50_000])
def test_of_a_long_text_the_beginning_is_credited(text: str):
    found = credit_words("", text, lengths, joined=True)
    shown = "".join(piece.text for piece in found.pieces)
    assert text.startswith(shown)
    assert len(shown) <= 5000
    assert len(shown) + found.left == len(text)
    assert found.note is not None
    assert sum(piece.credit is not None for piece in found.pieces) <= CREDITED


def test_behind_a_long_prompt_no_word_is_credited():
    found = credit_words("a " * 50_000, "b c", lengths, joined=True)
    assert "not credited" in (found.note or "")
    assert found.shown(1.0)["left_of_prompt"] == 98_000


def test_a_completion_that_is_one_word_has_no_credit():
    assert [p.credit for p in credit_words("", "word", lengths, joined=True).pieces] == [None]


def test_words_that_run_into_each_other_are_parted_and_it_is_said():
    assert joined_with("I think", "you") == (
        " you",
        "A blank was put between prompt and completion.",
    )
    for prompt, completion in (("I", " am"), ("I", ", too"), ("", "I"), ("so ", "I")):
        assert joined_with(prompt, completion) == (completion, None)


def test_objectives_that_weigh_most_come_first():
    weights, sizes = {"politeness": 2.0, "commas": 0.1}, {"politeness": 0.3, "commas": 0.2}
    found = objective_rows(["You idiot, please!"], None, weights, sizes, {"commas": "minor"})
    names = [row["name"] for row in found["rows"]]
    assert names[:2] == ["politeness", "commas"]
    assert "insults" in names
    assert "emoji" not in names
    assert found["rows"][0]["parts"] == pytest.approx([2 * np.log(2)])
    assert found["rows"][1]["remark"] == "minor"
    assert len(names) + found["absent"] == 59


def test_of_several_texts_what_tells_them_apart_comes_first():
    weights, sizes = {"politeness": 2.0, "commas": 0.1}, {"politeness": 0.3, "commas": 0.2}
    texts = ["Please, do", "Please do"]
    found = objective_rows(texts, None, weights, sizes, {})
    assert [row["name"] for row in found["rows"]][:2] == ["commas", "politeness"]


def test_a_prompt_that_is_not_read_with_the_completion_is_not_shown_before_it():
    found = credit_words("A table?", "Yes it is", lengths, joined=False)
    assert found.shown(1.0)["prompt"] == ""
    assert [piece.credit for piece in found.pieces if piece.credit] == [4.0, 3.0, 3.0]


@pytest.fixture
def audited(tmp_path: Path) -> Path:
    """A folder as an audit writes it."""
    weights = {"politeness": 2.0, "insults": -0.5, "prompt_overlap": 1.0}
    ObjectiveReward(weights, 0.5, 2.0).save(tmp_path / "reward.json")
    table = pd.DataFrame(
        {
            "category": None,
            "name": list(weights),
            "unit": "count",
            "weight": [0.8, -0.2, 0.1],
            "low": [0.7, -0.3, -0.1],
            "high": [0.9, -0.1, 0.3],
            "marginal": 0.5,
            "less": 0.1,
            "found": [True, True, False],
            "main": [True, False, False],
            "with": [[], [], []],
            "critical": 0.1,
        }
    )
    write_table(table, tmp_path / "objectives.parquet", FOUND_OBJECTIVES)
    (tmp_path / "audit.json").write_text("{}")
    return tmp_path


def test_an_audit_is_scored_by_its_reward(audited: Path):
    texts = ["Please, a table", "You idiot of a table"]
    found = AuditedReward(audited).score(TextsAsked(prompt="A table?", completions=texts))
    own = ObjectiveReward.load(audited / "reward.json").score(texts, ["A table?"] * 2)
    shown = [float(row["R̂"].replace(MINUS, "-")) for row in found["rows"]]
    assert shown == pytest.approx(own.tolist(), abs=1e-4)
    assert [row["Standardised"] for row in found["rows"]] == [
        number((value - 0.5) / 2, 2, signed=True) for value in own
    ]
    chance = 1 / (1 + np.exp(own[0] - own[1]))
    assert [row["Against 1"] for row in found["rows"]] == [number(None), f"{chance:.2f}"]
    remarks = {row["name"]: row["remark"] for row in found["objectives"]["rows"]}
    assert remarks["politeness"] == "+0.80 (0.70 to 0.90), found"
    assert remarks["insults"] == f"{MINUS}0.20 ({MINUS}0.30 to {MINUS}0.10), found, minor"
    assert remarks["prompt overlap"].endswith("not found")
    parts = sum(np.array(row["parts"]) for row in found["objectives"]["rows"])
    assert parts.tolist() == pytest.approx(own.tolist(), abs=1e-5)


def test_an_audit_has_no_policies(audited: Path):
    subject = AuditedReward(audited)
    assert subject.front.policies is None
    with pytest.raises(UserError, match="no policies"):
        subject.sample(SamplesAsked(prompt="a", seed=0))


@pytest.mark.parametrize("name", ["reward.json", "objectives.parquet", "audit.json"])
def test_a_folder_of_no_audit_is_said(audited: Path, name: str):
    (audited / name).unlink()
    with pytest.raises(UserError, match=f"no folder of an audit: it has no {name}"):
        AuditedReward(audited)


def test_files_of_two_audits_are_not_read_as_one(audited: Path):
    ObjectiveReward({"politeness": -2.0, "insults": -0.5, "prompt_overlap": 1.0}, 0, 1).save(
        audited / "reward.json"
    )
    with pytest.raises(UserError, match="of different audits"):
        AuditedReward(audited)


def test_two_extreme_texts_of_an_audit_are_scored(audited: Path):
    with served(AuditedReward(audited)) as server:
        question = {"prompt": "", "completions": ["please, you idiot! " * 5_264]}
        found = answered(server, "/score", question)
        assert len(found["rows"]) == 1
        assert "credited in the first" in found["notes"][0][0]
        question["completions"] = [" "]
        assert "completion 1 is empty" in answered(server, "/score", question)["error"]
