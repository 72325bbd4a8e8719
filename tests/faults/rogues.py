"""Tools that misbehave for real, in real worker processes; the user's own module of `test_end_to_end_faults.py`."""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from catp.planlang.money import Money
from catp.tools import Catalogue, ComputePrice, CustomPrice, Free, PerCall, Unpriced, Usage, tool

TIER = ComputePrice(fee_usd="0", tiers=[(10240, "0.00001")])
"""One cent for a second of CPU time."""


@dataclass(frozen=True)
class Word:
    """A word and how sure the tool is of it."""

    text: str
    score: float


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def note(mark: str) -> None:
    """Leave this process's id in the file `mark`, whole, so that a test can see whether it still lives."""
    Path(f"{mark}.part").write_text(str(os.getpid()))
    os.replace(f"{mark}.part", mark)


@tool(price=PerCall("0.001"))
def echo(text: str) -> str:
    """Return the text."""
    return text


@tool(price=PerCall("0.001"))
def later(text: str) -> str:
    """Return the text after 0.4 s."""
    time.sleep(0.4)
    return text


@tool(price=PerCall("0.002"))
def raises(text: str) -> str:
    """Fail."""
    raise LookupError(f"no such thing as {text}")


@tool(price=PerCall("0.001"))
def wails(text: str) -> str:
    """Fail with a message of 5 MB that wants to clear the screen."""
    raise RuntimeError("\x1b[2J" + "woe " * 1_250_000)


@tool(price=PerCall("0.002"), timeout=2.5)
def hangs(mark: str) -> str:
    """Never return."""
    note(mark)
    time.sleep(3600)
    return mark


@tool(price=TIER)
def burns(mark: str) -> str:
    """Compute for ever."""
    note(mark)
    while True:
        pass


@tool(price=TIER)
def grips(mark: str) -> str:
    """Compute for hours without ever releasing the interpreter lock."""
    note(mark)
    return str(re.match(r"(a+)+$", "a" * 60 + "b"))


@tool(price=PerCall("0.002"))
def lies(text: str) -> Word:
    """Return a number where a word was promised."""
    return 42  # type: ignore[return-value]  # the point


@tool(price=PerCall("0.002"))
def odd(kind: str) -> Any:
    """Return things that fit `json` badly."""
    if kind == "circle":
        circle: list[Any] = []
        circle.append(circle)
        return circle
    return {"nan": float("nan"), "keys": {(1, 2): 3}, "object": object, "deep": _deep(kind)}[kind]


def _deep(kind: str) -> Any:
    value: Any = 0
    for _ in range(100_000 if kind == "deep" else 1):
        value = [value]
    return value


@tool(price=PerCall("0.002"))
def paints(mode: str) -> Image.Image:
    """Return pictures that no PNG can hold."""
    return Image.new("RGB", (0, 0)) if mode == "empty" else Image.new(mode, (4, 4))


@tool(price=PerCall("0.002"))
def huge(text: str) -> bytes:
    """Return 2 GB."""
    return bytes(2 << 30)


@tool(price=PerCall("0.002"))
def leaks(text: str) -> str:
    """Leave a thread running."""
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    return text


@tool(price=PerCall("0.002"))
def dies(how: str) -> str:
    """End its own process."""
    ends: dict[str, Callable[[], Any]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "exit": lambda: os._exit(3),
        "segfault": lambda: ctypes.string_at(0),
        "sys.exit": lambda: sys.exit(7),
    }
    ends[how]()
    return how


@tool(price=TIER)
def gulps(seconds: float) -> str:
    """Use far more than its profile says."""
    burn(seconds)
    return "done"


def _broken_price(usage: Usage) -> Money:
    if usage.wall_ms:
        raise KeyError("rate")
    return Money(1000)


def _negative_price(usage: Usage) -> Money:
    return Money(-5 if usage.wall_ms else 1000)


def _always_broken(usage: Usage) -> Money:
    raise KeyError("rate")


@tool(price=CustomPrice(_broken_price))
def priced_badly(text: str) -> str:
    """Have a price model that raises once there is something to price."""
    return text


@tool(price=CustomPrice(_always_broken))
def priced_never(text: str) -> str:
    """Have a price model that always raises."""
    return text


@tool(price=CustomPrice(_negative_price))
def priced_below_zero(text: str) -> str:
    """Have a price model that turns negative."""
    return text


@tool(price=Unpriced())
def unpriced(text: str) -> str:
    """Cost something nobody stated."""
    return text


@tool(price=Free())
def shouts(size: int) -> str:
    """Return text that steers terminals, and as much of it as is wanted."""
    return ("\x1b[2J\x1b]0;owned\x07\u202egnp\u2066\x00\x9b31m é " + "x" * size)[: max(size, 60)]


@tool(price=Free())
def words(n: int) -> list[str]:
    """Return `n` words."""
    return [f"w{i}" for i in range(n)]


@tool(price=PerCall("0.001"), timeout=2.5)
def naps(text: str) -> str:
    """Sleep for a small part of its time limit; the rest is for a busy machine."""
    time.sleep(0.4)
    return text


@tool(price=PerCall("0.001"))
def flaky(mark: str) -> str:
    """Die the first two times it is called with the same file name."""
    path = Path(mark)
    count = int(path.read_text()) if path.exists() else 0
    path.write_text(str(count + 1))
    if count < 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"call {count + 1}"


@tool(price=TIER)
def litters(mark: str) -> str:
    """Start a program and hang."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
    Path(f"{mark}.part").write_text(json.dumps([os.getpid(), program.pid]))
    os.replace(f"{mark}.part", mark)
    time.sleep(3600)
    return mark


TOOLS = (
    echo, later, raises, wails, hangs, burns, grips, lies, odd, paints, huge, leaks, dies, gulps, priced_badly,
    priced_never, priced_below_zero, unpriced, shouts, words, naps, flaky, litters,
)  # fmt: skip
CATALOGUE = Catalogue(TOOLS)
