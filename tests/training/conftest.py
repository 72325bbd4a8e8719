"""Data that is there on some machines only."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_opencatp() -> Path:
    """The pool of OpenCATP, where it lies beside the project."""
    return _shared("opencatp/trajectories.jsonl.gz")


@pytest.fixture(scope="session")
def shared_taskbench() -> Path:
    """TaskBench's folder, with a folder for each domain."""
    return _shared("taskbench")


def _shared(name: str) -> Path:
    given = os.environ.get("CATP_SHARED_DATA")
    path = (Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data") / name
    if not path.exists():
        pytest.skip(f"{path} is not there; set CATP_SHARED_DATA")
    return path
