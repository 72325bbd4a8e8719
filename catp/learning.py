"""What runs teach about tools: every call, added to the profiles that price the next plan."""

from pathlib import Path

from catp.tools.call_fact import CallFact
from catp.tools.catalogue import Catalogue
from catp.tools.learn import learn_all, taught
from catp.tools.profile_file import changed_profiles

__all__ = ["CallLog"]


class CallLog:
    """Collects the calls of one run. Only use is learned here; accuracy needs ground truth (`catp tools bench`)."""

    def __init__(self) -> None:
        self._facts: list[CallFact] = []

    def record(self, call: CallFact) -> None:
        """Remember one finished call."""
        self._facts.append(call)

    def teach(self, catalogue: Catalogue) -> None:
        """Let the next quotes and reservations of this catalogue know of the calls."""
        if self._facts:
            catalogue.profiles = taught(catalogue.profiles, self._facts)

    def save(self, path: Path) -> None:
        """Add the calls to a profile file; raise `ProfileError` if it is damaged or cannot be written."""
        with changed_profiles(path) as book:
            learn_all(book, self._facts)
