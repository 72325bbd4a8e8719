"""What runs teach about tools: the use of every call, added to the profiles that price the next plan."""

import fcntl
from pathlib import Path

from catp.runtime.calls import CallRecord
from catp.tools.errors import ProfileError
from catp.tools.profile import ProfileBook

__all__ = ["CallLog"]


class CallLog:
    """Collects the calls of one run. Only use is learned here; accuracy needs ground truth (`catp tools bench`)."""

    def __init__(self) -> None:
        self._book = ProfileBook()

    def record(self, call: CallRecord) -> None:
        """Count one finished call."""
        self._book.observe(
            call.tool, call.usage, version=call.version, size=call.size, output=call.output, failed=call.failed
        )

    def save(self, path: Path) -> None:
        """Add the calls to a profile file; raise `ProfileError` if it is damaged or cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path.with_name(f".{path.name}.lock"), "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # two runs that end at once must not lose each other's calls
                known = ProfileBook.load(path) if path.exists() else ProfileBook()
                known.merge(self._book).save(path)
        except OSError as error:
            raise ProfileError(f"cannot save profiles to {path}: {error.strerror or error}") from error
