"""Messages between a pool and its workers: pickled header and body, large buffers sent beside the pickle uncopied.

A message is `<total, count>`, `count` segment lengths, then the segments: header pickle, body pickle, buffers of the
body (pickle protocol 5). The header can be read without importing anything the body needs.
"""

import pickle
import struct
from collections.abc import Sequence
from typing import Any, TypeAlias

__all__ = ["PREFIX", "Packed", "TooLarge", "lengths", "pack", "prefix", "read_body", "read_header"]

PREFIX = struct.Struct("<QI")
"""Total payload bytes and number of segments; `count` unsigned 64-bit lengths follow."""

Buffer = bytes | bytearray | memoryview

Packed: TypeAlias = tuple[Sequence[Buffer], Sequence[Buffer], int]
"""A pickled body: the chunks of its pickle, its buffers, and the bytes of both."""


class TooLarge(Exception):
    """The body would exceed the limit; nothing beyond the limit was copied."""


class _Collector:
    """A file that keeps what the pickler writes (large `bytes` arrive uncopied) and stops it at the limit."""

    def __init__(self, limit: int | None) -> None:
        self.chunks: list[Buffer] = []
        self.buffers: list[Buffer] = []
        self.room = limit

    def write(self, chunk: Buffer) -> int:
        self._count(len(chunk))
        self.chunks.append(chunk)
        return len(chunk)

    def keep(self, buffer: pickle.PickleBuffer) -> None:
        view = buffer.raw()
        self._count(view.nbytes)
        self.buffers.append(view)

    def _count(self, size: int) -> None:
        if self.room is not None:
            self.room -= size
            if self.room < 0:
                raise TooLarge


def pack(body: Any, *, limit: int | None = None) -> tuple[list[Buffer], list[Buffer], int]:
    """Pickle `body`; return the chunks of its pickle, its buffers, and the bytes of both. Raise `TooLarge`."""
    collector = _Collector(limit)
    pickle.Pickler(collector, protocol=5, buffer_callback=collector.keep).dump(body)
    size = sum(len(c) for c in collector.chunks) + sum(len(b) for b in collector.buffers)
    return collector.chunks, collector.buffers, size


def prefix(header: bytes, chunks: Sequence[Buffer], buffers: Sequence[Buffer]) -> bytes:
    """Return the leading bytes of a message with these segments, header included."""
    sizes = [len(header), sum(len(c) for c in chunks), *(len(b) for b in buffers)]
    return PREFIX.pack(sum(sizes), len(sizes)) + struct.pack(f"<{len(sizes)}Q", *sizes) + header


def lengths(raw: Buffer, count: int) -> tuple[int, ...]:
    """Read the segment lengths that follow the prefix."""
    return struct.unpack(f"<{count}Q", raw)


def _segments(payload: Buffer, sizes: Sequence[int]) -> list[memoryview]:
    view, parts, at = memoryview(payload), [], 0
    for size in sizes:
        parts.append(view[at : at + size])
        at += size
    return parts


def read_header(payload: Buffer, sizes: Sequence[int]) -> Any:
    """Unpickle the header of a received message."""
    return pickle.loads(_segments(payload, sizes[:1])[0])


def read_body(payload: Buffer, sizes: Sequence[int]) -> Any:
    """Unpickle the body of a received message; arrays in it are views into `payload`."""
    _, body, *buffers = _segments(payload, sizes)
    return pickle.loads(body, buffers=buffers)
