"""The log's lines: written together by an event loop, at once by all others, and never lost."""

import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
from select import PIPE_BUF

import pytest

from shared.logs import JsonFormatter, TurnHandler


class Writes(io.TextIOWrapper):
    """A text stream with a list of the writes that reach the operating system."""

    def __init__(self) -> None:
        self.done: list[str] = []
        super().__init__(io.BytesIO(), encoding="utf-8", newline="")

    def flush(self) -> None:
        super().flush()
        raw = self.buffer
        assert isinstance(raw, io.BytesIO)
        if text := raw.getvalue().decode():
            self.done.append(text)
            raw.seek(0)
            raw.truncate()


@pytest.fixture
def stream() -> Writes:
    return Writes()


@pytest.fixture
def log(stream: Writes) -> logging.Logger:
    logger = logging.Logger("turns")
    logger.addHandler(TurnHandler(stream))
    return logger


def test_without_an_event_loop_each_line_is_written_at_once(log: logging.Logger, stream: Writes) -> None:
    log.info("a")
    log.info("b")
    assert stream.done == ["a\n", "b\n"]


def test_the_lines_of_a_turn_are_written_together(log: logging.Logger, stream: Writes) -> None:
    async def turns() -> None:
        for turn in range(2):
            log.info("%d a", turn)
            log.info("%d b", turn)
            assert len(stream.done) == turn
            await asyncio.sleep(0)

    asyncio.run(turns())
    assert stream.done == ["0 a\n0 b\n", "1 a\n1 b\n"]


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_a_warning_is_written_at_once_after_earlier_lines(
    log: logging.Logger, stream: Writes, level: int
) -> None:
    async def turn() -> None:
        log.info("a")
        log.log(level, "b")
        assert stream.done == ["a\nb\n"]

    asyncio.run(turn())


def test_a_line_of_another_thread_does_not_wait(log: logging.Logger, stream: Writes) -> None:
    async def turn() -> None:
        log.info("a")
        thread = threading.Thread(target=log.info, args=("b",))
        thread.start()
        thread.join()
        assert stream.done == ["a\nb\n"]

    asyncio.run(turn())


def test_a_write_has_at_most_the_bytes_that_a_pipe_keeps_together(
    log: logging.Logger, stream: Writes
) -> None:
    async def turn() -> None:
        for _ in range(10):
            log.info("x" * (PIPE_BUF // 4 - 1))

    asyncio.run(turn())
    assert [len(each) for each in stream.done] == [PIPE_BUF, PIPE_BUF, PIPE_BUF // 2]


def test_a_line_that_waited_for_an_ended_loop_is_written_later(log: logging.Logger, stream: Writes) -> None:
    loop = asyncio.new_event_loop()
    loop.call_soon(log.info, "a")
    loop.stop()
    loop.run_forever()  # This runs only one turn.
    loop.close()
    assert stream.done == []

    async def later() -> None:
        log.info("b")

    asyncio.run(later())
    assert "".join(stream.done) == "a\nb\n"


def test_a_line_that_cannot_be_encoded_loses_no_other_line(
    log: logging.Logger, stream: Writes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    async def turn() -> None:
        for text in ("a", "\ud800", "b"):
            log.info(text)

    asyncio.run(turn())
    assert stream.done == ["a\nb\n"]


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("end", ["sys.exit(3)", "raise MemoryError", "logging.critical('end'); os._exit(4)"])
def test_no_line_is_lost_when_the_process_ends(log_format: str, end: str) -> None:
    code = (
        "import asyncio, logging, os, sys; from shared.logs import setup_logging\n"
        f"setup_logging({log_format!r})\n"
        f"async def turn():\n for n in range(100): logging.info('line %d', n)\n {end}\n"
        "asyncio.run(turn())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if "line " in line]
    assert done.returncode != 0 and len(lines) == 100 and lines[-1].count("line 99") == 1
    assert log_format == "text" or [json.loads(line)["message"] for line in lines][7] == "line 7"


def test_a_closed_output_does_not_stop_the_loop(log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)

    async def turn() -> str:
        log.info("a")
        log.handlers[0].stream.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        log.info("b")
        await asyncio.sleep(0)
        return "served"

    assert asyncio.run(turn()) == "served"


def test_a_json_line_has_the_fields_of_the_record() -> None:
    record = logging.makeLogRecord({"msg": "ñ %s", "args": ("x",), "levelname": "INFO", "job": "j"})
    line = json.loads(JsonFormatter().format(record))
    assert (line["message"], line["level"], line["job"]) == ("ñ x", "info", "j")
