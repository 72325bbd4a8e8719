"""Profiles of many tools: learned from the ledger, merged with those the package ships, saved as one JSON file."""

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from catp.planlang.registry_view import Size
from catp.tools.buckets import Bucket, Score
from catp.tools.calibration import OVERALL_STEP, STEP, Calibration
from catp.tools.call_fact import CallFact
from catp.tools.errors import ProfileError
from catp.tools.tool_profile import Profile
from catp.tools.usage import Usage

__all__ = ["Bucket", "CallFact", "Profile", "ProfileBook", "ProfileError", "Score"]

SCHEMA = "catp.profiles/2"
_READABLE = ("catp.profiles/1", SCHEMA)


class ProfileBook:
    """Profiles by tool name and version."""

    def __init__(self, profiles: Mapping[tuple[str, str], Profile] | None = None) -> None:
        self._profiles = dict(profiles or {})
        self.calibration = Calibration()
        """How well the calls of all tools were predicted."""

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
        """Count one call; `catp.tools.sizes` measures `size` (`input_units`) and `output` (`size_of`).

        Raises `ValueError`, and counts nothing, if the usage is impossible.
        """
        profile = self._profiles.get((tool, version)) or Profile()
        profile.observe(usage, size=size, output=output, failed=failed)
        self._profiles[tool, version] = profile

    def learn(self, fact: CallFact) -> None:
        """Count one call of the ledger, and how well it had been predicted.

        Raises `ValueError`, and counts nothing, if its usage or its price is impossible.
        """
        if fact.amount is not None and fact.amount < 0:
            raise ValueError(f"impossible price: {fact.amount!r} nano-USD")
        self.observe(
            fact.tool, fact.usage, version=fact.version, size=fact.size, output=fact.output, failed=fact.failed
        )
        if not fact.failed:
            profile = self._profiles[fact.tool, fact.version]
            profile.calibration = profile.calibration.after(fact, STEP)
            self.calibration = self.calibration.after(fact, OVERALL_STEP)

    def score(self, tool: str, accuracy: float, *, version: str = "1", condition: str = "", count: int = 1) -> None:
        """Add measured accuracy in [0, 1] on `count` examples of one condition."""
        self._profiles.setdefault((tool, version), Profile()).score(condition, accuracy, count)

    def merge(self, other: "ProfileBook") -> "ProfileBook":
        """Return a book with the calls of both, those of `other` being the later ones; neither is changed."""
        keys = self._profiles.keys() | other._profiles.keys()
        empty = Profile()
        book = ProfileBook({k: self._profiles.get(k, empty).merged(other._profiles.get(k, empty)) for k in keys})
        book.calibration = self.calibration.merged(other.calibration)
        return book

    def absorb(self, other: "ProfileBook") -> None:
        """Add the calls of another book, the later ones, to this one."""
        both = self.merge(other)
        self._profiles, self.calibration = both._profiles, both.calibration

    def copy(self, changing: Iterable[tuple[str, str]]) -> "ProfileBook":
        """Return a book in which only the profiles of these (tool, version) pairs may be changed: they are copies."""
        book = ProfileBook(self._profiles)
        book.calibration = self.calibration
        for key in set(changing) & self._profiles.keys():
            book._profiles[key] = self._profiles[key].merged(Profile())
        return book

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
        """Read the JSON values that `to_json` returns, or returned in version 1; raise `ProfileError`."""
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        if found not in _READABLE:
            raise ProfileError(
                f"expected schema {SCHEMA!r}, found {found!r}; delete the file, or upgrade catp if a newer one wrote it"
            )
        book, entry = cls(), None
        try:
            if "calibration" in data:
                book.calibration = Calibration.from_json(data["calibration"])
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
        return {"schema": SCHEMA, "calibration": self.calibration.to_json(), "profiles": entries}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the book to a file, whole or not at all; raise `ProfileError` (disk full, no permission)."""
        target = Path(path)
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("x", encoding="utf-8") as file:
                file.writelines(_lines(self.to_json()))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise ProfileError(f"cannot save profiles to {path}: {error}; the earlier file is unchanged") from error


def _lines(data: Mapping[str, Any]) -> Iterable[str]:
    """One line of JSON for each tool: short, and a changed tool is a changed line."""
    head = ", ".join(f'"{key}": {json.dumps(data[key])}' for key in ("schema", "calibration"))
    yield f'{{{head}, "profiles": ['
    for place, entry in enumerate(data["profiles"]):
        yield f"{',' if place else ''}\n{json.dumps(entry)}"
    yield "\n]}\n"
