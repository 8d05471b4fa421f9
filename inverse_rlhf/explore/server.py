"""The explorer's page and its questions, on the loopback of this machine alone.

On the standard library: gradio would bring some 80 MB and dozens of packages, telemetry and fonts
to be switched off, and markup whose accessibility is not in our hands; one page that asks two
questions needs none of it, and works offline by construction.

A page of another site that is open in the same browser must not get at the models: requests name
this machine as their host (a rebound name of theirs does not), come from the page itself, and
bring JSON, which no form can send. No file is served.
"""

import json
import re
import socketserver
import sys
import threading
import traceback
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import ValidationError

from inverse_rlhf.errors import UserError
from inverse_rlhf.explore.answers import LONGEST, MOST, SamplesAsked, Subject, TextsAsked
from inverse_rlhf.show.page import render

_LOOPBACK = "127.0.0.1"
# At any port: it may be forwarded from another machine.
_HOST = re.compile(r"(127\.0\.0\.1|localhost)(:\d{1,5})?")
_LARGEST = 16 * 2**20  # bytes of a request
_PATIENCE = 20.0  # seconds that a question waits for one that is being answered
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest stands in the page
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Explorer(ThreadingHTTPServer):
    """A server that has its port and, from `show` on, a subject.

    Args:
        port: 0: any that is free.

    Raises:
        UserError: the port is taken, or not for ordinary users.
    """

    daemon_threads = True  # Ctrl-C does not wait for an answer
    request_queue_size = 64

    def __init__(self, port: int) -> None:
        self._lock = threading.Lock()  # the models answer one question at a time
        self.page = b""
        self._asked: dict[str, tuple[Any, Callable[[Any], dict[str, Any]]]] = {}
        try:
            super().__init__((_LOOPBACK, port), _Handler)
        except PermissionError:
            raise UserError(f"port {port} is not for ordinary users: name one above 1023") from None
        except OSError as error:
            raise UserError(
                f"port {port} is taken ({error.strerror}): name another by --port, or 0 for any "
                "that is free"
            ) from None

    def server_bind(self) -> None:
        """Take the port; unlike the base class, ask no name server about the machine."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _LOOPBACK, self.server_address[1]

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{_LOOPBACK}:{self.server_port}/"

    def show(self, subject: Subject) -> None:
        """Have the page and its questions be about a subject."""
        front = subject.front
        self.page = render("explorer.html.j2", front=front, longest=LONGEST, most=MOST).encode()
        self._asked = {
            "/score": (TextsAsked, subject.score),
            "/sample": (SamplesAsked, subject.sample),
        }

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        """The answer to a question, or what is wrong with it as its `error`.

        Raises:
            _Refused: it is not understood, or another one is being answered.
        """
        if path not in self._asked:
            raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here but the page")
        kind, answer = self._asked[path]
        try:
            asked = kind.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the request"
            raise _Refused(HTTPStatus.BAD_REQUEST, f"{where}: {first['msg']}") from None
        try:
            asked.check()
            if not self._lock.acquire(timeout=_PATIENCE):
                raise UserError("another text is still being read: try again when it is done")
            try:
                return answer(asked)
            finally:
                self._lock.release()
        except UserError as error:
            return {"error": " ".join(str(error).split())}
        except Exception as error:
            traceback.print_exc()
            line = " ".join(str(error).split())[:300]
            return {
                "error": f"the explorer failed ({type(error).__name__}: {line}); it goes on, and "
                "its terminal says more"
            }

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about a browser that has gone away."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Refused(Exception):
    """A request that is not answered: its status and one line."""

    def __init__(self, status: HTTPStatus, line: str) -> None:
        super().__init__(line)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Explorer
    timeout = 30  # seconds without a byte
    server_version, sys_version = "inverse-rlhf", ""

    def do_GET(self) -> None:
        """The page."""
        try:
            self._check_sender()
            if self.path != "/":
                raise _Refused(HTTPStatus.NOT_FOUND, "there is nothing here but the page")
            self._send(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        except _Refused as refused:
            self._refuse(refused)

    def do_POST(self) -> None:
        """A question."""
        try:
            self._check_sender()
            answer = self.server.answer(self.path, self._body())
            self._send_json(HTTPStatus.OK, answer)
        except _Refused as refused:
            self._refuse(refused)

    def _check_sender(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise _Refused(HTTPStatus.FORBIDDEN, "the page is at 127.0.0.1 or localhost only")
        origins = self.headers.get_all("Origin", [])
        if any(origin != f"http://{hosts[0]}" for origin in origins):
            raise _Refused(HTTPStatus.FORBIDDEN, "questions are taken from the page itself only")
        site = self.headers.get("Sec-Fetch-Site", "none")
        if self.command == "POST" and site not in ("same-origin", "none"):
            raise _Refused(HTTPStatus.FORBIDDEN, "questions are taken from the page itself only")

    def _body(self) -> bytes:
        if self.headers.get_content_type() != "application/json":
            raise _Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a question is application/json")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a question says its Content-Length")
        if len(length) > 10 or int(length) > _LARGEST:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a question has {_LARGEST:,} bytes at most"
            )
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise _Refused(HTTPStatus.BAD_REQUEST, "the question is not whole")
        return body

    def _refuse(self, refused: _Refused) -> None:
        self._send_json(refused.status, {"error": str(refused)})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses: one line, too."""
        line = message or HTTPStatus(code).phrase
        self._send_json(HTTPStatus(code), {"error": line})

    def _send_json(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self._send(status, json.dumps(content, allow_nan=False).encode(), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.close_connection = True
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body))} | _HEADERS
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Texts and requests are nobody's but the browser's."""
