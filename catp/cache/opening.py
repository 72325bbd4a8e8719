"""Which cache an agent uses: the one it was given, one in its run store, or one in memory."""

from typing import TYPE_CHECKING

from catp.cache.memory import MemoryCache
from catp.runtime.flights import Flights
from catp.runtime.hooks import CallCache

if TYPE_CHECKING:
    from catp.store.store import RunStore

__all__ = ["flights_for"]


def flights_for(cache: bool | CallCache, store: "RunStore | None", cache_mb: float | None) -> Flights | None:
    """Return what the runs of an agent share, or None if every call is to be made.

    Raises:
        ValueError: `cache_mb` is not above zero, or given together with a cache of one's own.
    """
    if isinstance(cache, bool):
        if not cache:
            return None
        if store is None or store.redaction is not None:  # what must not be stored is not stored as a result either
            return Flights(MemoryCache() if cache_mb is None else MemoryCache(cache_mb))
        from catp.cache.stored import StoredCache

        return Flights(StoredCache(store.database) if cache_mb is None else StoredCache(store.database, cache_mb))
    if cache_mb is not None:
        raise ValueError("cache_mb is for the agent's own cache; say how large the given one is where it is made")
    return Flights(cache)
