"""Tests the claims of docs/scaling.md about Redis Cluster with a real server in cluster mode."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ClusterCrossSlotError

from shared.redis_connection import connect
from shared.settings import Settings
from tests.job_queue import JobQueue
from tests.stack import ROOT, eventually, free_port
from tests.valkey import answers_ping, start_server


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Redis]:
    """Start one node that owns all slots."""
    port, bus = free_port(), free_port()
    options = f"--port {port} --cluster-port {bus} --cluster-enabled yes --dir {tmp_path} --logfile log"
    process = start_server(*options.split(), "--save", "")
    client = connect(f"redis://127.0.0.1:{port}", retries=0)
    try:
        eventually(lambda: answers_ping(client), 10, "the node answers")
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: client.cluster("info")["cluster_state"] == "ok", 10, "the cluster is ready")
        yield client
    finally:
        process.kill()
        process.wait()


def test_the_keys_of_one_script_are_in_different_slots(node: Redis) -> None:
    with pytest.raises(ClusterCrossSlotError):
        JobQueue(node, Settings()).reap()
    (row,) = re.findall(r"^\| hash slots of (.+) \| (.+) \|$", (ROOT / "docs/scaling.md").read_text(), re.M)
    keys, slots = re.findall(r"`(\S+)`", row[0]), [int(each) for each in row[1].split(", ")]
    assert len(keys) >= 5
    assert [node.execute_command("CLUSTER", "KEYSLOT", key) for key in keys] == slots
