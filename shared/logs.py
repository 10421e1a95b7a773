"""Sets up the log. Each log record is one line of plain text or of JSON."""

import asyncio
import json
import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime
from select import PIPE_BUF
from typing import TextIO

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}
# `json.dumps` with these arguments would make an encoder for each line.
_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


class JsonFormatter(logging.Formatter):
    """Formats a log record as a JSON object.

    The object contains the record's time, level, logger and message, and the fields of `extra`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the log record as one line of JSON."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _to_json(line)


class TurnHandler(logging.StreamHandler[TextIO]):
    """Writes the lines that an event loop logs in one turn together, because each write costs CPU time.

    Warnings and errors are written at once, with all earlier lines. Lines from threads without an event loop
    are written at once too. When the process ends, `logging` writes the rest.
    """

    _waiting = 0
    _loop: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line to the stream's buffer; write the buffer now or at the end of the turn."""
        try:
            line = self.format(record) + self.terminator
            # A longer write to a pipe is not atomic: another process could write in the middle of a line.
            if self._waiting + len(line) > PIPE_BUF:
                self.flush()
            self.stream.write(line)
            self._waiting += len(line)
            if record.levelno >= logging.WARNING or not self._flush_after_turn():
                self.flush()
        except Exception:  # A record that can't be formatted or written must not stop the caller.
            self.handleError(record)

    def flush(self) -> None:
        """Write all lines in the buffer."""
        self._waiting, self._loop = 0, None
        super().flush()

    def _flush_after_turn(self) -> bool:
        """Have the event loop of this thread call `flush`; return False if there is no event loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        if self._loop is not loop:
            self._loop = loop
            loop.call_soon(self._end_turn)
        return True

    def _end_turn(self) -> None:
        with suppress(OSError, ValueError):  # Raised if standard output is closed.
            self.flush()


def setup_logging(log_format: str) -> None:
    """Send all log records to standard output, in the format `log_format` ('text' or 'json')."""
    handler = TurnHandler(sys.stdout)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    # By default, Python prints a log record's arguments if the record cannot be written.
    logging.raiseExceptions = False
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
