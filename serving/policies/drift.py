"""When to stop believing length predictions: a drift detector on their log errors, and the way back.

After an alarm a constant stands in for the predictor, which goes on learning in the background; it is believed again
once most of the last requests ended inside its intervals.
"""

from collections import deque
from math import log
from typing import Any

from catp.serving.policies.protocol import Interval

__all__ = ["DriftGuard"]

_CLIP = 3.0
"""Log errors beyond a factor of 20 say no more than one of 20."""


class DriftGuard:
    """Watches log((actual + 1) / (expected + 1)) with Page and Hinkley's test in both directions (Page 1954).

    Args:
        threshold, tolerance: of the test, in units of log error: an alarm needs the cumulative deviation from the
        running
            mean, less the tolerance each time, to exceed the threshold.
        warm: predictions before which there is no alarm.
        good: requests, of which at least `share` must end inside the predicted interval, for the predictor to be
        believed
            again.

    Raises:
        ImportError: river is not installed.
    """

    def __init__(
        self, *, threshold: float = 24.0, tolerance: float = 0.25, warm: int = 30, good: int = 50, share: float = 0.6
    ) -> None:
        self._threshold, self._tolerance, self._warm, self._share = threshold, tolerance, warm, share
        self._inside: deque[bool] = deque(maxlen=good)
        self._test = self._new_test()
        self.trusted = True
        self.alarms = 0

    def observe(self, predicted: Interval, actual: int) -> bool:
        """Compare a prediction with what came; returns whether this one raised the alarm."""
        self._inside.append(predicted.low <= actual <= predicted.high)
        if not self.trusted:
            full = len(self._inside) == self._inside.maxlen
            if full and sum(self._inside) >= self._share * len(self._inside):
                self.trusted = True
                self._test = self._new_test()
            return False
        error = log((actual + 1.0) / (predicted.expected + 1.0))
        self._test.update(min(max(error, -_CLIP), _CLIP))
        if not self._test.drift_detected:
            return False
        self.alarms += 1
        self.trusted = False
        self._inside.clear()
        return True

    def _new_test(self) -> Any:
        try:
            from river.drift import PageHinkley
        except ImportError as error:
            raise ImportError("drift detection needs river: pip install 'catp[serve]'") from error
        return PageHinkley(
            min_instances=self._warm, delta=self._tolerance, threshold=self._threshold, alpha=1.0, mode="both"
        )
