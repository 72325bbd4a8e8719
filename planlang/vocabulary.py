"""The fixed vocabulary of plan token ids: the same 273 ids for every catalogue and every request.

Everything that depends on the catalogue or the request is positional, so that a new tool needs no new row:

    <tK>  K-th tool offered        <aK>  K-th parameter of the tool in hand    <.K>  K-th field of the value's type
    <nK>  K-th step                <iK>  K-th input                            <oK>  K-th requested output
    <cK>  K-th choice (bool: 0 = false, 1 = true)                              <sK>  K-th literal the request offers
    <qK>  level K of `LEVELS` for the kind of number wanted                    <[K]> element K of a list

Tool slots come last, so a vocabulary with more of them keeps all other ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from catp.planlang.nodes import NOTE_NAMES, OPERATORS

__all__ = ["CONDITIONS", "LEVELS", "Family", "LevelKind", "Vocabulary", "nearest_level"]

Family: TypeAlias = Literal["n", "i", "a", ".", "o", "c", "s", "q", "[", "t"]

LevelKind: TypeAlias = Literal["number", "int", "duration"]

LEVELS: dict[LevelKind, tuple[float | int, ...]] = {
    "number": (0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0),
    "int": (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 32, 64, 100, 1000),
    "duration": tuple(
        ms * 1_000_000
        for ms in (
            0,
            50,
            100,
            250,
            500,
            1_000,
            2_000,
            3_000,
            5_000,
            10_000,
            20_000,
            30_000,
            60_000,
            120_000,
            300_000,
            600_000,
        )
    ),
}
"""What `<qK>` stands for, by kind: numbers (most are scores in [0, 1]), whole numbers, durations in nanoseconds."""

CONDITIONS: tuple[str, ...] = ("<objective>", "<return>", "<budget>")
"""Tokens a policy is conditioned on, each followed by a level `<qK>`; no part of the language, so codecs skip both."""

_STRUCTURE: tuple[str, ...] = (
    "<plan>", "</plan>", "<end>", "<alt>", "<each>", "<if>", "<when>", "<else>", "<?>",
    "<tmpl>", "</tmpl>", "<list>", "</list>",
    *(f"<{op}>" for op in OPERATORS), *(f"<@{name}>" for name in NOTE_NAMES), *CONDITIONS,
)  # fmt: skip

_FAMILIES: tuple[tuple[Family, int], ...] = (
    ("n", 64), ("i", 8), ("a", 16), (".", 16), ("o", 16), ("c", 16), ("s", 16), ("q", 16), ("[", 8),
)  # fmt: skip


@dataclass(frozen=True)
class Vocabulary:
    """All plan tokens with their ids; `tool_slots` is how many tools a request may offer."""

    tool_slots: int = 64

    def __post_init__(self) -> None:
        if self.tool_slots < 1:
            raise ValueError(f"tool_slots must be at least 1, got {self.tool_slots!r}")

    def __len__(self) -> int:
        return len(self.spellings)

    @cached_property
    def spellings(self) -> tuple[str, ...]:
        """Every token's spelling, by id."""
        return _STRUCTURE + tuple(_spell(family, k) for family, count in self._sizes for k in range(count))

    def id(self, spelling: str) -> int:
        """The id of a token; raise `KeyError` if the vocabulary has none of that spelling."""
        return self._ids[spelling]

    def place(self, token: int) -> tuple[Family | None, int]:
        """The family and position of a positional token; `(None, id)` for a structure token.

        Raises:
            IndexError: if the vocabulary has no such id.
        """
        if not 0 <= token < len(self):
            raise IndexError(f"token id {token!r} is not in 0..{len(self) - 1}")
        return self._places[token]

    def span(self, family: Family) -> range:
        """The ids of one positional family, by position."""
        first = self._ids[_spell(family, 0)]
        return range(first, first + dict(self._sizes)[family])

    def bits(self, ids: Iterable[int]) -> int:
        """The bitmask with exactly `ids` set."""
        mask = 0
        for token in ids:
            mask |= 1 << token
        return mask

    @cached_property
    def _sizes(self) -> tuple[tuple[Family, int], ...]:
        return (*_FAMILIES, ("t", self.tool_slots))

    @cached_property
    def _places(self) -> tuple[tuple[Family | None, int], ...]:
        structure: list[tuple[Family | None, int]] = [(None, token) for token in range(len(_STRUCTURE))]
        return tuple(structure + [(family, k) for family, count in self._sizes for k in range(count)])

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {spelling: token for token, spelling in enumerate(self.spellings)}


def nearest_level(kind: LevelKind, value: float) -> int:
    """The level K whose value is nearest to `value`: how a condition or a number becomes one token."""
    levels = LEVELS[kind]
    return min(range(len(levels)), key=lambda k: abs(levels[k] - value))


def _spell(family: Family, position: int) -> str:
    return f"<[{position}]>" if family == "[" else f"<{family}{position}>"
