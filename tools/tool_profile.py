"""What is known of one version of one tool from measured calls.

Everything fades, by calls and not by time, so a clock that jumps does no harm: use by input size and the sizes of
results (`catp.tools.histogram`) halve every 500 calls of about that size, the latest calls one by one
(`catp.tools.recent`), the failure rate and the calibration (`catp.tools.share`) every 100 calls of the tool. Accuracy
does not fade: it is measured on known answers, not on calls as they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catp.planlang.registry_view import Size
from catp.tools.buckets import Bucket, Score
from catp.tools.calibration import Calibration
from catp.tools.histogram import Histogram
from catp.tools.recent import RecentCall, Recents, unusable, used
from catp.tools.share import Share, faded
from catp.tools.usage import Usage

__all__ = ["Profile"]

_PRIOR_CALLS, _PRIOR_FAILURES = 10.0, 0.01


@dataclass
class Profile:
    """Everything measured about one version of one tool.

    `calls` and `failures` count all calls ever; `failing` is the faded share that predictions use. `cold_ms` holds the
    CPU time of cold starts, `start_ms` what they add to the latency: all time but the call's own CPU time. `units_out`
    and `elements_out` describe results (units per element, elements), so that their ratio to the input predicts the
    size of a result that does not exist yet.
    """

    calls: int = 0
    failures: int = 0
    buckets: dict[int, Bucket] = field(default_factory=dict)
    accuracy: dict[str, Score] = field(default_factory=dict)
    cold_ms: Histogram = field(default_factory=Histogram)
    start_ms: Histogram = field(default_factory=Histogram)
    units_out: Histogram = field(default_factory=Histogram)
    elements_out: Histogram = field(default_factory=Histogram)
    measured_in: Histogram = field(default_factory=Histogram)
    """Input units of the calls whose result was measured."""
    recent: Recents = field(default_factory=Recents)
    failing: Share = field(default_factory=Share)
    calibration: Calibration = field(default_factory=Calibration)

    def observe(self, usage: Usage, *, size: int = 1, output: Size | None = None, failed: bool = False) -> None:
        """Count one call. A failed call counts as a failure only: what it used says nothing about a good one.

        Raises `ValueError`, and counts nothing, if a figure is impossible: negative, infinite or not a number.
        """
        problem = unusable(usage)
        if problem is not None:
            raise ValueError(f"impossible usage: {problem}")
        if output is not None and (output.units < 0 or output.count < 0):
            raise ValueError(f"impossible size of a result: {output!r}")
        self.calls += 1
        self.failing = self.failing.plus(failed)
        if usage.cold_cpu_ms:
            self.cold_ms.add(usage.cold_cpu_ms)
            self.start_ms.add(max(usage.cold_cpu_ms, usage.wall_ms - usage.cpu_ms))
        if failed:
            self.failures += 1
            return
        size = max(1, size)
        self.buckets.setdefault(size.bit_length() - 1, Bucket()).add(size, usage)
        self.recent.add(RecentCall(size, used(usage)))
        if output is not None:
            self.units_out.add(output.units)
            self.elements_out.add(output.count)
            self.measured_in.add(size)

    @property
    def failure(self) -> Share:
        """The share of calls that fail, as if ten more had been seen of which 1 % failed.

        So one failure is not taken for the end of a tool, nor one success for proof. Those ten fade like others.
        """
        return self.failing.with_prior(_PRIOR_FAILURES, _PRIOR_CALLS * faded(self.calls))

    def score(self, condition: str, accuracy: float, count: int = 1) -> None:
        """Add measured accuracy in [0, 1] on `count` examples of one condition."""
        if not 0.0 <= accuracy <= 1.0 or count < 1:
            raise ValueError(f"accuracy must lie in [0, 1] over at least one example, got {accuracy!r} over {count!r}")
        self.accuracy[condition] = self.accuracy.get(condition, Score()).merged(Score(accuracy, count))

    def accuracy_at(self, condition: str) -> Score | None:
        """Return the accuracy at a condition.

        `noisy/denoise_dct` falls back to `noisy`, an unknown condition to the mean over all, and None if none was
        ever measured.
        """
        label = condition
        while label:
            if label in self.accuracy:
                return self.accuracy[label]
            label = label.rpartition("/")[0]
        if "" in self.accuracy and not condition:
            return self.accuracy[""]
        overall = Score()
        for score in self.accuracy.values():
            overall = overall.merged(score)
        return overall if overall.count else None

    def output_size(self, size: int) -> Size | None:
        """Predict the size of the result of an input of `size` units, or None if no result was ever measured."""
        if not self.units_out.count or not self.measured_in.total:
            return None
        elements = max(1, round(self.elements_out.mean))
        total = self.units_out.total * self.elements_out.mean / self.measured_in.total * max(1, size)
        return Size(max(1, round(total / elements)), elements)

    def merged(self, newer: "Profile") -> "Profile":
        """Return the calls of both, those of `newer` being the later ones."""
        histograms = {name: getattr(self, name).merged(getattr(newer, name)) for name in _HISTOGRAMS}
        return Profile(
            self.calls + newer.calls,
            self.failures + newer.failures,
            {
                k: self.buckets.get(k, Bucket()).merged(newer.buckets.get(k, Bucket()))
                for k in sorted(self.buckets.keys() | newer.buckets.keys())
            },
            {
                k: self.accuracy.get(k, Score()).merged(newer.accuracy.get(k, Score()))
                for k in sorted(self.accuracy.keys() | newer.accuracy.keys())
            },
            **histograms,
            recent=self.recent.merged(newer.recent),
            failing=self.failing.merged(newer.failing),
            calibration=self.calibration.merged(newer.calibration),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON values."""
        return {
            "calls": self.calls,
            "failures": self.failures,
            "failing": self.failing.to_json(),
            "calibration": self.calibration.to_json(),
            "buckets": {str(k): bucket.to_json() for k, bucket in sorted(self.buckets.items())},
            "accuracy": {k: [round(s.mean, 6), s.count] for k, s in sorted(self.accuracy.items())},
            **{name: getattr(self, name).to_json() for name in _HISTOGRAMS},
            "recent": self.recent.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Profile":
        """Read what `to_json` wrote, or what it wrote in version 1 of the schema.

        Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError` if malformed.
        """
        calls, failures = data["calls"], data["failures"]
        if not (isinstance(calls, int) and isinstance(failures, int) and 0 <= failures <= calls):
            raise ValueError(f"{failures!r} failures of {calls!r} calls")
        profile = cls(calls, failures, failing=Share.of(calls, failures))
        profile.buckets = {int(k): Bucket.from_json(v) for k, v in data["buckets"].items()}
        for label, (mean, count) in data["accuracy"].items():
            profile.score(str(label), mean, count)
        for name in _HISTOGRAMS:
            setattr(profile, name, Histogram.from_json(data[name] if name != "start_ms" else data.get(name, {"n": 0})))
        if "recent" in data:
            profile.recent = Recents.from_json(data["recent"])
            profile.failing = Share.from_json(data["failing"])
            profile.calibration = Calibration.from_json(data["calibration"])
        return profile


_HISTOGRAMS = ("cold_ms", "start_ms", "units_out", "elements_out", "measured_in")
