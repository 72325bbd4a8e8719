"""Traces of requests: when each came, what its prompt shares with others, and how many tokens it got.

Readers of public traces, all of them files that the reader of this has (nothing is shipped or downloaded):

    Azure LLM inference 2023    CSV: TIMESTAMP, ContextTokens, GeneratedTokens     CC-BY 4.0, Splitwise (ISCA 2024)
    Mooncake (FAST 2025)        JSON lines: timestamp, input_length, output_length, hash_ids     Apache-2.0

A prompt is a few runs of one token each: which prompts share a prefix is all that a simulator must know of their text.
"""

import csv
import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, repeat
from pathlib import Path
from typing import IO

__all__ = ["MOONCAKE_BLOCK", "Arrival", "Trace", "TraceError", "read_azure", "read_mooncake", "read_trace"]

MOONCAKE_BLOCK = 512
"""Prompt tokens behind one of Mooncake's hashes."""


class TraceError(ValueError):
    """A trace cannot be read; the message names the file, the line and the fix."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace.

    Args:
        at: seconds since the first.
        runs: the prompt as (token id, how often) one after another.
        output: tokens that it generates, at least 1.
        bound: most tokens that it might have generated; at least `output`.
        kind: what sort of request it is, such as the trace's file.
    """

    at: float
    runs: tuple[tuple[int, int], ...]
    output: int
    bound: int
    kind: str

    @property
    def prompt_tokens(self) -> int:
        """Length of the prompt."""
        return sum(count for _, count in self.runs)

    def prompt(self) -> tuple[int, ...]:
        """Write the prompt out."""
        return tuple(chain.from_iterable(repeat(token, count) for token, count in self.runs))


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests by time of arrival, the first at 0."""

    name: str
    arrivals: tuple[Arrival, ...]

    @property
    def rate(self) -> float:
        """Requests per second, in the mean from the first arrival to the last.

        Raises:
            TraceError: all come at once.
        """
        if not self.arrivals[-1].at:
            raise TraceError(f"trace {self.name}: all {len(self.arrivals)} requests come at once; take more of them")
        return len(self.arrivals) / self.arrivals[-1].at

    def first(self, count: int) -> "Trace":
        """Return the first so many requests."""
        return replace(self, arrivals=self.arrivals[:count])

    def at_rate(self, rate: float) -> "Trace":
        """Return the same requests with all gaps stretched so that they come at so many per second in the mean."""
        factor = self.rate / rate
        return replace(self, arrivals=tuple(replace(one, at=one.at * factor) for one in self.arrivals))


def read_trace(path: Path) -> Trace:
    """Read a trace: a CSV file in Azure's form, JSON lines in Mooncake's, or a folder, whose Azure files are merged.

    Raises:
        TraceError: it is neither, or broken.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if "Azure" in file.name and _format(file) == ".csv")
        if not files:
            raise TraceError(f"folder {path} has no file whose name has 'Azure' in it and ends in .csv or .csv.gz")
        return read_azure(files)
    if not path.is_file():
        raise TraceError(f"trace {path} does not exist; name a .csv or .jsonl file, plain or .gz, or a folder of them")
    match _format(path):
        case ".csv":
            return read_azure([path])
        case ".jsonl":
            return read_mooncake(path)
    raise TraceError(f"trace {path}: the name must end in .csv or .jsonl, with or without .gz")


def read_azure(files: Iterable[Path]) -> Trace:
    """Read and merge traces in Azure's form by time; the kind of a request is the last part of its file's name.

    The bound of a kind's requests is its longest output: the traces do not say what the callers asked for.

    Raises:
        TraceError: a line is not as it should be.
    """
    rows: list[tuple[datetime, int, int, str]] = []
    names = []
    for path in files:
        kind = path.name.partition(".")[0].rpartition("_")[2]
        names.append(kind)
        with _open(path) as lines:
            for number, row in enumerate(csv.DictReader(lines), 2):
                try:
                    moment = datetime.fromisoformat(row["TIMESTAMP"][:26])
                    rows.append((moment, int(row["ContextTokens"]), max(1, int(row["GeneratedTokens"])), kind))
                except (KeyError, TypeError, ValueError) as error:
                    raise TraceError(
                        f"{path}, line {number}: not TIMESTAMP, ContextTokens, GeneratedTokens ({error})"
                    ) from error
    if len(rows) < 2:
        raise TraceError(f"{' and '.join(names)}: fewer than two requests")
    rows.sort(key=lambda row: row[0])
    bounds = {kind: max(row[2] for row in rows if row[3] == kind) for kind in {row[3] for row in rows}}
    arrivals = tuple(
        Arrival((moment - rows[0][0]).total_seconds(), ((number, prompt),), output, bounds[kind], kind)
        for number, (moment, prompt, output, kind) in enumerate(rows)
    )
    return Trace("+".join(["azure", *names]), arrivals)


def read_mooncake(path: Path) -> Trace:
    """Read a trace in Mooncake's form; prompts with the same leading hashes begin with the same tokens.

    Raises:
        TraceError: a line is not as it should be.
    """
    arrivals = []
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                length, hashes = int(row["input_length"]), [int(one) for one in row["hash_ids"]]
                at, output = float(row["timestamp"]) / 1000, max(1, int(row["output_length"]))
            except (KeyError, TypeError, ValueError) as error:
                raise TraceError(
                    f"{path}, line {number}: not timestamp, input_length, output_length, hash_ids ({error})"
                ) from error
            if length < 1 or len(hashes) != -(-length // MOONCAKE_BLOCK):
                raise TraceError(f"{path}, line {number}: {len(hashes)} hashes for a prompt of {length} tokens")
            counts = [MOONCAKE_BLOCK] * (len(hashes) - 1) + [length - MOONCAKE_BLOCK * (len(hashes) - 1)]
            arrivals.append(Arrival(at, tuple(zip(hashes, counts, strict=True)), output, output, "mooncake"))
    if len(arrivals) < 2:
        raise TraceError(f"{path}: fewer than two requests")
    arrivals.sort(key=lambda one: one.at)
    most = max(one.output for one in arrivals)
    start = arrivals[0].at
    return Trace("mooncake", tuple(replace(one, at=one.at - start, bound=most) for one in arrivals))


def _format(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")
