"""Assigning records to train, val and test.

The side of a group or input is drawn from the hash of its name and the seed: it depends on nothing else, so data added
later moves nobody, and the same name is on the same side of every file. Shares are therefore met only on average.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Literal

from catp.training.data.trajectory import Split, SplitName, Trajectory

__all__ = ["SplitBy", "assign", "side"]

SplitBy = Literal["group", "input"]
"""What is kept whole: `group` sets `split.name`, `input` sets `split.inputs`, by candidate set."""


def assign(
    records: Iterable[Trajectory], by: SplitBy = "group", *, val: float = 0.1, test: float = 0.2, seed: int = 0
) -> Iterator[Trajectory]:
    """Yield the records with their sides; all else is as it was.

    Where records have no main split yet, `by="input"` puts them all on its `train` side: their tasks are known ones.

    Raises:
        ValueError: a share is negative, or nothing is left to train on.
    """
    if val < 0 or test < 0 or val + test >= 1:
        raise ValueError(f"shares of val={val:g} and test={test:g}: neither negative, together below 1")
    return (_assigned(record, by, val, test, seed) for record in records)


def side(name: str, *, val: float, test: float, seed: int) -> SplitName:
    """Return the side of one name: the leading 53 bits of a SHA-256 as a number in [0, 1)."""
    digest = hashlib.sha256(f"{seed}\n{name}".encode()).digest()
    drawn = (int.from_bytes(digest[:8], "big") >> 11) / 2**53
    if drawn < test:
        return "test"
    return "val" if drawn < test + val else "train"


def _assigned(record: Trajectory, by: SplitBy, val: float, test: float, seed: int) -> Trajectory:
    name = record.group if by == "group" else record.candidate_set
    mine = side(name, val=val, test=test, seed=seed)
    old = record.split or Split(name="train")
    split = old.model_copy(update={"name" if by == "group" else "inputs": mine})
    return record.model_copy(update={"split": split})
