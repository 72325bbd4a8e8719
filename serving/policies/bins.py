"""Bins of predicted output lengths, for offline batches only: in a static batch everybody waits for the longest.

Zheng et al. 2023 (arXiv 2305.13144) group by bins of 50 tokens. With continuous batching a bin is a coarse length and
loses against every policy that knows due times.
"""

from collections.abc import Sequence

from catp.serving.policies.base import QueuePolicy
from catp.serving.policies.protocol import Context, View

__all__ = ["Bins"]


class Bins(QueuePolicy):
    """Shortest bin first, by arrival within a bin."""

    name = "bins"

    def __init__(self, width: int = 50) -> None:
        if width < 1:
            raise ValueError(f"bins: width is in tokens and at least 1, not {width}")
        self._width = width

    def order(self, waiting: Sequence[View], context: Context) -> list[str]:
        """Return the ids by bin and arrival."""
        return [view.id for view in sorted(waiting, key=lambda view: (self._bin(view), view.arrival, view.id))]

    def batches(self, waiting: Sequence[View], size: int) -> list[list[str]]:
        """Split requests into static batches of one bin each and at most `size` requests, shortest bin first."""
        bins: dict[int, list[View]] = {}
        for view in sorted(waiting, key=lambda view: (self._bin(view), view.arrival, view.id)):
            bins.setdefault(self._bin(view), []).append(view)
        return [
            [view.id for view in views[start : start + size]]
            for views in bins.values()
            for start in range(0, len(views), size)
        ]

    def _bin(self, view: View) -> int:
        return int(min(view.length.expected, view.bound)) // self._width
