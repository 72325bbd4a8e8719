"""A server on a real socket, in a thread with its own event loop."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from catp.serving.metering.meter import Meter
from catp.serving.metering.prices import DevicePrice
from catp.serving.metering.requestlog import RequestLog
from catp.serving.server.backend import Backend
from catp.serving.server.options import ServerOptions
from catp.serving.server.run import listen, serve
from catp.serving.server.service import Service
from catp.serving.server.tenants import Tenant, Tenants


@dataclass
class Running:
    """A server that answers at `url`."""

    service: Service
    url: str
    port: int
    stop: Any
    thread: threading.Thread

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **more)


@contextmanager
def running(
    backend: Backend, *, options: ServerOptions | None = None, tenants: Sequence[Tenant] = (),
    log: RequestLog | None = None,
) -> Iterator[Running]:  # fmt: skip
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    meter = Meter(DevicePrice.of("cpu"), log)
    service = Service(backend, Tenants(tenants, time.monotonic), meter, options or ServerOptions(drain_seconds=2))
    up, stops = threading.Event(), []

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        await serve(service, sock, stop, started=up.set)

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert up.wait(20)
    try:
        yield Running(service, f"http://127.0.0.1:{port}", port, stops[0], thread)
    finally:
        if thread.is_alive():
            stops[0]()
        thread.join(20)
        assert not thread.is_alive()


def until(true: Any, seconds: float = 10.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not become true"
        time.sleep(0.005)
