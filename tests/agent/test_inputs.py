"""Command-line inputs: what becomes a file, what stays text, and every way a file can be unusable."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from catp import inputs
from catp.inputs import InputError, read_inputs


def test_files_texts_and_json(tmp_path: Path) -> None:
    Image.new("L", (4, 3), 200).save(tmp_path / "page.png")
    (tmp_path / "note.txt").write_text("grüße")
    (tmp_path / "blob.bin").write_bytes(b"\xff\x00")
    (tmp_path / "eq.txt").write_text("a=b")
    values = read_inputs(
        [
            f"page={tmp_path / 'page.png'}",
            f"note=@{tmp_path / 'note.txt'}",
            f"blob={tmp_path / 'blob.bin'}",
            "city=Vienna = Wien",
            'tags:=["a", 1]',
            f"eq={tmp_path / 'eq.txt'}",
        ]
    )
    assert values["page"].size == (4, 3)
    assert values["page"].mode == "RGB"
    assert values["note"] == "grüße"
    assert values["blob"] == b"\xff\x00"
    assert values["city"] == "Vienna = Wien"
    assert values["tags"] == ["a", 1]
    assert values["eq"] == "a=b"


def _bomb(path: Path) -> None:
    """A PNG of a few bytes that claims 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_unusable_files_say_what_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "MAX_INPUT_BYTES", 1000)
    (tmp_path / "huge.txt").write_text("x" * 1001)
    (tmp_path / "empty.txt").touch()
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    (tmp_path / "latin.txt").write_bytes("grüße".encode("latin-1"))
    (tmp_path / "folder.png").mkdir()
    _bomb(tmp_path / "bomb.png")
    for name, complaint in {
        "missing.png": "there is no file",
        "huge.txt": "has 1,001 bytes, the limit is 1,000",
        "empty.txt": "is empty",
        "broken.png": "not an image Pillow can read",
        "latin.txt": "not UTF-8",
        "folder.png": "is a folder",
        "bomb.png": "too many pixels",
    }.items():
        with pytest.raises(InputError, match=rf"input page: .*{complaint}"):
            read_inputs([f"page=@{tmp_path / name}"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("x")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        read_inputs([f"x={path}"])


@pytest.mark.parametrize("option", ["page", "=x", "2x=1", "a b=1", "x:={", ""])
def test_malformed_options(option: str) -> None:
    with pytest.raises(InputError):
        read_inputs([option])


def test_a_name_given_several_times_and_a_pattern_make_lists(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "l.json").write_text('["x", 2]')
    assert read_inputs(["x=1", "x=2", "y=3"]) == {"x": ["1", "2"], "y": "3"}
    assert read_inputs([f"t=@{tmp_path}/*.txt"]) == {"t": ["a.txt", "b.txt"]}
    assert read_inputs([f"l:=@{tmp_path}/l.json"]) == {"l": ["x", 2]}
    with pytest.raises(InputError, match="no file matches"):
        read_inputs([f"t=@{tmp_path}/*.png"])
