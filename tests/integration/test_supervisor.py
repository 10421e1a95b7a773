"""The supervisor with small scripted processes."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli import CommandError
from cli.serve.process import ProcessSpec, describe_exit
from cli.serve.supervisor import Supervisor
from tests.stack import eventually

FOREVER = "import time; time.sleep(600)"


def process(name: str, script: str, **options: Any) -> ProcessSpec:
    return ProcessSpec(name=name, command=[sys.executable, "-c", script], **options)


def send_self(number: int, after: float = 0.0) -> None:
    threading.Timer(after, os.kill, (os.getpid(), number)).start()


_OTHERS: set[int] = set()


@pytest.fixture(autouse=True)
def _children_of_other_tests() -> None:
    _OTHERS.clear()
    _OTHERS.update(child.pid for child in psutil.Process().children(recursive=True))


def children() -> list[psutil.Process]:
    """Return the processes that this test has started."""
    return [child for child in psutil.Process().children(recursive=True) if child.pid not in _OTHERS]


def die_repeatedly(supervisor: Supervisor, interval: float, times: int = 20) -> int:
    """Step through `times` deaths with `interval` seconds between them on a simulated clock."""
    now = 0.0
    for count in range(times):
        supervisor.step(now)
        if supervisor.status is not None:
            return count
        eventually(lambda: all(child.status() == psutil.STATUS_ZOMBIE for child in children()), 10, "deaths")
        now += interval
    supervisor.stop()
    return times


def test_process_that_keeps_dying_stops_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    supervisor = Supervisor([process("worker", "raise SystemExit(3)")], restarts=2, window=60)
    deaths = die_repeatedly(supervisor, interval=9)
    said = capsys.readouterr().err
    assert supervisor.status == 1
    assert deaths == 5  # one step starts it, the next step handles its death
    assert "worker ended with status 3; restarting in 0.5 s" in said
    assert "restarting in 1 s" in said
    assert "stopping: 2 restarts within 60 s did not help" in said


def test_process_that_dies_rarely_is_always_restarted() -> None:
    supervisor = Supervisor([process("worker", "pass")], restarts=2, window=60)
    assert die_repeatedly(supervisor, interval=31, times=12) == 12


def test_restart_waits_for_its_pause() -> None:
    supervisor = Supervisor([process("worker", "pass")])
    supervisor.step(0.0)
    eventually(lambda: children()[0].status() == psutil.STATUS_ZOMBIE, 10, "its death")
    supervisor.step(10.0)
    supervisor.step(10.4)
    assert children() == []
    supervisor.step(10.6)
    assert len(children()) == 1
    supervisor.stop()


def test_fatal_status_stops_everything() -> None:
    specs = [process("gateway", FOREVER, stage=2), process("worker", "raise SystemExit(2)", fatal_status=2)]
    assert Supervisor(specs).run() == 2
    assert children() == []


def test_missing_program_is_reported() -> None:
    specs = [process("redis", FOREVER), ProcessSpec(name="worker", command=["/nonexistent"], stage=1)]
    with pytest.raises(CommandError, match="worker: the program could not be started: "):
        Supervisor(specs).run()
    assert children() == []


def test_later_stage_waits_until_the_earlier_one_is_ready() -> None:
    ready = False
    supervisor = Supervisor(
        [process("redis", FOREVER, ready=lambda: ready), process("worker", FOREVER, stage=1)]
    )
    supervisor.step(0.0)
    supervisor.step(1.0)
    assert len(children()) == 1
    ready = True
    supervisor.step(2.0)
    assert len(children()) == 2
    supervisor.stop()
    assert children() == []


def logging(name: str, log: Path) -> str:
    return f"""
import signal, sys, time
def stop(*unused):
    time.sleep(0.1)
    with open({str(log)!r}, "a") as file: file.write("{name} ")
    sys.exit()
signal.signal(signal.SIGTERM, stop)
open({str(log)!r} + ".{name}", "w").close()
time.sleep(600)"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_stops_the_stages_from_the_last_to_the_first(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    names = ["redis", "worker", "gateway"]
    specs = [process(name, logging(name, log), stage=stage) for stage, name in enumerate(names)]

    def stop_when_all_run() -> None:
        if len(list(tmp_path.iterdir())) == 3:
            os.kill(os.getpid(), number)

    assert Supervisor(specs).run(stop_when_all_run) == 0
    assert log.read_text().split() == ["gateway", "worker", "redis"]
    assert children() == []


STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); open({!r}, 'w').close(); time.sleep(600)"


def test_process_that_does_not_stop_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sign = tmp_path / "sign"
    supervisor = Supervisor([process("worker", STUBBORN.format(str(sign)))], grace=0.3)
    assert supervisor.run(lambda: send_self(signal.SIGTERM) if sign.exists() else None) == 0
    assert "killed because they did not stop within 0.3 s: worker" in capsys.readouterr().err
    assert children() == []


def test_second_interrupt_kills_at_once(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    supervisor = Supervisor([process("worker", STUBBORN.format(str(sign)))], grace=60)

    def interrupt_twice() -> None:
        if sign.exists():
            os.kill(os.getpid(), signal.SIGINT)
            send_self(signal.SIGINT, after=0.1)  # the same Ctrl-C, sent by two processes
            send_self(signal.SIGINT, after=0.8)

    began = time.monotonic()
    assert supervisor.run(interrupt_twice) == 0
    assert 0.7 < time.monotonic() - began < 10
    assert children() == []


def test_children_of_a_dead_process_are_killed() -> None:
    orphan = f"import subprocess, sys, os; subprocess.Popen([sys.executable, '-c', {FOREVER!r}]); os._exit(1)"
    supervisor = Supervisor([process("gateway", orphan)], restarts=0)
    before = set(psutil.pids())
    assert supervisor.run() == 1
    left = [pid for pid in set(psutil.pids()) - before if FOREVER in " ".join(_command(pid))]
    assert left == []


def _command(pid: int) -> list[str]:
    try:
        return psutil.Process(pid).cmdline()
    except psutil.Error:
        return []


def test_signal_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    Supervisor([process("worker", "raise SystemExit(2)", fatal_status=2)]).run()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("code", "description"),
    [(3, "ended with status 3"), (-9, "was killed by SIGKILL"), (-200, "was killed by signal 200")],
)
def test_how_a_process_ended(code: int, description: str) -> None:
    assert describe_exit(code) == description
