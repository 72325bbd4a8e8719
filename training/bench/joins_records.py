"""What the joins return: small frozen records, each a nominal plan type named after its class."""

from dataclasses import dataclass

__all__ = ["Combined", "Match", "Tally"]


@dataclass(frozen=True, slots=True)
class Combined:
    """Several texts made one."""

    text: str


@dataclass(frozen=True, slots=True)
class Tally:
    """What most of several judgements say, and the share of them in [0, 1] that say it."""

    label: str
    share: float


@dataclass(frozen=True, slots=True)
class Match:
    """Whether two texts say the same, and how alike they are in [0, 1]."""

    same: bool
    score: float
