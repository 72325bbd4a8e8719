"""Profiles: quantiles from a compact histogram, fading, merging, and files that are saved whole or not at all."""

import errno
import json
import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from catp.learning import CallLog
from catp.planlang.money import Money
from catp.planlang.nodes import ToolName
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import Type
from catp.tools import Catalogue, PerCall, ProfileBook, ProfileError, Usage, tool
from catp.tools.builtin import shipped_profiles
from catp.tools.call_fact import CallFact
from catp.tools.histogram import HALF_LIFE, Histogram
from catp.tools.profile_file import changed_profiles
from catp.tools.recent import WINDOW, RecentCall, Recents
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


def test_old_values_fade() -> None:
    made = histogram([1.0] * 5 * HALF_LIFE)
    for _ in range(HALF_LIFE):
        made.add(3.0)
    assert HALF_LIFE <= made.count <= 2 * HALF_LIFE
    assert made.mean == pytest.approx(2.0, abs=0.35)
    for _ in range(15 * HALF_LIFE):
        made.add(3.0)
    assert made.mean == pytest.approx(3.0, rel=0.01)
    assert made.least == pytest.approx(3.0, rel=0.05), "what was forgotten is no longer the least"


def test_the_later_of_two_long_histograms_counts_more() -> None:
    earlier, later = histogram([1.0] * 2 * HALF_LIFE), histogram([3.0] * HALF_LIFE)
    both = earlier.merged(later)
    assert both.count == 2 * HALF_LIFE
    assert both.mean == pytest.approx(2.0)
    assert (earlier.mean, later.mean) == (1.0, 3.0)
    assert earlier.merged(histogram([3.0] * 2 * HALF_LIFE)).mean == pytest.approx(3.0)


def test_one_odd_value_counts_as_twice_the_next_and_two_count_in_full() -> None:
    one, two = histogram([10.0] * 9 + [1000.0]), histogram([10.0] * 8 + [1000.0, 990.0])
    assert one.typical == pytest.approx(11, rel=0.03)
    assert one.top == pytest.approx(20, rel=0.03)
    assert (two.typical, two.top) == (two.mean, 1000.0)
    assert (histogram([]).typical, histogram([]).top) == (0.0, 0.0)


def test_a_window_keeps_the_latest_calls() -> None:
    window = Recents()
    for size in range(1, WINDOW + 50):
        window.add(RecentCall(size, {"cpu_ms": float(size)}))
    assert len(window.calls) == WINDOW
    assert window.of("cpu_ms")[0] == (50, 50.0)
    assert window.of("wall_ms") == []
    assert window.merged(Recents([RecentCall(7, {})])).calls[-1].size == 7


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


FIRST_VERSION = {
    "schema": "catp.profiles/1",
    "profiles": [
        {
            "tool": "a", "version": "1", "calls": 300, "failures": 30, "accuracy": {"noisy": [0.5, 2]},
            "buckets": {
                "3": {
                    "units_in": {"n": 2, "sum": 20, "min": 9, "max": 11, "buckets": {"45": 1, "49": 1}},
                    "cpu_ms": {"n": 2, "sum": 3, "min": 1, "max": 2, "buckets": {"0": 1, "14": 1}},
                    "wall_ms": {"n": 0}, "peak_mb": {"n": 0}, "other": {},
                }
            },
            "cold_ms": {"n": 0}, "units_out": {"n": 0}, "elements_out": {"n": 0}, "measured_in": {"n": 0},
        }
    ],
}  # fmt: skip


def test_files_of_the_first_version_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "profiles.json"
    path.write_text(json.dumps(FIRST_VERSION))
    converted = ProfileBook.load(path)
    profile = converted.get("a")
    assert profile is not None
    assert (profile.calls, profile.failures, profile.recent.calls) == (300, 30, [])
    assert profile.buckets[3].cpu_ms.mean == 1.5
    assert profile.failing.value == pytest.approx(0.1)
    converted.save(path)
    assert json.loads(path.read_text())["schema"] == "catp.profiles/2"
    assert ProfileBook.load(path).to_json() == converted.to_json()


def test_the_shipped_profiles_can_be_read() -> None:
    book = shipped_profiles()
    assert len(book) > 30
    assert all(profile.calls > 0 and profile.buckets for _, profile in book)


def learn_and_save(path: Path, tool: str, calls: int) -> None:
    """What a run does when it ends."""
    for _ in range(5):
        log = CallLog()
        for number in range(calls):
            log.record(CallFact(tool, "1", number, 10, None, Usage(cpu_ms=1.0, wall_ms=1.0), None, None, None, False))
        log.save(path)


def test_processes_that_save_at_once_lose_no_call(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "profiles.json"
    context = multiprocessing.get_context("fork")
    savers = [context.Process(target=learn_and_save, args=(path, tool, 7)) for tool in ("a", "a", "b", "b")]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join(60)
        assert saver.exitcode == 0
    assert {name: profile.calls for (name, _), profile in ProfileBook.load(path)} == {"a": 70, "b": 70}


def test_a_run_leaves_a_damaged_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "profiles.json"
    path.write_text("{half")
    with pytest.raises(ProfileError, match="not valid JSON"):
        learn_and_save(path, "a", 1)
    assert path.read_text() == "{half"


def test_an_error_while_changing_a_file_leaves_it_and_lets_others_in(tmp_path: Path) -> None:
    path = tmp_path / "profiles.json"
    learn_and_save(path, "a", 1)
    before = path.read_text()
    with pytest.raises(ValueError, match="cpu_ms"), changed_profiles(path) as book:
        book.observe("a", Usage(cpu_ms=-1.0))
    assert path.read_text() == before
    learn_and_save(path, "b", 1)
    assert len(ProfileBook.load(path)) == 2


def test_a_folder_that_cannot_be_made_is_a_profile_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="cannot save profiles"):
        learn_and_save(tmp_path / "file" / "profiles.json", "a", 1)


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
        (damage(recent={"size": [1], "uses": {"cpu_ms": [1, 2]}}), "columns of recent calls differ"),
        (damage(recent={"size": [0], "uses": {}}), "0 is no input size"),
        (damage(recent={"size": [1], "uses": {"cpu_ms": [float("inf")]}}), "inf is no amount"),
        (damage(failing=[1, 2]), "is no share"), (damage(failing=[float("nan"), 0]), "is no share"),
        (damage(calibration={"price": {"miss": 7, "held": [0, 0]}}), "no share of calls to miss"),
        (damage(calibration=3), "damaged"), (damage(recent=None), "damaged"),
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


def test_a_tool_that_was_only_timed_cold_is_not_taken_to_be_instant() -> None:
    """One call per process is always cold: what it waits for must not vanish from the quote."""
    book = ProfileBook()
    for _ in range(5):
        book.observe("waits", Usage(wall_ms=900.0, cpu_ms=0.4, cold_cpu_ms=300.0))

    @tool(name="waits", price=PerCall("0.01"))
    async def waits(text: str) -> str:
        """Wait for somebody."""
        return text

    catalogue = Catalogue([waits], profiles=book)
    estimate = catalogue.estimator().estimate(ToolName("waits"), {"text": ValueFacts(Type("text"), Size(1))})
    assert estimate.latency.expected_ms > 800
    book.observe("waits", Usage(wall_ms=450.0, cpu_ms=0.4))
    estimate = catalogue.estimator().estimate(ToolName("waits"), {"text": ValueFacts(Type("text"), Size(1))})
    assert estimate.latency.expected_ms == pytest.approx(450, rel=0.1)
