"""The meter: what ended is priced, written to the request log, summed up and timed."""

import time
from collections import Counter
from collections.abc import Callable

from catp.serving.metering.prices import DevicePrice
from catp.serving.metering.recent import Begun, Recent
from catp.serving.metering.record import RequestRecord
from catp.serving.metering.requestlog import RequestLog
from catp.serving.metering.totals import Totals
from catp.serving.server.events import Chunk

__all__ = ["Meter"]


class Meter:
    """Takes records in the server's event loop.

    Args:
        price: of a device second.
        log: where records are written; None: nowhere.
        clock: seconds since 1970.
    """

    def __init__(
        self, price: DevicePrice, log: RequestLog | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.price, self.log, self.clock = price, log, clock
        self.totals = Totals()
        self.recent = Recent()
        self.refused: Counter[tuple[str, str]] = Counter()
        """Requests that were not accepted, by tenant (empty: unknown) and code."""
        self._listeners: list[Callable[[RequestRecord], None]] = []

    def listen(self, listener: Callable[[RequestRecord], None]) -> None:
        """Have every record told to `listener`, too."""
        self._listeners.append(listener)

    def began(self, begun: Begun) -> None:
        """Take a request that was accepted."""
        self.recent.began(begun)

    def ended(self, record: RequestRecord, chunks: tuple[Chunk, ...] = ()) -> None:
        """Take a request that ended, and when its prompt was computed."""
        self.totals.add(record)
        self.recent.ended(record, chunks)
        if self.log is not None:
            self.log.write(record)
        for listener in self._listeners:
            listener(record)

    def refusal(self, tenant: str, code: str) -> None:
        """Take a request that was not accepted."""
        self.refused[tenant, code] += 1

    def close(self) -> None:
        """Close the log."""
        if self.log is not None:
            self.log.close()
