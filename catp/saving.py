"""The run store's side of one run."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from catp.planlang.jsonform import to_json
from catp.planlang.money import Money
from catp.planlang.printer import to_text
from catp.result import Quote
from catp.runtime.events import RunEvent
from catp.runtime.run import RunOutcome

if TYPE_CHECKING:
    from catp.store.recorder import RunRecorder
    from catp.store.store import RunStore

__all__ = ["Saving"]


class Saving:
    """Writes a run into the store as it happens: a store that fails costs the record, never the run."""

    def __init__(self, store: "RunStore | None", quote: Quote, budget: Money | None, run_id: str) -> None:
        self.run_id = run_id
        self.saved = False
        self.recorder: Callable[[RunEvent], None] | None = None
        self._store = store
        self._problem: str | None = None
        self._writer: RunRecorder | None = None
        if store is not None:
            self._begin(store, quote, budget)

    def _begin(self, store: "RunStore", quote: Quote, budget: Money | None) -> None:
        from catp.store.recorder import RunRecorder
        from catp.store.store import NewRun, StoreError

        compiled = quote.compiled
        new = NewRun(
            self.run_id, quote.task, quote.planner, compiled.digest, to_text(compiled.source), to_json(compiled.source),
            len(compiled.plan.steps), compiled.estimate.price, compiled.estimate.latency.expected_ms,
            budget, quote.alpha, quote.quality,
        )  # fmt: skip
        try:
            store.begin(new)
        except StoreError as error:
            self._problem = f"the run is not saved: {error}"
            return
        self._writer = RunRecorder(store)
        self.recorder = self._writer.record

    def finish(self, outcome: RunOutcome) -> list[str]:
        """Write what is left; return what went wrong, in words."""
        if self._store is None:
            return []
        if self._writer is None:
            return [self._problem] if self._problem is not None else []
        from catp.store.store import StoreError

        try:
            self._writer.close()
            self._store.finish(
                self.run_id,
                status=outcome.status,
                latency_ms=outcome.wall_ms,
                ledger=outcome.rows,
                outputs=outcome.outputs,
            )
        except StoreError as error:
            return [f"the run is not completely saved: {error}"]
        self.saved = True
        return []
