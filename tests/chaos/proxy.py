"""A connection between a worker and Redis that tests can cut."""

import contextlib
import socket
import threading
from pathlib import Path


class Proxy:
    """Relays connections between unix sockets. After `cut`, it refuses connections until `restore`."""

    def __init__(self, target: Path, path: Path) -> None:
        self.url, self._target = f"unix://{path}", str(target)
        self._open: list[socket.socket] = []
        self._cut = False
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Close all connections and refuse new connections."""
        self._cut = True
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def restore(self) -> None:
        """Accept connections again."""
        self._cut = False

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            if self._cut:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_relay, args=(source, sink), daemon=True).start()


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
