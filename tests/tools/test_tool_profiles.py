"""Profiles: quantiles from a compact histogram, merging, and files that are saved whole or not at all."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catp.planlang.money import Money
from catp.planlang.registry_view import Size
from catp.tools import ProfileBook, ProfileError, Usage
from catp.tools.histogram import Histogram
from catp.tools.sizes import input_units, size_of

values = st.lists(st.floats(0, 1e7, allow_nan=False), min_size=1, max_size=60)


def histogram(items: list[float]) -> Histogram:
    made = Histogram()
    for item in items:
        made.add(item)
    return made


@given(values, st.floats(0.01, 1.0))
@settings(max_examples=200, deadline=None)
def test_quantiles_are_right_to_a_few_percent(items: list[float], q: float) -> None:
    exact = sorted(items)[max(0, -(-q * len(items) // 1).__int__() - 1)]
    assert histogram(items).quantile(q) == pytest.approx(exact, rel=0.05, abs=2e-6)


@given(values, values)
@settings(max_examples=100, deadline=None)
def test_merging_is_counting_both(left: list[float], right: list[float]) -> None:
    merged, whole = histogram(left).merged(histogram(right)), histogram(left + right)
    assert merged.count == whole.count
    assert merged.mean == pytest.approx(whole.mean)
    assert merged.quantile(0.5) == whole.quantile(0.5)
    assert (merged.least, merged.greatest) == (whole.least, whole.greatest)


@given(values)
@settings(max_examples=50, deadline=None)
def test_histograms_survive_json(items: list[float]) -> None:
    made = histogram(items)
    read = Histogram.from_json(json.loads(json.dumps(made.to_json())))
    assert read.count == made.count
    assert read.quantile(0.95) == pytest.approx(made.quantile(0.95), abs=1e-5)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_impossible_values_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Histogram().add(bad)


def book() -> ProfileBook:
    made = ProfileBook()
    for n in range(1, 20):
        usage = Usage(
            wall_ms=n, cpu_ms=n / 2, peak_mb=90, cold_cpu_ms=5.0 * (n == 1), units={"tokens_in": n}, reported=Money(n)
        )
        made.observe("a.b", usage, version="2", size=n * 100, output=Size(n, 3))
    made.observe("a.b", Usage(), version="2", failed=True)
    made.score("a.b", 0.75, version="2", condition="noisy", count=4)
    made.observe("c", Usage())
    return made


def test_a_book_survives_saving_and_loading(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "profiles.json"
    book().save(path)
    book().save(path)
    assert ProfileBook.load(path).to_json() == book().to_json()
    assert [p.name for p in path.parent.iterdir()] == ["profiles.json"]


def test_a_saved_book_can_be_read_by_whom_new_files_can(tmp_path: Path) -> None:
    path = tmp_path / "profiles.json"
    earlier = os.umask(0o022)
    try:
        ProfileBook().save(path)
        ProfileBook().save(path)
    finally:
        os.umask(earlier)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_merging_books_adds_calls_and_leaves_both_alone() -> None:
    left, right = book(), book()
    merged = left.merge(right)
    profile = merged.get("a.b", "2")
    assert profile is not None
    assert (profile.calls, profile.failures) == (40, 2)
    assert profile.accuracy["noisy"].count == 8
    assert left.to_json() == right.to_json() == book().to_json()
    merged.observe("c", Usage())
    assert left.to_json() == book().to_json()


def damage(**change: Any) -> str:
    data = book().to_json()
    data["profiles"][0].update(change)
    return json.dumps(data)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"), ("{", "not valid JSON"), ("[" * 100_000, "not valid JSON|expected schema"),
        ("null", "expected schema"), ("{}", "expected schema 'catp.profiles/2', found None"),
        ('{"schema": "catp.profiles/9", "profiles": []}', "found 'catp.profiles/9'"),
        ('{"schema": "catp.profiles/1"}', "damaged"), ('{"schema": "catp.profiles/1", "profiles": 3}', "damaged"),
        ('{"schema": "catp.profiles/1", "profiles": [null]}', "damaged"),
        (damage(calls=-1), "profile of 'a.b' is damaged"), (damage(failures=99), "99 failures of 20 calls"),
        (damage(buckets={"x": {}}), "damaged"), (damage(accuracy={"noisy": [2.0, 1]}), "accuracy must lie in"),
        (damage(cold_ms={"n": 2, "sum": 1, "min": 0, "max": 1, "buckets": {"1": 1}}), "do not add up"),
        (damage(cold_ms={"n": 1, "sum": float("nan"), "min": 0, "max": 1, "buckets": {"1": 1}}), "nan"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_with_its_damage(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "profiles.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=reason) as caught:
        ProfileBook.load(path)
    assert "profiles.json" in str(caught.value)


def test_missing_and_binary_files_are_profile_errors(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot read profiles"):
        ProfileBook.load(tmp_path / "none.json")
    (tmp_path / "bin").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="cannot read profiles"):
        ProfileBook.load(tmp_path / "bin")


def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "profiles.json"
    ProfileBook().save(path)
    before = path.read_text()

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProfileError, match="No space left on device; the earlier file is unchanged"):
        book().save(path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["profiles.json"]


def test_sizes_are_pixels_characters_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"12345")
    assert size_of(Image.new("L", (20, 10))) == Size(200)
    assert size_of("four") == Size(4)
    assert size_of(b"123") == Size(3)
    assert size_of(tmp_path / "f") == Size(5)
    assert size_of(tmp_path / "none") == Size(1)
    assert size_of(["ab", "abcd"]) == Size(3, 2)
    assert size_of([]) == Size(1, 0)
    assert size_of(7) == size_of(None) == size_of("") == Size(1)
    assert size_of({"a": "xyz", "b": [1, 2]}) == Size(5)
    assert input_units({"a": Size(3, 2), "b": Size(4)}) == 10
    assert input_units({}) == 1
