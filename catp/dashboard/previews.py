"""Plans that were looked at: what is remembered of a preview, so that running or changing its plan starts from it.

Only figures are kept (facts of the inputs, quotes), never the inputs themselves. The latest previews of this server.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

from catp.dashboard.problems import Problem
from catp.planlang.registry_view import ValueFacts
from catp.planners.protocol import Objective
from catp.result import Quote

__all__ = ["MOST", "Preview", "Previews"]

MOST = 100


@dataclass(frozen=True)
class Preview:
    """One: `task` in words ("" for a plan that was given), what is known of its inputs, and the quotes by plan text.

    `inputs` is the fingerprint of the inputs.
    """

    task: str
    inputs: str
    facts: Mapping[str, ValueFacts]
    objective: Objective
    quotes: Mapping[str, Quote]
    id: str = field(default_factory=lambda: uuid4().hex)


class Previews:
    """The latest previews by id."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[str, Preview] = OrderedDict()

    def keep(self, preview: Preview) -> None:
        """Remember one, and forget the oldest."""
        self._known[preview.id] = preview
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def get(self, id_: str) -> Preview:
        """Return one.

        Raises:
            Problem: 409, it was forgotten.
        """
        found = self._known.get(id_)
        if found is None:
            raise Problem(409, "forgotten", f"preview {id_[:40]!r} was forgotten by the server; preview the plan again")
        return found
