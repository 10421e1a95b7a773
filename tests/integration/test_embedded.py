"""The embedded server: its folder, its socket, and the remains of an earlier run."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from redis import Redis

from cli import CommandError
from cli.serve import embedded_redis
from cli.serve.embedded_redis import EmbeddedRedis
from cli.serve.process import ManagedProcess
from tests.stack import ROOT, eventually

LEAVE_A_SERVER = """
import os, subprocess, sys, time
from pathlib import Path
from redis import Redis
from cli.serve.embedded_redis import EmbeddedRedis
embedded = EmbeddedRedis(Path(sys.argv[1]))
spec = embedded.process_spec()
server = subprocess.Popen(spec.command, pass_fds=spec.inherited_files, stdout=subprocess.DEVNULL)
while not spec.ready():
    time.sleep(0.02)
Redis(unix_socket_path=str(embedded.socket)).set("kept", "yes")
print(server.pid, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("name", ["data", "d" * 120])
def test_server_that_outlived_its_supervisor_is_replaced(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    command = [sys.executable, "-c", LEAVE_A_SERVER, str(folder)]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False).stdout
    left, old_socket = int(output), Path((folder / "socket").read_text())
    assert psutil.pid_exists(left)
    embedded = EmbeddedRedis(folder)
    assert not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE
    assert not old_socket.exists()
    server = ManagedProcess(embedded.process_spec())
    server.start()
    eventually(server.spec.ready, 10, "redis")
    assert Redis(unix_socket_path=str(embedded.socket)).get("kept") == b"yes"
    server.kill()
    embedded.close()
    assert not embedded.socket.exists()


def test_socket_in_a_deep_folder_is_put_elsewhere_and_removed(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    embedded = EmbeddedRedis(folder)
    place = embedded.socket.parent
    assert place != folder
    assert len(str(embedded.socket)) < 100
    embedded.close()
    assert not place.exists()


def test_folder_is_unlocked_when_closed(tmp_path: Path) -> None:
    first = EmbeddedRedis(tmp_path)
    with pytest.raises(CommandError, match="expected a folder that no other server uses"):
        EmbeddedRedis(tmp_path)
    first.close()
    EmbeddedRedis(tmp_path).close()


def test_without_a_folder_the_data_are_removed_at_the_end() -> None:
    embedded = EmbeddedRedis(None)
    assert embedded.folder.exists()
    embedded.close()
    assert not embedded.folder.exists()


def started_option(embedded: EmbeddedRedis, name: str) -> str:
    """Start the server, and return the value of one of its options."""
    server = ManagedProcess(embedded.process_spec())
    server.start()
    eventually(server.spec.ready, 10, "redis")
    found = Redis(unix_socket_path=str(embedded.socket), decode_responses=True).config_get(name)
    server.kill()
    embedded.close()
    return str(found[name])


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_the_data_are_on_disk_when_the_setting_says(fsync: str) -> None:
    assert started_option(EmbeddedRedis(None, fsync), "appendfsync") == fsync


@pytest.mark.parametrize(
    ("uses_gpu", "cores", "threads"), [(True, 16, "4"), (True, 15, "1"), (False, 64, "1")]
)
def test_redis_gets_threads_on_a_gpu_machine_with_many_cores(
    uses_gpu: bool, cores: int, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_redis, "available_cores", lambda: cores)
    assert started_option(EmbeddedRedis(None, uses_gpu=uses_gpu), "io-threads") == threads
