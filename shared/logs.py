"""The form of the log: one line a record, as text for people or JSON for machines."""

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A JSON object a line: time, level, logger, message, and whatever `extra` holds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def setup_logging(log_format: str) -> None:
    """Send all log records to standard output; `log_format` is 'text' or 'json'."""
    handler = logging.StreamHandler(sys.stdout)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if log_format == "json" else text)
    # Nobody reads who called, in which thread: not to look it up takes a third off a record's time.
    logging._srcfile = None  # so the standard library's HOWTO says
    logging.logThreads = logging.logMultiprocessing = False  # the process stays: gunicorn's own lines have it
    logging.raiseExceptions = False  # a record that can't be written is not to show its arguments instead
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
