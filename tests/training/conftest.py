"""Data that is there on some machines only."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("CATP_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


@pytest.fixture
def shared_opencatp() -> Path:
    """The pool of OpenCATP, where it lies beside the project."""
    path = SHARED / "opencatp" / "trajectories.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there; set CATP_SHARED_DATA")
    return path
