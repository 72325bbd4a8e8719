"""External programs as tools: a command line with `{placeholders}`, run in a worker process.

    command_tool("ocr_tesseract", ["tesseract", "{image}", "-", "-l", "{lang}"], params={"image": Image, "lang": str},
                 defaults={"lang": "eng"}, returns=str, capability="ocr")

There is no shell: every element of the command is one argument, whatever it holds. Images, bytes and files are passed
as paths of temporary files. The program's CPU time and peak memory come from `wait4`, and it is killed with its whole
process group on timeout and cancellation.
"""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from catp.planlang.registry_view import Effect
from catp.tools.adapters.declare import declare, fill, placeholders, told_lifetime
from catp.tools.backends import ProcessBackend, nobody_asked
from catp.tools.contract import Contract
from catp.tools.errors import ToolDefinitionError
from catp.tools.lifetime import Lifetime, definition_of
from catp.tools.meter import run_program, signal_name
from catp.tools.price import ComputePrice
from catp.tools.spec import BackendResult, ToolLimits, ToolSpec
from catp.tools.target import Target
from catp.tools.usage import PriceModel
from catp.tools.workers import Job, WorkerPool

__all__ = ["CommandFailed", "command_tool", "run_command"]


class CommandFailed(Exception):
    """The program ended with an error; the message carries its exit code and the end of what it printed."""


def command_tool(
    name: str,
    command: Sequence[str],
    *,
    params: Mapping[str, Any],
    returns: Any,
    stdin: str = "",
    defaults: Mapping[str, Any] | None = None,
    description: str = "",
    capability: str = "",
    effects: Effect = "pure",
    price: PriceModel | None = None,
    accuracy: float | None = None,
    timeout: float = 60.0,
    concurrency: int | None = None,
    cache: Lifetime = False,
    version: str = "1",
    pool: WorkerPool | None = None,
) -> ToolSpec:
    """Make a tool of a program.

    Args:
        name: Full name.
        command: Program and arguments; `{name}` stands for a parameter.
        params: Annotation of each parameter.
        returns: Annotation of the result, read from standard output: `str` as text, `bytes` as they are, an image as
            an image file, anything else as JSON.
        stdin: Template of what the program reads on standard input, such as `"{text}"`.
        defaults: Values of parameters that may be left out.
        description: What the tool does, for planners and people.
        capability: What it is for.
        effects: `pure`, `read` or `write`.
        price: Default: CPU time.
        accuracy: Declared accuracy until one is measured.
        timeout: Seconds per call.
        concurrency: Calls at once, if limited.
        cache: How long a result may be used again, such as `"10m"` (see `catp.tools.lifetime`).
        version: Version for profiles and cached results.
        pool: Worker processes to use instead of the shared ones.

    Raises:
        ToolDefinitionError: A placeholder names no parameter, or an annotation has no plan type.
    """
    signature, types = declare(
        name, params, returns, defaults=defaults or {}, effects=effects, description=description, capability=capability
    )
    unknown = [p for text in (*command, stdin) for p in placeholders(text) if p not in params]
    if unknown or not command:
        raise ToolDefinitionError(f"tool {name!r}: {{{unknown[0]}}} is no parameter" if unknown else f"{name!r}: empty")
    job = Job(name, name, Target.of(run_command))
    backend = _CommandBackend(Contract(signature, types), job, tuple(command), stdin, dict(defaults or {}), pool)
    return ToolSpec(
        signature, backend, ComputePrice() if price is None else price, ToolLimits(concurrency, None, timeout), version,
        capability, accuracy, types, unavailable=lambda: _missing(command[0]),
        cache_ttl_s=told_lifetime(name, cache), definition=definition_of(tuple(command), stdin, defaults),
    )  # fmt: skip


def _missing(program: str) -> str | None:
    return None if shutil.which(program) else f"needs the program {program!r} on the PATH"


class _CommandBackend:
    def __init__(
        self, contract: Contract, job: Job, command: tuple[str, ...], stdin: str, defaults: Mapping[str, Any],
        pool: WorkerPool | None,
    ) -> None:  # fmt: skip
        self._contract = contract
        self._fixed = {"command": command, "stdin": stdin, "returns": contract.signature.returns.name}
        self._defaults = defaults
        self._workers = ProcessBackend(None, job, pool)

    async def call(self, args: Mapping[str, Any], *, timeout: float) -> BackendResult:
        return await self.call_when_free(args, timeout=timeout, began=nobody_asked)

    async def call_when_free(
        self, args: Mapping[str, Any], *, timeout: float, began: Callable[[], Awaitable[None]]
    ) -> BackendResult:
        self._contract.check_args(args)
        values = {**self._fixed, "values": {**self._defaults, **args}}
        result = await self._workers.call_when_free(values, timeout=timeout, began=began)
        return BackendResult(self._contract.check_result(result.value, result.usage), result.usage)

    async def close(self) -> None:
        await self._workers.close()


def run_command(command: Sequence[str], stdin: str, returns: str, values: Mapping[str, Any]) -> Any:
    """Fill the placeholders, run the program, and read its output as the plan type `returns`. Runs in a worker."""
    with tempfile.TemporaryDirectory(prefix="catp-") as folder:
        filled = {key: _argument(key, value, folder) for key, value in values.items() if value is not None}
        argv = [fill(part, filled) for part in command]
        finished = run_program(argv, fill(stdin, filled).encode())
    if finished.returncode != 0:
        code = finished.returncode
        how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with code {code}"
        raise CommandFailed(
            f"{argv[0]} {how}: {finished.stderr.decode(errors='replace').strip()[-500:] or 'no message'}"
        )
    return _read(finished.stdout, returns)


def _argument(key: str, value: Any, folder: str) -> str:
    """Write what a command line cannot hold into a file and return its path."""
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, bytes):
        path = Path(folder, key)
        path.write_bytes(value)
        return str(path)
    if hasattr(value, "save") and hasattr(value, "mode"):
        path = Path(folder, f"{key}.png")
        value.save(path, compress_level=1)
        return str(path)
    return value if isinstance(value, str) else json.dumps(value)


def _read(output: bytes, returns: str) -> Any:
    if returns == "text":
        return output.decode(errors="replace")
    if returns == "file":
        return output
    if returns == "image":
        from PIL import Image

        image = Image.open(io.BytesIO(output))
        image.load()
        return image
    return json.loads(output)
