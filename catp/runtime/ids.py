"""Run identifiers: ULIDs, 26 characters that sort by time of creation."""

import os
import time

__all__ = ["new_run_id"]

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_run_id(now_ns: int | None = None) -> str:
    """Return a new ULID: 48 bits of Unix milliseconds (of now by default), 80 random bits (github.com/ulid/spec)."""
    value = ((time.time_ns() if now_ns is None else now_ns) // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
