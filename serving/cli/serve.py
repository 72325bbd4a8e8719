"""`catp serve`: answer many clients with one model, until told to stop."""

import asyncio
import contextlib
import ipaddress
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catp.cli.options import JsonOption
from catp.cli.output import EXIT_USAGE, console_err, emit_json, emit_text, fail

if TYPE_CHECKING:
    from catp.serving.metering.requestlog import RequestLog
    from catp.serving.server.local import LocalBackend
    from catp.serving.server.service import Service

__all__ = ["app"]

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MIB = 1024 * 1024
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@app.command()
def serve(
    model: Annotated[
        str, typer.Option(metavar="NAME|FOLDER", help="A policy, or a folder with any Llama.")
    ] = "catp-tiny",
    name: Annotated[str | None, typer.Option(metavar="ID", help="What clients call it.")] = None,
    adapter: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FOLDER", help="A LoRA adapter; repeat for more.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8100,
    api_keys: Annotated[
        Path | None, typer.Option(metavar="TOML", help="Tenants, their keys and limits; else CATP_API_KEYS, else open.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of a step; all cores but one.")] = None,
    policy: Annotated[str, typer.Option(help="Who goes first: fcfs, priority, edf, ...")] = "moore-hodgson",
    block_size: Annotated[int, typer.Option(min=1, help="Tokens of a block of the KV cache.")] = 16,
    kv_memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Of the KV cache: 512M, 2G.")] = None,
    max_running: Annotated[int, typer.Option(min=1, help="Most sequences at once.")] = 128,
    token_budget: Annotated[int | None, typer.Option(min=1, help="Most tokens of a step; tuned if not set.")] = None,
    max_waiting: Annotated[int, typer.Option(min=1, help="Most requests in the queue; more get 503.")] = 1024,
    max_waiting_tokens: Annotated[int, typer.Option(min=1, help="Most prompt tokens in the queue.")] = 1 << 20,
    max_body: Annotated[str, typer.Option(metavar="SIZE", help="Of a request's body.")] = "4M",
    timeout: Annotated[float, typer.Option(min=0.001, help="Most seconds of a request.")] = 600.0,
    slo_ttft: Annotated[float | None, typer.Option(min=0, help="Promise: seconds to the first token.")] = None,
    slo_tpot: Annotated[float | None, typer.Option(min=0, help="Promise: seconds between tokens.")] = None,
    slo_e2e: Annotated[float | None, typer.Option(min=0, help="Promise: seconds to the end.")] = None,
    price: Annotated[str | None, typer.Option(metavar="USD", help="Of a device second; see docs/serving.md.")] = None,
    request_log: Annotated[Path | None, typer.Option(metavar="FILE", help="Append requests as JSON lines.")] = None,
    drain: Annotated[float, typer.Option(min=0, help="Seconds that requests get to end after SIGTERM.")] = 20.0,
    announce: Annotated[bool, typer.Option(help="Let agents on this machine find it.")] = True,
    json_: JsonOption = False,
) -> None:
    """Serve a policy or any Llama: OpenAI's API (/v1/chat/completions, /v1/completions), /v1/plans, /metrics.

    SIGTERM or Ctrl-C: new requests get 503, running ones end or are cancelled after --drain; a second one cancels now.
    """
    from catp.serving.server.build import EngineOptions
    from catp.serving.server.options import ServerOptions
    from catp.serving.server.run import CannotListen, listen, raise_file_limit

    adapters = dict(_pair(text) for text in adapter or ())
    engine = EngineOptions(
        model=model, name=name, adapters=adapters, device=device, dtype=dtype, threads=threads, block_size=block_size,
        kv_memory=None if kv_memory is None else _size(kv_memory, "--kv-memory"), max_sequences=max_running,
        token_budget=token_budget, max_waiting=max_waiting, max_waiting_tokens=max_waiting_tokens, policy=policy,
    )  # fmt: skip
    options = ServerOptions(
        max_body=_size(max_body, "--max-body"), request_seconds=timeout, drain_seconds=drain, slo_ttft=slo_ttft,
        slo_tpot=slo_tpot, slo_e2e=slo_e2e,
    )  # fmt: skip
    try:
        sock = listen(host, port)
    except CannotListen as error:
        fail(str(error), EXIT_USAGE)
    raise_file_limit()
    with sock:
        tenants, log = _tenants(api_keys, host), _log(request_log)  # what can be wrong quickly is looked at first
        backend = _backend(engine, price)
        service = _service(backend, options, tenants, log)
        with _announced(backend, sock, announce and service.tenants.open):
            asyncio.run(_run(service, sock, engine.policy, json_))


