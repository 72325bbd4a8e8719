"""Tables as CSV that a spreadsheet opens without computing anything."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["csv_of", "tame"]


def csv_of(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a header and the rows, tamed; members of a row that are no column are an error (`ValueError`)."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, list(columns))
    table.writeheader()
    table.writerows({key: tame(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def tame(value: Any) -> Any:
    """Return a cell: a text that a spreadsheet would compute is quoted with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
