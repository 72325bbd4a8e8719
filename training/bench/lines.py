"""Lines of JSON in a gzip file, written as a whole or not at all, the same bytes for the same lines."""

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["write_json", "write_lines"]


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write the lines and return how many there were; a file that was there before is replaced at the end."""
    part = path.with_name(f"{path.name}.part")
    count = 0
    try:
        with part.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:
            for line in lines:
                file.write(line.encode() + b"\n")
                count += 1
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def write_json(path: Path, data: Any) -> None:
    """Write one JSON document, indented for people to read."""
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
