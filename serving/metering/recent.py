"""The requests of late: those that have not ended, and the last ones that did. What they asked for is not kept."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from catp.planlang.money import format_usd
from catp.serving.engine.request import Slo
from catp.serving.metering.record import RequestRecord, kept
from catp.serving.server.backend import Live
from catp.serving.server.events import Chunk

__all__ = ["ROOM", "Begun", "Recent"]

ROOM = 200
"""Ended requests that are kept."""


@dataclass(frozen=True, slots=True)
class Begun:
    """An accepted request; the fields are those of `RequestRecord`, `time` is its arrival, seconds since 1970."""

    id: str
    tenant: str
    model: str
    endpoint: str
    time: float
    adapter: str = ""
    prompt_tokens: int = 0
    slo: Slo = field(default_factory=Slo)


class Recent:
    """Kept in the server's event loop."""

    def __init__(self) -> None:
        self._open: dict[str, Begun] = {}
        self._ended: deque[tuple[RequestRecord, tuple[Chunk, ...]]] = deque(maxlen=ROOM)

    def began(self, begun: Begun) -> None:
        """Take a request that was accepted."""
        self._open[begun.id] = begun

    def ended(self, record: RequestRecord, chunks: tuple[Chunk, ...]) -> None:
        """Take a request that ended."""
        self._open.pop(record.id, None)
        self._ended.appendleft((record, chunks))

    def rows(self, tenant: str | None, live: Mapping[str, Live]) -> Iterator[dict[str, Any]]:
        """Yield requests as JSON values, the newest first: those that have not ended, then the others.

        Times are seconds from arrival, which is seconds since 1970; `chunks` are of the prompt: begin, seconds, tokens.

        Args:
            tenant: only its requests; None: all.
            live: how far those are that have not ended.
        """
        for begun in reversed(list(self._open.values())):
            if tenant in (None, begun.tenant):
                yield _open_row(begun, live.get(begun.id))
        for record, chunks in list(self._ended):
            if tenant in (None, record.tenant):
                yield _ended_row(record, chunks)


def _open_row(begun: Begun, live: Live | None) -> dict[str, Any]:
    """One that the engine does not know any more has just ended, and is told of as running."""
    now = Live(False) if live is None else live
    return {
        **_whose(begun), "state": "waiting" if now.waiting else "running", "code": "", "arrival": begun.time,
        "queued": now.queued, "ttft": now.ttft, "tpot": None, "e2e": None, "cached_tokens": now.cached_tokens,
        "output_tokens": now.output_tokens, "preemptions": now.preemptions, "device_seconds": now.seconds,
        "cost_usd": None, "met": {}, "chunks": now.chunks,
    }  # fmt: skip


def _ended_row(record: RequestRecord, chunks: tuple[Chunk, ...]) -> dict[str, Any]:
    price = record.price
    return {
        **_whose(record), "state": record.finish, "code": record.code, "arrival": record.time - record.e2e,
        "queued": record.queued, "ttft": record.ttft, "tpot": record.tpot, "e2e": record.e2e,
        "cached_tokens": record.cached_tokens, "output_tokens": record.output_tokens,
        "preemptions": record.preemptions, "device_seconds": record.seconds.total,
        "cost_usd": None if price is None else format_usd(price), "met": dict(kept(record)), "chunks": chunks,
    }  # fmt: skip


def _whose(one: Begun | RequestRecord) -> dict[str, Any]:
    return {
        "id": one.id, "kind": "plan" if one.endpoint == "plans" else "text", "endpoint": one.endpoint,
        "tenant": one.tenant, "model": one.model, "adapter": one.adapter, "prompt_tokens": one.prompt_tokens,
        "slo": {name: limit for name, limit in asdict(one.slo).items() if limit is not None},
    }  # fmt: skip
