"""Beam search over the places of a request: the likeliest plans that the decode mask allows."""

from collections.abc import Sequence

from catp.training.policy.decode import Place, Places

__all__ = ["Beams"]


class Beams:
    """Keeps the `width` likeliest partial plans until no partial plan can beat the finished ones.

    Args:
        root: where plans begin.
        width: how many.
        length: plans are compared by log-probability over (number of choices) ** `length`: 0 compares probabilities of
            whole plans, 1 the mean over choices, which favours long plans.
    """

    def __init__(self, root: Place, width: int, length: float = 0.0) -> None:
        self._width, self._length = width, length
        self._open: list[tuple[float, int, Place]] = [(0.0, 0, root)]
        self._ended: list[tuple[float, Place]] = []

    def advance(self, places: Places) -> None:
        """Choose as long as all partial plans are computed."""
        self._collect()
        while self._open and all(place.ready for _, _, place in self._open):
            grown = [
                (logp + float(chance), count + 1, place, int(token))
                for logp, count, place in self._open
                for token, chance in zip(place.choices, place.logp, strict=True)
            ]
            # sorted is stable: equal ones stay in the order of places and ids
            grown = sorted(grown, key=lambda one: -self._worth(one[0], one[1]))[: self._width]
            self._open = [(logp, count, places.after(place, token)) for logp, count, place, token in grown]
            self._collect()

    def found(self) -> Sequence[Place]:
        """The ends of the best plans, best first."""
        return [place for _, place in self._ended]

    def open(self) -> Sequence[Place]:
        """The partial plans that are kept."""
        return [place for _, _, place in self._open]

    def _collect(self) -> None:
        """Move finished plans away, and stop once the rest cannot come before them."""
        for logp, count, place in self._open:
            if place.plan is not None and not place.lost:
                self._ended.append((self._worth(logp, count), place))
        self._ended = sorted(self._ended, key=lambda one: -one[0])[: self._width]
        self._open = [one for one in self._open if one[2].plan is None and not one[2].lost]
        # a log-probability only falls from here on
        best = max((logp for logp, _, _ in self._open), default=0.0) if self._length == 0.0 else 0.0
        if len(self._ended) == self._width and best <= self._ended[-1][0]:
            self._open = []

    def _worth(self, logp: float, count: int) -> float:
        return float(logp / max(count, 1) ** self._length)
