"""Traces that are there on some machines only."""

import csv
import gzip
import os
from pathlib import Path

import pytest

from catp.serving.engine.request import Request

BOUND = 2000


@pytest.fixture(scope="session")
def azure() -> dict[str, list[tuple[Request, int]]]:
    """Requests of Azure's 2023 trace with their output lengths, by workload, in order of arrival."""
    given = os.environ.get("CATP_SHARED_DATA")
    shared = Path(given) if given else Path(__file__).resolve().parents[4] / "shared" / "data"
    found: dict[str, list[tuple[Request, int]]] = {}
    for name in ("conv", "code"):
        path = shared / "traces" / f"AzureLLMInferenceTrace_2023_{name}.csv.gz"
        if not path.exists():
            pytest.skip(f"{path} is not there; set CATP_SHARED_DATA")
        with gzip.open(path, "rt") as file:
            rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
        found[name] = [
            (Request(str(number), (0,) * prompt, BOUND), min(output, BOUND))
            for number, (prompt, output) in enumerate(rows[:12_000])
        ]
    return found
