"""Tools that say where they run, compute, hang and die; the user's own module of `test_ray_pool.py`."""

import asyncio
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from catp.tools import Catalogue, ComputePrice, PerCall, tool

CENT_A_SECOND = ComputePrice(fee_usd="0", tiers=[(10240, "0.00001")])


@dataclass(frozen=True)
class Where:
    """The process a call ran in, its parent, and what they were given."""

    pid: int
    parent: str
    gpus: str
    threads: str


def burn(cpu_ms: float) -> None:
    until = time.process_time() + cpu_ms / 1e3
    while time.process_time() < until:
        pass


@tool(price=CENT_A_SECOND)
def where(text: str) -> Where:
    """Say where the call runs."""
    parent = Path(f"/proc/{os.getppid()}/cmdline").read_text().partition("\0")[0]
    return Where(os.getpid(), parent, os.environ.get("CUDA_VISIBLE_DEVICES", ""), os.environ["OMP_NUM_THREADS"])


@tool(price=CENT_A_SECOND)
def count(text: str) -> int:
    """Count the letters, slowly."""
    burn(40)
    return len(text)


@tool(price=CENT_A_SECOND)
def total(numbers: list[int]) -> int:
    """Add up."""
    burn(10)
    return sum(numbers)


@tool(price=PerCall("0.001"))
def sleep(seconds: float) -> float:
    """Wait."""
    time.sleep(seconds)
    return seconds


@tool(price=PerCall("0.001"))
async def fetch(text: str) -> str:
    """Wait for something else."""
    await asyncio.sleep(0)
    return f"{text} in {os.getpid()}"


@tool(price=CENT_A_SECOND)
def hang(mark: str) -> str:
    """Burn CPU time in this process and start a program, for ever; leave the ids of both."""
    program = subprocess.Popen(["sleep", "600"])
    Path(mark).with_suffix(".part").write_text(f"{os.getpid()} {program.pid}")
    os.replace(Path(mark).with_suffix(".part"), mark)
    burn(600_000)
    return ""


@tool(price=CENT_A_SECOND)
def die_once(mark: str, who: str) -> str:
    """Kill this process, or the actor it runs for, at the first call; end well at the next."""
    path = Path(mark)
    if not path.exists():
        path.write_text("been here")
        burn(100)
        os.kill(os.getpid() if who == "worker" else os.getppid(), signal.SIGKILL)
        time.sleep(60)
    burn(20)
    return "alive"


@tool(price=CENT_A_SECOND)
def stay_once(mark: str) -> str:
    """Never come back from the first call; end well at the next."""
    path = Path(mark)
    if not path.exists():
        path.write_text("been here")
        time.sleep(600)
    return "alive"


@tool
def double(data: bytes, grow_mb: int = 0) -> bytes:
    """Change the data in place."""
    import numpy as np

    held = bytearray(grow_mb << 20)
    numbers = np.frombuffer(bytearray(data), np.uint8)
    numbers *= 2
    return numbers.tobytes() + bytes(held[:0])


@tool(unavailable=lambda: "it is only for others" if "RAY_JOB_ID" in os.environ else None)
def choosy(text: str) -> str:
    """Not available on Ray."""
    return text


CATALOGUE = Catalogue([where, count, total, sleep, fetch, hang, die_once, stay_once, double, choosy])
