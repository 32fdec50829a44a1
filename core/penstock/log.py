"""Logs: one JSON object per line on stderr, without payload.

Our own lines say what happened and name the parties. What libraries say is cut to the fixed text of their
message and the class of the exception: arguments, exception texts and source lines may repeat what a peer
sent.
"""

import contextlib
import errno
import json as jsonlib
import logging
import os
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from penstock.names import WHOLE_SITE

# structlog imports rich when it finds it, for lines in colours that we do not write. Without it each program
# starts 0.05 s of processor sooner and is 4 MB smaller.
_HIDDEN = sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # an ImportError for who asks
try:
    import structlog
finally:
    if _HIDDEN is None:
        del sys.modules["rich"]

LEVELS = ("debug", "info", "warning", "error")
MAX_FOREIGN_TEXT = 200
MAX_FRAMES = 12
"""Innermost frames of an exception that a line names."""
ALL_SERVERS = "(all)"
"""What lines call all servers of a site together: the commands call them so, too."""

PACKAGES = ("penstock", "penstock_agent", "penstock_relay")
"""Loggers below these names are ours; all others belong to libraries."""


def setup(program: str, *, level: str = "info", json: bool = True) -> None:
    """Log to stderr from now on; `json=False` writes `key=value` lines for people. May be called again.

    Libraries are heard from "warning" up, whatever `level` is: some of them print messages at "debug".
    Raises ValueError for a level that is not one of LEVELS.
    """
    if level not in LEVELS:
        raise ValueError(f"The log level must be one of {', '.join(LEVELS)}.")
    handler = _Stderr()
    handler.setFormatter(_Lines(program, json))
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    threshold = getattr(logging, level.upper())
    for name in PACKAGES:
        logging.getLogger(name).setLevel(threshold)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of one of our modules; call it with `__name__`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class _Line(dict[str, object]):
    """What one of our loggers was given; the message of its log record."""


def _hand_over(
    logger: object, method: str, event: MutableMapping[str, object]
) -> tuple[tuple[_Line], Mapping[str, object]]:
    """Last processor: structlog calls the standard library's logger with what this returns."""
    line = _Line(event)
    exc_info = line.pop("exc_info", None)
    return (line,), {"exc_info": exc_info} if exc_info else {}


structlog.configure(
    processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.filter_by_level, _hand_over],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)


class _Lines(logging.Formatter):
    def __init__(self, program: str, as_json: bool) -> None:
        super().__init__()
        self._program = program
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        ours = dict(record.msg) if isinstance(record.msg, _Line) else None
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _fixed_text(record) if ours is None else ours.pop("event", ""),
            "program": self._program,
            "logger": record.name,
        }
        if ours:
            if ours.get("server") == WHOLE_SITE:
                ours["server"] = ALL_SERVERS
            line |= {key: value for key, value in ours.items() if key not in line}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__qualname__
            line["at"] = _frames(record.exc_info[2])
        if self._as_json:
            return jsonlib.dumps(line, default=_class_name)
        pairs = (f"{key}={jsonlib.dumps(value, default=_class_name)}" for key, value in line.items())
        return " ".join(pairs)


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr; what cannot be written is left out, not printed with arguments and a traceback."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in (errno.EBADF, errno.EPIPE):
            # Nobody will read it again. What lies in its buffer must not fail the program at its end.
            self.stream = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  for the rest of its life
            return
        line = {"level": "error", "event": "a log line could not be written", "logger": record.name}
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(jsonlib.dumps(line) + self.terminator)
            self.flush()


def _fixed_text(record: logging.LogRecord) -> str:
    """The first line of a library's message before its arguments are filled in."""
    if not isinstance(record.msg, str):
        return _class_name(record.msg)
    lines = record.msg.splitlines()
    return lines[0][:MAX_FOREIGN_TEXT] if lines else ""


def _frames(trace: TracebackType | None) -> list[str]:
    """Where an exception came from: file, line, function. No source text, no values."""
    summary = traceback.extract_tb(trace)[-MAX_FRAMES:]
    return [
        f"{frame.filename.rpartition('site-packages/')[2]}:{frame.lineno} {frame.name}" for frame in summary
    ]


def _class_name(value: object) -> str:
    return f"<{type(value).__name__}>"
