"""Pages in Chromium with the network cut: what they log, ask for, show and bar people from."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WIDE, NARROW = 1280, 390
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_LOCAL = ("file:", "data:", "blob:", "about:")
# Names are not even resolved: what no route sees (a prefetch, say) leads nowhere either.
_CUT = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost"


@dataclass
class Visit:
    """A page that is open, and what went wrong on it so far.

    Attributes:
        page: playwright's page: click, type, query.
        asked: addresses of all requests but the page's own, refused ones among them.
    """

    page: Any
    asked: list[str] = field(default_factory=list)
    _troubles: list[str] = field(default_factory=list)

    def troubles(self) -> list[str]:
        """Console errors, uncaught errors, and requests refused, failed or not found."""
        self.page.evaluate("1")  # what happened before this is reported before its answer
        return self._troubles

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write the page (whole: all of its length) as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=whole)

    def seconds(self) -> float:
        """Of the processor that the page took so far: the same on a machine that is busy."""
        session = self.page.context.new_cdp_session(self.page)
        session.send("Performance.enable")
        found = session.send("Performance.getMetrics")["metrics"]
        return next(one["value"] for one in found if one["name"] == "ProcessTime")

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        root = "document.documentElement"
        return self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth")

    def beyond(self) -> list[str]:
        """Texts of cells and lines that reach beyond the window's right edge, or their own cell."""
        found: list[str] = self.page.evaluate(
            """() => [...document.querySelectorAll("th, td, p, pre, dd, figure svg")]
              .filter(e => e.checkVisibility() && !e.closest(".hidden, .unseen")
                && (e.getBoundingClientRect().right > innerWidth + 1
                    || e.scrollWidth > e.clientWidth + 1))
              .map(e => `${e.tagName} ${e.textContent.slice(0, 40)}`)"""
        )
        return found

    def barriers(self) -> list[str]:
        """What axe-core finds serious or critical: the rule, how grave, and the places."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")
        return [
            f"{rule['impact']}: {rule['id']} ({rule['help']}) at "
            + ", ".join(str(node["target"]) for node in rule["nodes"][:5])
            for rule in axe.Axe().run(self.page).response["violations"]
            if rule["impact"] in {"serious", "critical"}
        ]


class Browser:
    """Chromium that reaches files and, where one is given, a server on this machine."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def open(
        self, address: Path | str, *, width: int = WIDE, height: int = 800, dark: bool = False
    ) -> Iterator[Visit]:
        """The page of a file, or of a loopback address, whose host and port it may then ask.

        Args:
            address: a path or an http address of 127.0.0.1 or localhost.
            width, height: of the window, in CSS pixels.
            dark: whether dark colours are preferred.
        """
        first = address.resolve().as_uri() if isinstance(address, Path) else address
        allowed = _LOCAL if isinstance(address, Path) else (*_LOCAL, _origin(first))
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            service_workers="block",
        )
        try:
            visit = Visit(context.new_page())
            _watch(visit, allowed)
            visit.page.goto(first, wait_until="load")
            yield visit
        finally:
            context.close()


@contextmanager
def browsing() -> Iterator[Browser]:
    """Chromium; skips the test where it or playwright is not installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium on the path ({', '.join(_NAMES)})")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[_CUT])
        yield Browser(chromium)
        chromium.close()


def _origin(address: str) -> str:
    """`http://127.0.0.1:8000/` of an address on it."""
    scheme, _, host = address.partition("://")
    host = host.partition("/")[0]
    if scheme != "http" or host.partition(":")[0] not in {"127.0.0.1", "localhost"}:
        raise ValueError(f"{address} is not on this machine")
    return f"http://{host}/"


def _watch(visit: Visit, allowed: tuple[str, ...]) -> None:
    page, troubles = visit.page, visit._troubles

    def pass_or_refuse(route: Any) -> None:
        address = route.request.url
        if not _opens(route.request, page):
            visit.asked.append(address)
        if address.startswith(allowed):
            route.continue_()
        else:
            troubles.append(f"refused: {address}")
            route.abort()

    def refuse_socket(socket: Any) -> None:
        if socket.url.replace("ws", "http", 1).startswith(allowed):
            socket.connect_to_server()
        else:
            troubles.append(f"refused: {socket.url}")
            socket.close()

    def read_console(message: Any) -> None:
        if message.type == "error":
            troubles.append(f"console: {message.text}")

    def read_status(response: Any) -> None:
        if response.status >= 400:
            troubles.append(f"{response.status}: {response.url}")

    page.context.route("**/*", pass_or_refuse)
    page.context.route_web_socket("**/*", refuse_socket)
    page.on("console", read_console)
    page.on("pageerror", lambda error: troubles.append(f"script: {error}"))
    page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url}"))
    page.on("response", read_status)


def _opens(request: Any, page: Any) -> bool:
    """Whether the request is for the page itself."""
    return request.is_navigation_request() and request.frame == page.main_frame
