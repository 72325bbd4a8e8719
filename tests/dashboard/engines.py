"""An engine that is none: a real socket that answers as it is told, hangs, lies, or is gone."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CARD = {"id": "fake", "parent": None, "max_model_len": 4096, "plans": True}


class Figures:
    """What a server of catp says in /metrics, counted by the same library."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        label = ["model_name"]
        self.running = Gauge("vllm:num_requests_running", "", label, registry=registry).labels("m")
        self.waiting = Gauge("vllm:num_requests_waiting", "", label, registry=registry).labels("m")
        self.kv = Gauge("vllm:kv_cache_usage_perc", "", label, registry=registry).labels("m")
        self.preemptions = Counter("vllm:num_preemptions", "", label, registry=registry).labels("m")
        self.decode = Counter("catp_decode_tokens", "", label, registry=registry).labels("m")
        self.steps = Counter("catp_steps", "", label, registry=registry).labels("m")
        self.busy = Counter("catp_busy_seconds", "", label, registry=registry).labels("m")
        self.queries = Counter("vllm:prefix_cache_queries", "", label, registry=registry).labels("m")
        self.hits = Counter("vllm:prefix_cache_hits", "", label, registry=registry).labels("m")
        self.slo = Counter("catp_slo_requests", "", ["tenant", "slo", "met"], registry=registry)
        self.blocks = Gauge("catp_engine", "", ["name"], registry=registry)
        self.policy = Gauge("catp_policy", "", ["policy"], registry=registry)
        self.policy.labels("moore-hodgson").set(1)
        self.decisions = Gauge("catp_decision_seconds", "", ["quantile"], registry=registry)
        self.ttft = Histogram(
            "vllm:time_to_first_token_seconds", "", label, buckets=(0.1, 0.2, 0.4), registry=registry
        ).labels("m")

    def text(self) -> bytes:
        return generate_latest(self.registry)


@dataclass
class Fake:
    """`answers[path]` overrides what is answered: (status, body) or a function that writes to the handler."""

    url: str = ""
    figures: Figures = field(default_factory=Figures)
    ready: bool = True
    reason: str = ""
    requests: list[Any] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, bytes]:
        if path == "/metrics":
            return 200, self.figures.text()
        if path == "/ready":
            return 200 if self.ready else 503, json.dumps({"ready": self.ready, "reason": self.reason}).encode()
        if path == "/progress":
            return 200, b'{"stalled": false}'
        if path == "/v1/models":
            return 200, json.dumps({"data": [CARD]}).encode()
        if path.startswith("/v1/requests"):
            return 200, json.dumps({"object": "list", "now": time.time(), "data": self.requests}).encode()
        return 404, b"{}"


@contextmanager
def fake_engine(port: int = 0) -> Iterator[Fake]:
    fake, over = Fake(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            fake.asked.append(self.path)
            told: Any = fake.answers.get(self.path.partition("?")[0])
            if isinstance(told, Callable):  # type: ignore[arg-type]
                told(self, over)
                return
            status, body = fake.answer(self.path) if told is None else told
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def handle_error(self, *_: object) -> None: ...

    server = Server(("127.0.0.1", port), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def hang(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Take the question and say nothing."""
    over.wait(20)
    handler.close_connection = True


def endless(handler: BaseHTTPRequestHandler, over: threading.Event) -> None:
    """Fifty megabytes."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(50 << 20))
    handler.end_headers()
    for _ in range(50):
        handler.wfile.write(b"x" * (1 << 20))