async def _run(service: "Service", sock: socket.socket, policy: str, json_: bool) -> None:
    from catp.serving.server.run import serve as serve_until

    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()
        console_err().print("stopping: running requests may end; once more cancels them")

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked)
    await serve_until(service, sock, stop, hurry=hurry, started=lambda: _tell(service, sock, policy, json_))


def _tell(service: "Service", sock: socket.socket, policy: str, json_: bool) -> None:
    (card,) = service.backend.models()
    url, price = _url(sock), service.meter.price.nano_per_second
    told = {
        "url": url,
        "model": card.id,
        "context": card.context,
        "plans": card.plans,
        "adapters": [one.name for one in card.adapters],
        "policy": policy,
        "device": service.backend.snapshot().device,
        "usd_per_device_second": None if price is None else f"{float(price) / 1e9:.12g}",
        "keys": not service.tenants.open,
        "pid": os.getpid(),
    }
    if json_:
        emit_json("catp.serve/1", told)
        return
    what = "text and plans" if card.plans else "text"
    emit_text(
        f"{card.id} writes {what} at {url} ({told['device']}, {card.context} tokens of context, policy {policy})\n"
        f"  OpenAI clients: base_url={url}/v1    health: {url}/ready    metrics: {url}/metrics"
    )


def _backend(options: Any, price: str | None) -> "LocalBackend":
    from catp.serving.engine.errors import EngineError
    from catp.serving.metering.prices import DevicePrice
    from catp.serving.server.build import build_backend
    from catp.training.policy.errors import CheckpointError

    try:
        asked = None if price is None else DevicePrice.parse(price)
        with console_err().status(f"loading {options.model} ..."):
            backend = build_backend(options)
    except ImportError as error:
        known = "pip install" in str(error)
        fail(str(error), EXIT_USAGE, help=None if known else "pip install 'catp[serve]' (in a clone: '.[serve]')")
    except (CheckpointError, EngineError, OSError, ValueError) as error:
        fail(str(error), EXIT_USAGE)
    if asked is not None:
        backend.price = asked
    return backend


def _service(backend: "LocalBackend", options: Any, tenants: Any, log: "RequestLog | None") -> "Service":
    from catp.serving.metering.meter import Meter
    from catp.serving.server.service import Service

    try:
        return Service(backend, tenants, Meter(backend.price, log), options)
    except ImportError as error:
        fail(f"{error}; run: pip install 'catp[serve]'", EXIT_USAGE)


def _log(path: Path | None) -> "RequestLog | None":
    from catp.serving.metering.requestlog import RequestLog

    try:
        return None if path is None else RequestLog(path)
    except OSError as error:
        fail(f"cannot write the request log {path}: {error.strerror or error}", EXIT_USAGE)


def _tenants(path: Path | None, host: str) -> Any:
    from catp.serving.server.keys import KeyFileError, read_environment, read_keys
    from catp.serving.server.tenants import Tenants

    try:
        found = read_keys(path) if path is not None else read_environment(os.environ.get("CATP_API_KEYS", ""))
    except KeyFileError as error:
        fail(str(error), EXIT_USAGE)
    local = _is_local(host)
    if not found and not local:
        console_err().print(f"warning: no API keys: whoever reaches {host} may ask; see --api-keys", markup=False)
    return Tenants(found, time.monotonic, trusting=local)


@contextlib.contextmanager
def _announced(backend: "LocalBackend", sock: socket.socket, wanted: bool) -> Any:
    """Agents of this user find the engine while it runs, if it writes plans and wants no key."""
    from catp.planners.served import Running, announce, withdraw

    (card,) = backend.models()
    if not wanted or not card.plans:
        yield
        return
    path = announce(Running(_url(sock), card.id, backend.served.device, os.getpid()))
    try:
        yield
    finally:
        withdraw(path)


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pair(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        fail(f"--adapter {text!r} must be NAME=FOLDER", EXIT_USAGE)
    return name, path


def _size(text: str, option: str) -> int:
    digits = text.upper().removesuffix("B").removesuffix("I")
    number, unit = (digits[:-1], digits[-1]) if digits[-1:] in "KMG" and digits else (digits, "")
    try:
        size = int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError):
        size = 0
    if size < 1:
        fail(f"{option} {text!r} is no size such as 512M or 2G", EXIT_USAGE)
    return size
