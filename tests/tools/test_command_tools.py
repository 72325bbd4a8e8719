"""External programs as tools: no shell, temporary files for what a command line cannot hold, killed with the call."""

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from catp.tools import ToolDefinitionError, ToolFailed, ToolTimeout, WorkerPool, WrongResult, command_tool

POOL = WorkerPool(size=2)


@pytest.fixture(autouse=True, scope="module")
def closed_pool() -> Iterator[None]:
    yield
    POOL.close()


@dataclass(frozen=True)
class Stats:
    width: int
    height: int


def python(code: str, *args: str, returns: Any = str, name: str = "program", **options: Any) -> Any:
    return command_tool(name, [sys.executable, "-c", code, *args], returns=returns, pool=POOL, **options)


async def run(spec: Any, timeout: float = 60, **args: Any) -> Any:
    return (await spec.backend.call(args, timeout=timeout)).value


ECHO = "import sys; print(*sys.argv[1:], sep='|', end='')"


async def test_arguments_are_passed_as_they_are_without_a_shell() -> None:
    spec = python(ECHO, "{a}", "x={b}", "{}", params={"a": str, "b": int}, defaults={"b": 7})
    assert await run(spec, a="$(rm -rf /); 'q' {b} *") == "$(rm -rf /); 'q' {b} *|x=7|{}"
    assert await run(spec, a="", b=9) == "|x=9|{}"


async def test_text_goes_in_on_standard_input_however_long() -> None:
    spec = python("import sys; print(len(sys.stdin.read()))", stdin="{text}", params={"text": str})
    assert await run(spec, text="x" * 3_000_000) == "3000000\n"


async def test_a_program_that_ignores_its_input_is_no_error() -> None:
    spec = python("print('done')", stdin="{text}", params={"text": str})
    assert await run(spec, text="x" * 3_000_000) == "done\n"


async def test_images_and_bytes_become_files_and_json_becomes_records() -> None:
    code = "import sys, json; from PIL import Image; i = Image.open(sys.argv[1]); "
    spec = python(
        code + "print(json.dumps({'width': i.width, 'height': i.height}))", "{image}",
        params={"image": Image.Image}, returns=Stats,
    )  # fmt: skip
    assert await run(spec, image=Image.new("RGB", (4, 3))) == Stats(4, 3)
    size = python("import sys, os; print(os.path.getsize(sys.argv[1]), end='')", "{data}", params={"data": bytes})
    assert await run(size, data=b"12345") == "5"


async def test_images_and_bytes_come_back() -> None:
    code = "import sys; from PIL import Image; Image.new('L', (5, 6)).save(sys.stdout.buffer, 'PNG')"
    image = await run(python(code, params={}, returns=Image.Image))
    assert image.size == (5, 6)
    assert (await run(python(code, params={}, returns=bytes))).startswith(b"\x89PNG")


async def test_a_failing_program_says_why() -> None:
    spec = python("import sys; sys.exit('no such language')", params={})
    with pytest.raises(ToolFailed, match="exited with code 1: no such language") as caught:
        await run(spec)
    assert caught.value.error_type == "CommandFailed"
    with pytest.raises(ToolFailed, match="was killed by SIGABRT"):
        await run(python("import os; os.abort()", params={}))


async def test_output_that_is_not_what_was_promised_is_refused() -> None:
    with pytest.raises(ToolFailed, match="Expecting value"):
        await run(python("print('no json')", params={}, returns=Stats))
    with pytest.raises(WrongResult, match="lacks the field 'height'"):
        await run(python("print('{\"width\": 1}')", params={}, returns=Stats))


async def test_use_of_the_program_is_metered() -> None:
    code = "b = bytearray(150 << 20); b[::4096] = b'x' * len(b[::4096]); print(sum(range(5_000_000)))"
    usage = (await python(code, params={}).backend.call({}, timeout=60)).usage
    assert usage.cpu_ms > 50
    assert 150 < usage.peak_mb < 220


async def gone(pid: int) -> bool:
    for _ in range(1000):
        if not os.access(f"/proc/{pid}", os.F_OK):
            return True
        await asyncio.sleep(0.01)
    return False


async def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); "
    code += "open(sys.argv[1], 'w').write(str(p.pid)); p.wait()"
    spec = python(code, "{note}", params={"note": str})
    with pytest.raises(ToolTimeout):
        await run(spec, timeout=3, note=str(tmp_path / "pid"))
    pid = int((tmp_path / "pid").read_text())
    assert await gone(pid)


def test_a_missing_program_makes_the_tool_unavailable() -> None:
    spec = command_tool("x", ["no-such-program-here", "{a}"], params={"a": str}, returns=str)
    assert spec.unavailable() == "needs the program 'no-such-program-here' on the PATH"
    assert python(ECHO, params={}).unavailable() is None


def test_a_placeholder_without_a_parameter_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match=r"\{b\} is no parameter"):
        command_tool("x", ["cat", "{a}", "{b}"], params={"a": str}, returns=str)
    with pytest.raises(ToolDefinitionError, match="no plan type"):
        command_tool("x", ["cat"], params={"a": object}, returns=str)
    with pytest.raises(ToolDefinitionError, match="defaults names 'z'"):
        command_tool("x", ["cat"], params={}, defaults={"z": 1}, returns=str)
