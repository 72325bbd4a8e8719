"""The request log: JSON lines in a file that is rotated by size; the metrics can be counted anew from it."""

import logging
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

from catp.serving.metering.record import RequestRecord

__all__ = ["RequestLog", "read_log"]

_log = logging.getLogger(__name__)


class _Handler(RotatingFileHandler):
    """A file that cannot be written (a full disk) is told of once, and keeps nobody from being served."""

    failures = 0

    def handleError(self, record: logging.LogRecord) -> None:
        self.failures += 1
        if self.failures == 1:
            _log.warning("the request log %s cannot be written: free some space", self.baseFilename, exc_info=True)


class RequestLog:
    """Appends records to a file.

    Args:
        path: of the newest file; older ones are `path.1` and so on.
        max_bytes: of one file.
        files: most older files; the oldest is deleted.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, max_bytes: int = 64 * 1024 * 1024, files: int = 10) -> None:
        self.path = path
        self._handler = _Handler(path, maxBytes=max_bytes, backupCount=files, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    @property
    def failures(self) -> int:
        """Lines that could not be written."""
        return self._handler.failures

    def write(self, record: RequestRecord) -> None:
        """Append a record and flush it."""
        self._handler.handle(logging.makeLogRecord({"msg": record.to_line()}))

    def close(self) -> None:
        """Close the file; what the disk has no room for any more is lost, and counted."""
        try:
            self._handler.close()
        except OSError:
            self._handler.failures += 1


def read_log(path: Path) -> Iterator[RequestRecord]:
    """Read a log and what was rotated away, oldest first; a last line that was cut short is left out.

    Raises:
        ValueError: a line is no record; the message names it.
    """
    older = sorted(path.parent.glob(f"{path.name}.*"), key=lambda file: -int(file.suffix[1:]))
    for file in [*older, path]:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith("\n"):
                    return
                try:
                    yield RequestRecord.from_line(line)
                except ValueError as error:
                    raise ValueError(f"{file}:{number}: {error}") from error
