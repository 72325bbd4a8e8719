"""A disk without room costs lines of the log, and nothing else."""

from pathlib import Path

import pytest

from catp.serving.metering.record import RequestRecord
from catp.serving.metering.requestlog import RequestLog

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_is_counted_and_closing_the_log_is_no_fault() -> None:
    log = RequestLog(FULL)
    log.write(RequestRecord("r1", "t", "m", "plans", 0.0, "stop"))
    log.close()
    assert log.failures >= 1
