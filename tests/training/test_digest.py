"""One digest of files for weights, states and data."""

import hashlib
from pathlib import Path

from catp.training.digest import file_digest


def test_it_is_the_sha256_of_the_bytes_of_any_file(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    for size in (0, 1, (1 << 22) + 7):
        data = bytes(range(256)) * (size // 256) + bytes(size % 256)
        path.write_bytes(data)
        assert file_digest(path) == hashlib.sha256(data).hexdigest()
