"""A master, its replica and three Sentinels, as real processes on free ports."""

import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.stack import eventually, free_port
from tests.valkey import answers_ping, start_server

SERVICE = "queue"
PASSWORD, SENTINEL_PASSWORD = "s3rver/pw", "s3ntinel-pw"

SERVER = """
port {port}
bind 127.0.0.1
dir {folder}
dbfilename {port}.rdb
logfile {folder}/{port}.log
appendonly yes
appenddirname aof-{port}
maxmemory-policy noeviction
requirepass {password}
primaryauth {password}
repl-diskless-sync-delay 0
"""

SENTINEL = """
port {port}
bind 127.0.0.1
dir {folder}
logfile {folder}/{port}.log
requirepass {sentinel_password}
sentinel sentinel-pass {sentinel_password}
sentinel monitor {service} 127.0.0.1 {master} 2
sentinel auth-pass {service} {password}
sentinel down-after-milliseconds {service} 1000
sentinel failover-timeout {service} 5000
"""


class Sentinels:
    """Two servers on `ports` and three Sentinels. At the start the first server is the master."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sentinel"))
        first, second, *self.sentinels = (free_port() for _ in range(5))
        self.ports = [first, second]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.start_server(first)
        self.start_server(second, first)
        for port in self.sentinels:
            self._start(port, SENTINEL, "--sentinel")
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        login = f":{PASSWORD.replace('/', '%2F')}@"
        self.url = f"redis+sentinel://{login}{hosts}/{SERVICE}/0?sentinel_password={SENTINEL_PASSWORD}"
        eventually(self.are_complete, 20, "the Sentinels know each other and the replica")

    def start_server(self, port: int, master: int = 0) -> None:
        self._start(port, SERVER + (f"replicaof 127.0.0.1 {master}\n" if master else ""))

    def _start(self, port: int, text: str, *arguments: str) -> None:
        file = self.folder / f"{port}.conf"  # a file and not options, because Sentinel writes to it
        names = {"port": port, "folder": self.folder, "password": PASSWORD, "service": SERVICE}
        more = {"master": self.ports[0], "sentinel_password": SENTINEL_PASSWORD}
        file.write_text(text.format(**names, **more))
        self.processes[port] = start_server(file, *arguments)
        eventually(lambda: answers_ping(self.client(port)), 10, f"{arguments} on port {port} answers")

    def client(self, port: int) -> Redis:
        password = SENTINEL_PASSWORD if port in self.sentinels else PASSWORD
        return Redis(port=port, password=password, retry=Retry(NoBackoff(), 0))

    def are_complete(self) -> bool:
        """Return whether all Sentinels know each other and a replica that can become the master."""
        states = [self.client(port).sentinel_master(SERVICE) for port in self.sentinels]
        return all(each["num-other-sentinels"] == 2 and each["num-slaves"] == 1 for each in states)

    def master(self) -> int:
        """Return the master's port, as the first Sentinel reports it."""
        return int(self.client(self.sentinels[0]).sentinel_get_master_addr_by_name(SERVICE)[1])

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes[port].wait()

    def ensure_replica(self) -> None:
        """Start the server that is not the master, if it was killed; return when it is a replica."""
        (replica,) = (port for port in self.ports if port != self.master())
        if self.processes[replica].poll() is not None:
            self.start_server(replica, self.master())
        eventually(lambda: self.is_replica(replica) and self.are_complete(), 20, "there is a replica")

    def is_replica(self, port: int) -> bool:
        """Return whether the server replicates the master and has all its data."""
        info = self.client(port).info("replication")
        return info["role"] == "slave" and info["master_link_status"] == "up"

    def close(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def confirmed(client: Redis) -> bool:
    """Return whether a replica has all data that the master had written before this call."""
    # WAIT covers only the writes of its own connection. Replication keeps the order of all writes, so a
    # replica that has this write has all earlier writes.
    client.incr("probe")
    return int(client.wait(1, 500)) >= 1
