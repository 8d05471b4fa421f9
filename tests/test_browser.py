"""The helper sees what would otherwise pass unseen: errors, requests, barriers."""

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.browser import NARROW, Browser

GOOD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Good</title>
<style>@media (prefers-color-scheme: dark) { body { background: #111; color: #eee } }</style>
<main><h1>Good</h1><p>Fine.</p></main>"""
TROUBLES = {
    "console": "<script>console.error('no')</script>",
    "script": "<script>undefined_name()</script>",
    "refused": '<script src="https://cdn.example/x.js"></script>',
    "failed": '<img alt="" src="missing.png">',
    "fetch": "<script>fetch('http://127.0.0.1:9/x').catch(() => 0)</script>",
    "socket": "<script>new WebSocket('ws://127.0.0.1:9/x')</script>",
    "frame": '<iframe title="x" src="https://example.org/"></iframe>',
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def written(folder: Path, body: str = "") -> Path:
    path = folder / "page.html"
    path.write_text(GOOD + body, encoding="utf-8")
    return path


def test_a_good_page_has_no_troubles_and_asks_for_nothing(
    browser: Browser, tmp_path: Path, served: str
) -> None:
    path = written(tmp_path)
    for address in (path, f"{served}/page.html"):
        with browser.open(address, width=NARROW) as visit:
            assert (visit.troubles(), visit.asked, visit.barriers()) == ([], [], [])
            assert visit.overflow() == 0


@pytest.mark.parametrize("kind", TROUBLES)
def test_what_goes_wrong_is_seen(browser: Browser, tmp_path: Path, kind: str) -> None:
    with browser.open(written(tmp_path, TROUBLES[kind])) as visit:
        visit.page.wait_for_timeout(200)
        assert visit.troubles()
        if kind in {"refused", "fetch", "frame"}:
            assert len(visit.asked) == 1


def test_a_server_may_be_asked_and_no_other(browser: Browser, tmp_path: Path, served: str) -> None:
    (tmp_path / "x.txt").write_text("x")
    written(tmp_path)
    with browser.open(f"{served}/page.html") as visit:
        read = "address => fetch(address).then(answer => answer.text()).catch(() => null)"
        assert visit.page.evaluate(read, "x.txt") == "x"
        assert not visit.troubles()
        assert visit.page.evaluate(read, "http://127.0.0.1:1/x.txt") is None
        assert any("refused" in trouble for trouble in visit.troubles())


def test_barriers_width_and_colours(browser: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, '<img src="data:," style="width: 500px; height: 9px">')
    with browser.open(path, width=NARROW, dark=True) as visit:
        assert "image-alt" in " ".join(visit.barriers())
        assert visit.overflow() > 100
        colour = "getComputedStyle(document.body).backgroundColor"
        assert visit.page.evaluate(colour) == "rgb(17, 17, 17)"
        visit.picture(tmp_path / "shots/page.png")
    assert (tmp_path / "shots/page.png").read_bytes().startswith(b"\x89PNG")


def test_only_this_machine(browser: Browser) -> None:
    with pytest.raises(ValueError, match="not on this machine"), browser.open("http://10.0.0.1/"):
        pass
