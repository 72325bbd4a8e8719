"""Results of calls that may be used again: which are worth keeping, and where they are kept."""

from catp.cache.memory import MemoryCache

__all__ = ["MemoryCache"]
