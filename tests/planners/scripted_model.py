"""A chat model that says what a test has written, behind a real HTTP server, and a request to ask it about."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from catp.planlang.nodes import Plan
from catp.planlang.registry_view import Size, ValueFacts
from catp.planlang.types import Type
from catp.planners.chat import ChatPlanner
from catp.planners.protocol import Objective, PlanningFailed, PlanRequest, Wanted
from catp.planners.testing import page_catalogue

KEY = "sk-very-secret-0123456789"
IMAGE, TEXT = Type("image"), Type("text")


def request(objective: Objective | None = None, tools: int = 24, **changes: Any) -> PlanRequest:
    registry, estimator = page_catalogue(tools)
    inputs = {"page": ValueFacts(IMAGE, Size(500_000), "noisy")}
    wanted = (Wanted("text", TEXT, capability=("ocr",)), Wanted("language", Type("Language")))
    made = PlanRequest("Read this page", inputs, wanted, objective or Objective(), registry, estimator)
    return replace(made, **changes)


def step(name: str, tool: str, param: str, ref: str) -> dict[str, Any]:
    value = {"name": param, "each": False, "value": {"ref": ref}}
    return {"name": name, "try": [{"tool": tool, "args": [value]}]}


def out(name: str, ref: str) -> dict[str, Any]:
    return {"name": name, "ref": ref}


GOOD: dict[str, Any] = {
    "planlang": 1,
    "steps": [step("reading", "ocr_0", "image", "page"), step("lang", "language_0", "text", "reading.text")],
    "outputs": [out("language", "lang"), out("text", "reading.text")],
}
UNKNOWN_TOOL = {**GOOD, "steps": [step("reading", "ocr_9", "image", "page"), GOOD["steps"][1]]}
NO_LANGUAGE = {**GOOD, "steps": GOOD["steps"][:1], "outputs": GOOD["outputs"][1:]}


def says(plan: object, *, usage: object = None, finish: str = "stop", **members: Any) -> dict[str, Any]:
    content = plan if isinstance(plan, str) or plan is None else json.dumps(plan)
    used = {"prompt_tokens": 1000, "completion_tokens": 200} if usage is None else usage
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish, **members}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": used}


def status(code: int, text: str = "", **headers: str) -> Callable[["Handler"], None]:
    return lambda handler: handler.reply(code, text.encode(), **headers)


class Handler(BaseHTTPRequestHandler):
    script: "list[Any]"
    seen: "list[dict[str, Any]]"
    leave: threading.Event
    asked: threading.Event

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        self.send_header("content-length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.seen.append({"path": self.path, "headers": dict(self.headers), "body": body, "at": time.monotonic()})
        self.asked.set()
        turn = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(turn):
            turn(self)
        else:
            self.reply(200, turn if isinstance(turn, bytes) else json.dumps(turn).encode())


class Server:
    """The scripted model: its last turn is repeated. A turn is a body, or a function of the handler."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"

    def play(self, *turns: Any) -> None:
        Handler.script, Handler.seen, Handler.asked = list(turns), [], threading.Event()

    @property
    def seen(self) -> list[dict[str, Any]]:
        return Handler.seen

    def bodies(self) -> list[dict[str, Any]]:
        return [one["body"] for one in Handler.seen]


def planner(server: Server, **options: Any) -> ChatPlanner:
    return ChatPlanner("tiny", base_url=server.url, **{"timeout_s": 10.0, **options})


async def failure(made: ChatPlanner, asked: PlanRequest | None = None) -> PlanningFailed:
    with pytest.raises(PlanningFailed) as caught:
        await made.plan(asked or request())
    assert KEY not in str(caught.value)
    return caught.value


def tools_of(plan: Plan) -> list[str]:
    return [str(attempt.tool) for one in plan.steps for attempt in one.attempts]
