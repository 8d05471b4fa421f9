"""Servers on loopback that the remotes of tests lie on, and a line to them that can be cut."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

PASSWORD = "open sesame"
LOOPBACK = "127.0.0.1"
SECONDS = 120  # that a server may take to come up, on a busy machine


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(port: int, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server as a process of its own, which takes connections, until the end."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            _await(process, port)
            yield process
        finally:
            process.kill()


def _await(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port)):
            return
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} takes no connections")


def ssh_command(port: int, folder: Path) -> tuple[str, ...]:
    """A server of the files of a folder for whoever has PASSWORD."""
    return sys.executable, __file__, str(port), str(folder)


def s3_command(port: int) -> tuple[str, ...]:
    return sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(port)


class Line:
    """A port that passes all that comes on to another, until it is cut.

    Attributes:
        port: its own.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._ends: list[socket.socket] = []
        self.mend(None)

    def mend(self, size: int | None) -> None:
        """Take connections, and cut all once that many bytes have gone to the other port."""
        self._left = size
        listener = socket.create_server((LOOPBACK, self.port))
        self._ends = [listener]
        self._listening = threading.Thread(target=self._accept, args=[listener], daemon=True)
        self._listening.start()

    def cut(self) -> None:
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._listening.join()  # until then the port is taken

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it is cut
            while True:
                near, _ = listener.accept()
                far = socket.create_connection((LOOPBACK, self._target))
                self._ends += [near, far]
                for ends in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 14):
                sink.sendall(content)
                if counted and self._left is not None:
                    self._left -= len(content)
                    if self._left <= 0:
                        self.cut()
            sink.shutdown(socket.SHUT_WR)


def _serve_ssh(port: int, folder: str) -> None:
    import asyncssh

    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return password == PASSWORD

    async def serve() -> None:
        await asyncssh.listen(
            LOOPBACK,
            port,
            server_factory=Server,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            sftp_factory=partial(asyncssh.SFTPServer, chroot=folder),
        )
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    _serve_ssh(int(sys.argv[1]), sys.argv[2])
