"""What is known of tools from measured calls: use by input size, failures, accuracy by condition.

A `Profile` belongs to one version of one tool. A `ProfileBook` holds many, is learned from the ledger, merged with
the one the package ships, and saved as one JSON file.
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catp.planlang.registry_view import Size
from catp.tools.call_fact import CallFact
from catp.tools.errors import ProfileError
from catp.tools.histogram import Histogram
from catp.tools.usage import Usage

__all__ = ["Bucket", "CallFact", "Profile", "ProfileBook", "ProfileError", "Score"]

SCHEMA = "catp.profiles/1"


@dataclass
class Bucket:
    """Calls whose input had between 2^k and 2^(k+1) units: what they used, and the latency of those that were warm."""

    units_in: Histogram = field(default_factory=Histogram)
    cpu_ms: Histogram = field(default_factory=Histogram)
    wall_ms: Histogram = field(default_factory=Histogram)
    peak_mb: Histogram = field(default_factory=Histogram)
    other: dict[str, Histogram] = field(default_factory=dict)
    """Further billed units by name (`tokens_in`), and `reported`: the provider's own price in nano-USD."""

    def add(self, size: int, usage: Usage) -> None:
        """Count one call."""
        self.units_in.add(size)
        self.cpu_ms.add(usage.cpu_ms)
        if not usage.cold_cpu_ms:
            self.wall_ms.add(usage.wall_ms)
        self.peak_mb.add(usage.peak_mb)
        reported = {} if usage.reported is None else {"reported": float(usage.reported)}
        for name, amount in {**usage.units, **reported}.items():
            self.other.setdefault(name, Histogram()).add(amount)

    def merged(self, other: "Bucket") -> "Bucket":
        """Return the calls of both."""
        names = self.other.keys() | other.other.keys()
        empty = Histogram()
        return Bucket(
            self.units_in.merged(other.units_in),
            self.cpu_ms.merged(other.cpu_ms),
            self.wall_ms.merged(other.wall_ms),
            self.peak_mb.merged(other.peak_mb),
            {name: self.other.get(name, empty).merged(other.other.get(name, empty)) for name in sorted(names)},
        )

    def to_json(self) -> dict[str, Any]:
        """Return the bucket as JSON values."""
        return {
            "units_in": self.units_in.to_json(),
            "cpu_ms": self.cpu_ms.to_json(),
            "wall_ms": self.wall_ms.to_json(),
            "peak_mb": self.peak_mb.to_json(),
            "other": {name: histogram.to_json() for name, histogram in self.other.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Bucket":
        """Read what `to_json` wrote."""
        plain = {key: Histogram.from_json(data[key]) for key in ("units_in", "cpu_ms", "wall_ms", "peak_mb")}
        return cls(**plain, other={str(k): Histogram.from_json(v) for k, v in data["other"].items()})


@dataclass
class Score:
    """Accuracy measured on `count` examples: their mean."""

    mean: float = 0.0
    count: int = 0

    def merged(self, other: "Score") -> "Score":
        """Return the score over both sets of examples."""
        count = self.count + other.count
        return Score((self.mean * self.count + other.mean * other.count) / count, count) if count else Score()


@dataclass
class Profile:
    """Everything measured about one version of one tool.

    `cold_ms` holds the CPU time of cold starts, `start_ms` what they add to the latency: all time but the call's own
    CPU time. `units_out` and `elements_out` describe results (units per element, elements), so that their ratio to the
    input predicts the size of a result that does not exist yet.
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

    def observe(self, usage: Usage, *, size: int = 1, output: Size | None = None, failed: bool = False) -> None:
        """Count one call. A failed call counts as a failure only: what it used says nothing about a good one."""
        self.calls += 1
        if usage.cold_cpu_ms:
            self.cold_ms.add(usage.cold_cpu_ms)
            self.start_ms.add(max(usage.cold_cpu_ms, usage.wall_ms - usage.cpu_ms))
        if failed:
            self.failures += 1
            return
        self.buckets.setdefault(max(1, size).bit_length() - 1, Bucket()).add(max(1, size), usage)
        if output is not None:
            self.units_out.add(output.units)
            self.elements_out.add(output.count)
            self.measured_in.add(max(1, size))

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

    def merged(self, other: "Profile") -> "Profile":
        """Return the calls of both."""
        return Profile(
            self.calls + other.calls,
            self.failures + other.failures,
            {
                k: self.buckets.get(k, Bucket()).merged(other.buckets.get(k, Bucket()))
                for k in sorted(self.buckets.keys() | other.buckets.keys())
            },
            {
                k: self.accuracy.get(k, Score()).merged(other.accuracy.get(k, Score()))
                for k in sorted(self.accuracy.keys() | other.accuracy.keys())
            },
            self.cold_ms.merged(other.cold_ms),
            self.start_ms.merged(other.start_ms),
            self.units_out.merged(other.units_out),
            self.elements_out.merged(other.elements_out),
            self.measured_in.merged(other.measured_in),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the profile as JSON values."""
        return {
            "calls": self.calls,
            "failures": self.failures,
            "buckets": {str(k): bucket.to_json() for k, bucket in sorted(self.buckets.items())},
            "accuracy": {k: [round(s.mean, 6), s.count] for k, s in sorted(self.accuracy.items())},
            "cold_ms": self.cold_ms.to_json(),
            "start_ms": self.start_ms.to_json(),
            "units_out": self.units_out.to_json(),
            "elements_out": self.elements_out.to_json(),
            "measured_in": self.measured_in.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Profile":
        """Read what `to_json` wrote; raise `ValueError`, `KeyError`, `TypeError` or `AttributeError` if malformed."""
        calls, failures = data["calls"], data["failures"]
        if not (isinstance(calls, int) and isinstance(failures, int) and 0 <= failures <= calls):
            raise ValueError(f"{failures!r} failures of {calls!r} calls")
        profile = cls(calls, failures)
        profile.buckets = {int(k): Bucket.from_json(v) for k, v in data["buckets"].items()}
        for label, (mean, count) in data["accuracy"].items():
            profile.score(str(label), mean, count)
        profile.start_ms = Histogram.from_json(data.get("start_ms", {"n": 0}))  # older files do not have it
        for name in ("cold_ms", "units_out", "elements_out", "measured_in"):
            setattr(profile, name, Histogram.from_json(data[name]))
        return profile


class ProfileBook:
    """Profiles by tool name and version."""

    def __init__(self, profiles: Mapping[tuple[str, str], Profile] | None = None) -> None:
        self._profiles = dict(profiles or {})

    def get(self, tool: str, version: str = "1") -> Profile | None:
        """Return the profile of one version of a tool, or None if it was never measured."""
        return self._profiles.get((tool, version))

    def __iter__(self) -> Iterator[tuple[tuple[str, str], Profile]]:
        return iter(sorted(self._profiles.items()))

    def __len__(self) -> int:
        return len(self._profiles)

    def observe(
        self, tool: str, usage: Usage, *, version: str = "1", size: int = 1, output: Size | None = None,
        failed: bool = False,
    ) -> None:  # fmt: skip
        """Count one call; `catp.tools.sizes` measures `size` (`input_units`) and `output` (`size_of`)."""
        self._profile(tool, version).observe(usage, size=size, output=output, failed=failed)

    def score(self, tool: str, accuracy: float, *, version: str = "1", condition: str = "", count: int = 1) -> None:
        """Add measured accuracy in [0, 1] on `count` examples of one condition."""
        self._profile(tool, version).score(condition, accuracy, count)

    def _profile(self, tool: str, version: str) -> Profile:
        return self._profiles.setdefault((tool, version), Profile())

    def merge(self, other: "ProfileBook") -> "ProfileBook":
        """Return a book with the calls of both; neither is changed."""
        keys = self._profiles.keys() | other._profiles.keys()
        empty = Profile()
        return ProfileBook({k: self._profiles.get(k, empty).merged(other._profiles.get(k, empty)) for k in keys})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ProfileBook":
        """Read a file that `save` wrote; raise `ProfileError` naming the file and what is wrong with it."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ProfileError(f"cannot read profiles from {path}: {error}") from error
        try:
            return cls.from_json(json.loads(text))
        except ProfileError as error:
            raise ProfileError(f"{path}: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ProfileError(f"{path} is not valid JSON: {error}; delete it or restore a copy") from error

    @classmethod
    def from_json(cls, data: Any) -> "ProfileBook":
        """Read the JSON values that `to_json` returns; raise `ProfileError`."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise ProfileError(f"expected schema {SCHEMA!r}, found {found!r}; delete the file or convert it")
        book, entry = cls(), None
        try:
            for entry in data["profiles"]:
                book._profiles[str(entry["tool"]), str(entry["version"])] = Profile.from_json(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            where = f" of {entry['tool']!r}" if isinstance(entry, dict) and "tool" in entry else ""
            raise ProfileError(
                f"the profile{where} is damaged ({error!r}); delete the file or restore a copy"
            ) from error
        return book

    def to_json(self) -> dict[str, Any]:
        """Return the book as JSON values."""
        entries = [{"tool": name, "version": version, **p.to_json()} for (name, version), p in self]
        return {"schema": SCHEMA, "profiles": entries}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the book to a file, whole or not at all; raise `ProfileError` (disk full, no permission)."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("x", encoding="utf-8") as file:
                json.dump(self.to_json(), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise ProfileError(f"cannot save profiles to {path}: {error}; the earlier file is unchanged") from error
