"""Which jobs hold a block, and what each of them would give back: counted as blocks change hands, never recounted.

References of the pool count branches. Whether memory lasts is a question about jobs: a block that two branches of one
job share comes back when that job ends; one that two jobs share comes back with the last of them.
"""

from collections.abc import Sequence

__all__ = ["Holding", "Holdings"]


class Holding:
    """The blocks of one job.

    Attributes:
        blocks: how many of its branches hold each.
        kept: leading blocks of its tables that it holds to its end once it has them (those that all branches share).
        private: blocks that nobody else holds; they are available again once it ends.
        common: blocks among the kept that other jobs hold as well.
    """

    __slots__ = ("blocks", "common", "kept", "private")

    def __init__(self) -> None:
        self.blocks: dict[int, int] = {}
        self.kept = self.private = self.common = 0

    def need(self, most: int) -> int:
        """Return how many blocks it may still allocate if it holds `most` at worst.

        What others hold too and it does not keep may be closed or copied before it is written to, and counts as if it
        had to be allocated anew.
        """
        return max(most - self.private - self.common, 0)


class Holdings:
    """Holders of each block of a pool; a block is at the same place in every table."""

    def __init__(self, blocks: int) -> None:
        self._holders: list[set[Holding]] = [set() for _ in range(blocks)]
        self._places = [0] * blocks

    def take(self, holding: Holding, blocks: Sequence[int], first: int) -> None:
        """A branch of a job gets blocks, from place `first` of its table on."""
        mine, kept, holders = holding.blocks, holding.kept, self._holders
        for place, block in enumerate(blocks, first):
            count = mine.get(block, 0)
            mine[block] = count + 1
            if count:
                continue
            others = holders[block]
            if not others:
                self._places[block] = place
                holding.private += 1
            else:
                holding.common += place < kept
                if len(others) == 1:
                    (other,) = others
                    other.private -= 1
                    other.common += place < other.kept
            others.add(holding)

    def give(self, holding: Holding, blocks: Sequence[int]) -> None:
        """A branch of a job lets blocks go."""
        mine, kept = holding.blocks, holding.kept
        for block in blocks:
            mine[block] -= 1
            if mine[block]:
                continue
            del mine[block]
            others = self._holders[block]
            others.remove(holding)
            if not others:
                holding.private -= 1
            else:
                holding.common -= self._places[block] < kept
                if len(others) == 1:
                    (other,) = others
                    other.private += 1
                    other.common -= self._places[block] < other.kept

    def keep(self, holding: Holding, kept: int) -> None:
        """Say how many leading blocks a job holds to its end."""
        if kept != holding.kept:
            holding.kept = kept
            shared = [block for block in holding.blocks if len(self._holders[block]) > 1]
            holding.common = sum(self._places[block] < kept for block in shared)

    def joining(self, blocks: Sequence[int]) -> tuple[int, dict[Holding, int]]:
        """Return how many of some blocks nobody holds, and how many each job holds as the only one."""
        idle, alone = 0, dict[Holding, int]()
        for block in blocks:
            others = self._holders[block]
            if not others:
                idle += 1
            elif len(others) == 1:
                (other,) = others
                alone[other] = alone.get(other, 0) + 1
        return idle, alone
