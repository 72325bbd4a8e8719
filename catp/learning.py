"""What runs teach about tools: the use of every call, added to the profiles that price the next plan."""

from pathlib import Path

from catp.runtime.calls import CallRecord
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
        known = ProfileBook.load(path) if path.exists() else ProfileBook()
        known.merge(self._book).save(path)
