"""Reading and writing: the same records in every format, the same bytes for the same records, all or nothing."""

import gzip
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catp.training.data.files import SUFFIXES, read, write
from catp.training.data.problems import DataError
from catp.training.data.trajectory import Trajectory
from tests.training.data.making import records, trajectories

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(derandomize=True, max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=st.lists(trajectories(), max_size=3))
def test_what_is_written_is_read(suffix: str, found: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        assert write(path, iter(found)) == len(found)
        assert list(read(path)) == found


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_formats_hold_the_same_lines(tmp_path: Path, suffix: str) -> None:
    """Not only equal: amounts keep their digits, and what is absent stays absent."""
    found = records(0)
    write(tmp_path / f"a{suffix}", found)
    assert [r.to_line() for r in read(tmp_path / f"a{suffix}")] == [r.to_line() for r in found]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_records_make_equal_bytes(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"a{suffix}", tmp_path / "elsewhere" / f"another name{suffix}"
    second.parent.mkdir()
    write(first, records(1))
    write(second, iter(records(1)))
    os.utime(first, (0, 0))
    assert first.read_bytes() == second.read_bytes()


def test_the_gzip_header_tells_neither_name_nor_time(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl.gz", records(1))
    header = (tmp_path / "a.jsonl.gz").read_bytes()[:10]
    assert header[3] == 0  # no flags: no name
    assert header[4:8] == bytes(4)


def test_parquet_of_many_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import parquet

    monkeypatch.setattr("catp.training.data.parquet.ROW_GROUP", 5)
    write(tmp_path / "a.parquet", records(2))
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 3
    assert list(read(tmp_path / "a.parquet")) == records(2)


def test_parquet_columns_can_be_asked(tmp_path: Path) -> None:
    """What a data scientist does with it: nested columns, no JSON in them but the open arguments."""
    from pyarrow import parquet

    found = records(3)
    write(tmp_path / "a.parquet", found)
    table = parquet.read_table(tmp_path / "a.parquet", columns=["outcome", "events"])
    assert table["outcome"].combine_chunks().field("score").to_pylist() == [r.outcome.score for r in found]
    prices = table["events"].combine_chunks().flatten().field("price_usd").to_pylist()
    assert prices == [format(e.price_usd, "f") for r in found for e in r.events if e.price_usd is not None]


def test_a_folder_is_read_in_name_order(tmp_path: Path) -> None:
    found = records(4)
    write(tmp_path / "b.jsonl", found[4:])
    write(tmp_path / "a.parquet", found[:2])
    write(tmp_path / "a2.jsonl.gz", found[2:4])
    (tmp_path / ".b.jsonl.x.part").write_text("half")
    (tmp_path / ".hidden.jsonl").write_text("half")
    (tmp_path / "toolset.json").write_text("{}")
    assert list(read(tmp_path)) == found


@pytest.mark.parametrize("name", ["a.json", "a.gz", "a", "a.parquet.gz"])
def test_other_names_are_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"files of trajectories end in \.jsonl, \.jsonl\.gz, \.parquet"):
        read(tmp_path / name)
    with pytest.raises(DataError, match="not a kind of file"):
        write(tmp_path / name, [])


def test_missing_files_and_empty_folders_are_errors_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nobody\.jsonl: there is no such file"):
        read(tmp_path / "nobody.jsonl")
    with pytest.raises(DataError, match="no file of trajectories in here"):
        read(tmp_path)


def test_a_bad_line_names_line_field_found_and_fix(tmp_path: Path) -> None:
    found = [record.to_line() for record in records(5)]
    found[2] = found[2].replace('"price_usd":', '"price_us":', 1)
    (tmp_path / "a.jsonl").write_text("\n".join(found))
    reading = read(tmp_path / "a.jsonl")
    assert [next(reading).trajectory_id, next(reading).trajectory_id] == ["r0-0", "r0-1"]
    with pytest.raises(DataError) as caught:
        next(reading)
    assert caught.value.line == 3
    assert caught.value.problem.field == "events[0].price_us"
    assert caught.value.problem.fix == "did you mean 'price_usd'?"
    assert str(caught.value).startswith(f"{tmp_path / 'a.jsonl'}:3: events[0].price_us:")


def test_numbers_too_large_for_parquet_are_an_error_and_leave_nothing(tmp_path: Path) -> None:
    one = records(6)[0]
    large = one.model_copy(update={"provenance": one.provenance.model_copy(update={"seed": 2**64})})
    with pytest.raises(DataError, match="64 bits"):
        write(tmp_path / "a.parquet", [large])
    assert list(tmp_path.iterdir()) == []


def broken_off(found: list[Trajectory]) -> Iterator[Trajectory]:
    yield from found[:-1]
    raise RuntimeError("the source ran dry")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_source_that_fails_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, records(7)[:2])
    with pytest.raises(RuntimeError, match="ran dry"):
        write(path, broken_off(records(8)))
    assert list(read(path)) == records(7)[:2]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_cannot_sync_leaves_the_old_file(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, records(7)[:2])

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write(path, records(8))
    assert list(read(path)) == records(7)[:2]
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for 64 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount") or "mount"
    try:
        done = subprocess.run(
            [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
        )
    except OSError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file(small_disk: Path, suffix: str) -> None:
    path = small_disk / f"a{suffix}"
    write(path, records(7)[:1])
    before = path.read_bytes()
    (small_disk / "filler").write_bytes(os.urandom(64 * 1024 - 20_000 - len(before)))
    one = records(8)[0]
    ids = (hashlib.sha512(b"%d" % n).hexdigest() for n in range(1_000))  # nothing there to compress
    many = (one.model_copy(update={"trajectory_id": id_}) for id_ in ids)
    with pytest.raises(OSError, match="No space left"):
        write(path, many)
    assert path.read_bytes() == before
    assert sorted(p.name for p in small_disk.iterdir()) == [path.name, "filler"]


KILLED = """
import sys, time
from pathlib import Path
from catp.training.data.files import read, write

def slow(found):
    for number, record in enumerate(found * 40):
        if number == 300:
            print("half", flush=True)
            time.sleep(60)
        yield record

write(sys.argv[1], slow(list(read(sys.argv[2]))))
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_killed_writer_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    path, source = tmp_path / f"a{suffix}", tmp_path / "source.jsonl"
    write(path, records(7)[:2])
    write(source, records(8))
    before = path.read_bytes()
    child = subprocess.Popen([sys.executable, "-c", KILLED, path, source], stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert path.read_bytes() == before
    source.unlink()
    assert list(read(tmp_path)) == records(7)[:2]  # what the killed one left is no data file


def test_mode_is_kept_and_links_are_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    write(real, [])
    real.chmod(0o640)
    link.symlink_to(real)
    write(link, records(9))
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert list(read(real)) == records(9)


def test_gzip_in_several_members_and_blank_lines_are_read(tmp_path: Path) -> None:
    """`cat a.gz b.gz` is a gzip file, too."""
    packed = io.BytesIO()
    for record in records(10):
        packed.write(gzip.compress(record.to_line().encode() + b"\n\n"))
    (tmp_path / "a.jsonl.gz").write_bytes(packed.getvalue())
    assert list(read(tmp_path / "a.jsonl.gz")) == records(10)
