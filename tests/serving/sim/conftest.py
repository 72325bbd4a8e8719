import os
from pathlib import Path

import pytest

from catp.serving.sim.profiles import load_profile
from catp.serving.sim.replay import Replica


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """The folder of public traces and profiles."""
    given = os.environ.get("CATP_SHARED_DATA")
    path = (Path(given) if given else Path(__file__).resolve().parents[4] / "shared" / "data") / "traces"
    if not path.exists():
        pytest.skip(f"{path} is not there; set CATP_SHARED_DATA")
    return path


@pytest.fixture(scope="session")
def a100() -> Replica:
    """Llama-2-7B on an A100, as in the table of docs/serving-simulator.md."""
    return Replica(*load_profile("a100-llama2-7b"))
