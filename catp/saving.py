"""The run store's side of one run."""

import asyncio
from typing import TYPE_CHECKING

from catp.considered import considered
from catp.planlang.jsonform import to_json
from catp.planlang.printer import to_text
from catp.result import Quote

if TYPE_CHECKING:
    from catp.store.journal import RunJournal
    from catp.store.store import RunStore

__all__ = ["Saving"]


class Saving:
    """Keeps a run in the store as it happens: a store that fails costs the record, never the run.

    `journal` is for `Run`; None if there is no store, or if it cannot be written.
    """

    def __init__(self, journal: "RunJournal | None", problem: str | None = None) -> None:
        self.journal = journal
        self.saved = False
        self._problem = problem

    @classmethod
    async def begin(cls, store: "RunStore | None", quote: Quote, run_id: str) -> "Saving":
        """Open the record of a run that is about to start."""
        if store is None:
            return cls(None)
        from catp.store.errors import StoreError
        from catp.store.records import NewPlan, NewRun

        compiled = quote.compiled
        rivals = [
            NewPlan(one.digest, to_text(one.plan), to_json(one.plan), len(one.plan.steps))
            for one in considered(quote)
            if not one.chosen
        ]
        new = NewRun(
            run_id, compiled.digest, to_text(compiled.source), to_json(compiled.source), len(compiled.plan.steps),
            tuple(rivals),
        )  # fmt: skip
        try:
            return cls(await asyncio.to_thread(store.begin, new))
        except StoreError as error:
            return cls(None, f"the run is not saved: {error}")

    async def finish(self) -> list[str]:
        """Write what is left; return what went wrong, in words."""
        if self.journal is None:
            return [] if self._problem is None else [self._problem]
        problem = await self.journal.close()
        if problem is not None:
            return [f"the run is not completely saved: {problem}"]
        self.saved = True
        return []
