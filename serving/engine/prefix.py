"""Keys of the prefix cache: a block is found by everything that its keys and values depend on.

The key of a block is SHA-256 over the key of the block before it and its own tokens; the first is chained to a salt
(the digest of the adapter; a pool belongs to one model), so that equal keys mean equal tokens from position 0 on under
the same weights. A digest of 256 bits needs no second look at the tokens.
"""

from array import array
from collections.abc import Sequence
from hashlib import sha256

__all__ = ["chain", "extend_chain"]


def chain(tokens: Sequence[int], salt: str, size: int) -> list[bytes]:
    """Return the keys of all full blocks of `size` tokens."""
    keys: list[bytes] = []
    extend_chain(keys, tokens, salt, size, len(tokens) // size)
    return keys


def extend_chain(keys: list[bytes], tokens: Sequence[int], salt: str, size: int, count: int) -> None:
    """Append to the keys of a sequence's first full blocks until there are `count`."""
    parent = keys[-1] if keys else sha256(salt.encode()).digest()
    # 8 bytes a token: no id can be mistaken for another, and nothing for a digest of another length
    data = array("q", tokens[len(keys) * size : count * size]).tobytes()
    for begin in range(0, len(data), 8 * size):
        parent = sha256(parent + data[begin : begin + 8 * size]).digest()
        keys.append(parent)
