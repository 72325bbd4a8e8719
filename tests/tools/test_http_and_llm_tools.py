"""HTTP and language-model tools against a real server on the loopback interface."""

import asyncio
import json
import pickle
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from PIL import Image

from catp.tools import (
    PerToken,
    PerUnit,
    Reported,
    ResultTooLarge,
    ToolDefinitionError,
    ToolError,
    ToolFailed,
    ToolTimeout,
    WrongResult,
    http_tool,
    llm_tool,
)
from catp.tools.price import total

SECRET = "sk-very-secret"


@dataclass(frozen=True)
class Place:
    name: str
    lat: float


class Handler(BaseHTTPRequestHandler):
    requests: list[dict[str, Any]]
    llm: dict[str, Any]

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def handle_any(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        self.requests.append({"path": self.path, "headers": dict(self.headers), "body": body, "method": self.command})
        route = self.path.partition("?")[0].strip("/").partition("/")[0]
        getattr(self, f"at_{route}")()

    do_GET = do_POST = do_DELETE = handle_any

    def at_place(self) -> None:
        self.reply(200, b'{"hits": [{"name": "Ulm", "lat": 48}], "pages": 3}', x_cost="0.0042")

    def at_text(self) -> None:
        self.reply(200, "Größe".encode("latin-1"), "text/plain; charset=latin-1")

    def at_broken(self) -> None:
        self.reply(200, b"<html>")

    def at_teapot(self) -> None:
        self.reply(503, b"come back later")

    def at_large(self) -> None:
        self.reply(200, b"x" * 3_000_000, "text/plain")

    def at_slow(self) -> None:
        time.sleep(0.6)
        self.reply(200, b"{}")

    def at_drip(self) -> None:
        self.send_response(200)
        self.send_header("content-length", "100")
        self.end_headers()
        for _ in range(10):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.1)

    def at_drop(self) -> None:
        self.connection.close()

    def at_v1(self) -> None:
        self.reply(200, json.dumps(self.llm).encode())


@pytest.fixture
def server() -> Iterator[str]:
    Handler.requests = []
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.daemon_threads = True
    made.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients hang up on purpose here
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    made.server_close()
    thread.join()


async def run(spec: Any, timeout: float = 20, **args: Any) -> Any:
    try:
        return await spec.backend.call(args, timeout=timeout)
    finally:
        await spec.backend.close()


async def test_parameters_go_into_the_url_and_the_query(server: str) -> None:
    spec = http_tool(
        "geo.find", "GET", server + "/place/{name}", params={"name": str, "limit": int, "lang": str | None},
        defaults={"limit": 5}, returns=list[Place], extract=lambda body: body["hits"],
        units=lambda body: {"pages": body["pages"]}, price=PerUnit("pages", "0.001"), cost_header="x-cost",
    )  # fmt: skip
    result = await run(spec, name="a/b?c {env:HOME}")
    assert result.value == [Place("Ulm", 48.0)]
    assert Handler.requests[0]["path"] == "/place/a%2Fb%3Fc%20%7Benv%3AHOME%7D?limit=5"
    assert result.usage.units == {"pages": 3}
    assert result.usage.reported == 4_200_000
    assert total(spec.price.charge(result.usage)) == 3_000_000
    assert total(Reported().charge(result.usage)) == 4_200_000
    assert (spec.signature.effects, str(spec.signature.returns)) == ("read", "list[Place]")
    assert result.usage.bytes_out > 0


async def test_a_post_sends_json_or_a_form_with_pictures(server: str) -> None:
    spec = http_tool("p", "POST", server + "/place", params={"a": str, "b": int}, returns=dict)
    await run(spec, a="x", b=1)
    assert json.loads(Handler.requests[0]["body"]) == {"a": "x", "b": 1}
    assert spec.signature.effects == "write"
    picture = http_tool("p", "POST", server + "/place", params={"image": Image.Image, "b": int}, returns=dict)
    await run(picture, image=Image.new("L", (3, 3)), b=1)
    assert b"\x89PNG" in Handler.requests[1]["body"]
    assert Handler.requests[1]["headers"]["Content-Type"].startswith("multipart/form-data")


async def test_an_idempotency_key_is_passed_on(server: str) -> None:
    spec: Any = http_tool("p", "POST", server + "/place", params={"a": str}, returns=dict)
    await spec.backend.call_with_key({"a": "x"}, timeout=20, key="run-1/step-2")
    await spec.backend.close()
    assert Handler.requests[0]["headers"]["Idempotency-Key"] == "run-1/step-2"


async def test_text_is_decoded_as_the_server_says(server: str) -> None:
    assert (await run(http_tool("t", "GET", server + "/text", params={}, returns=str))).value == "Größe"
    raw = await run(http_tool("t", "GET", server + "/text", params={}, returns=bytes))
    assert raw.value == "Größe".encode("latin-1")


async def test_failures_say_what_happened(server: str) -> None:
    def get(path: str, **options: Any) -> Any:
        return http_tool("t", "GET", server + path, params={}, returns=dict, **options)

    with pytest.raises(ToolFailed, match="HTTP 503 Service Unavailable: come back later") as caught:
        await run(get("/teapot"))
    assert caught.value.error_type == "HTTP 503"
    with pytest.raises(WrongResult, match="cannot be read: JSONDecodeError"):
        await run(get("/broken"))
    with pytest.raises(ResultTooLarge, match="exceeds 1000000 bytes"):
        await run(get("/large", max_bytes=1_000_000))
    with pytest.raises(ToolTimeout, match=r"within 0.2 s"):
        await run(get("/slow"), timeout=0.2)
    with pytest.raises(ToolTimeout):
        await run(get("/drip"), timeout=0.3)
    with pytest.raises(ToolFailed):
        await run(get("/drop"))
    with pytest.raises(ToolFailed) as refused:
        await run(http_tool("t", "GET", "http://127.0.0.1:9/x", params={}, returns=dict))
    assert refused.value.error_type == "ConnectError"


async def test_failures_say_who_may_bill_them(server: str) -> None:
    async def billing(url: str, **args: Any) -> str:
        with pytest.raises(ToolError) as caught:
            await run(http_tool("t", "GET", url, params={"n": int | None}, returns=dict), timeout=0.5, **args)
        return caught.value.billing

    assert await billing("http://127.0.0.1:9/x") == "nothing"
    assert await billing("nowhere://127.0.0.1/x") == "nothing"
    assert await billing(server + "/place", n="five") == "nothing"
    assert await billing(server + "/teapot") == "unknown"
    assert await billing(server + "/drop") == "unknown"
    assert await billing(server + "/slow") == "unknown"
    assert await billing(server + "/broken") == "used"


def test_an_error_keeps_its_billing_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ToolTimeout("t", "late", billing="unknown")))
    assert (error.billing, error.message) == ("unknown", "late")


async def test_secrets_are_sent_and_shown_nowhere(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = http_tool(
        "t", "GET", server + "/teapot?key={env:TEST_KEY}", params={}, returns=dict,
        headers={"Authorization": "Bearer {env:TEST_KEY}"},
    )  # fmt: skip
    assert spec.unavailable() == "needs the environment variable TEST_KEY"
    monkeypatch.setenv("TEST_KEY", SECRET)
    assert spec.unavailable() is None
    with pytest.raises(ToolFailed) as caught:
        await run(spec)
    assert Handler.requests[0]["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET in Handler.requests[0]["path"]
    shown = [repr(spec), repr(spec.backend), repr(vars(spec.backend)), str(caught.value), repr(caught.value)]
    assert not any(SECRET in text for text in shown)


def test_a_client_serves_one_event_loop_after_the_other(server: str) -> None:
    spec = http_tool("t", "GET", server + "/place", params={}, returns=dict)
    for _ in range(2):
        assert asyncio.run(run(spec)).value["pages"] == 3


def test_a_placeholder_without_a_parameter_is_refused() -> None:
    with pytest.raises(ToolDefinitionError, match=r"\{b\} in the URL is no parameter"):
        http_tool("t", "GET", "http://x/{b}", params={}, returns=dict)
    with pytest.raises(ToolDefinitionError, match=r"\{b\} in the prompt is no parameter"):
        llm_tool("t", model="m", prompt="{b}", params={})


def answer(content: str | None, finish: str = "stop", **usage: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "finish_reason": finish}], "usage": usage}


async def test_a_prompt_is_a_tool_priced_by_its_tokens(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    Handler.llm = answer("Hallo", prompt_tokens=12, completion_tokens=3, cost=0.00031)
    spec = llm_tool(
        "llm.translate", model="small-1", prompt="Into {language}: {text}", system="Be brief.",
        params={"text": str, "language": str}, defaults={"language": "German"}, base_url=server + "/v1/",
        max_tokens=50, price=PerToken(input="0.15", output="0.6"),
    )  # fmt: skip
    result = await run(spec, text="Hello {language}")
    assert result.value == "Hallo"
    assert total(spec.price.charge(result.usage)) == 12 * 150_000 + 3 * 600_000
    assert result.usage.reported == 310_000
    sent = Handler.requests[0]
    assert sent["path"] == "/v1/chat/completions"
    assert sent["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert json.loads(sent["body"]) == {
        "model": "small-1", "max_tokens": 50, "temperature": 0.0,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Into German: Hello {language}"},
        ],
    }  # fmt: skip
    assert spec.version == "1+small-1"
    assert spec.signature.effects == "read"


async def test_records_are_asked_for_as_json(server: str) -> None:
    Handler.llm = answer('{"name": "Ulm", "lat": 48}', prompt_tokens=1, completion_tokens=1)
    spec = llm_tool(
        "where", model="m", prompt="{text}", params={"text": str}, returns=Place, base_url=server + "/v1",
        api_key_env=None,
    )  # fmt: skip
    assert (await run(spec, text="x")).value == Place("Ulm", 48.0)
    assert json.loads(Handler.requests[0]["body"])["response_format"] == {"type": "json_object"}
    assert spec.unavailable() is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (answer("not json", prompt_tokens=5, completion_tokens=7), "JSONDecodeError"),
        (answer('{"name": 3}', prompt_tokens=5, completion_tokens=7), "lacks the field|expected"),
        (answer('{"na', "length", prompt_tokens=5, completion_tokens=7), "raise max_tokens"),
        (answer(None, prompt_tokens=5, completion_tokens=7), "TypeError"),
    ],
)
async def test_a_useless_answer_still_says_what_it_used(server: str, body: dict[str, Any], reason: str) -> None:
    Handler.llm = body
    spec = llm_tool(
        "where", model="m", prompt="{text}", params={"text": str}, returns=Place, base_url=server + "/v1",
        api_key_env=None, price=PerToken(input=1, output=1),
    )  # fmt: skip
    with pytest.raises(WrongResult, match=reason) as caught:
        await run(spec, text="x")
    assert total(spec.price.charge(caught.value.usage)) == 12_000_000


async def test_an_answer_without_usage_is_unpriced_not_free(server: str) -> None:
    Handler.llm = {"choices": [{"message": {"content": "x"}}]}
    spec = llm_tool(
        "t", model="m", prompt="{text}", params={"text": str}, base_url=server + "/v1", api_key_env=None,
        price=PerToken(input=1, output=1),
    )  # fmt: skip
    result = await run(spec, text="x")
    assert spec.price.charge(result.usage) is None


async def test_pictures_are_sent_along(server: str) -> None:
    Handler.llm = answer("a square", prompt_tokens=1, completion_tokens=1)
    spec = llm_tool(
        "see", model="m", prompt="Describe.", params={"image": Image.Image}, base_url=server + "/v1", api_key_env=None
    )
    assert (await run(spec, image=Image.new("L", (3, 3)))).value == "a square"
    content = json.loads(Handler.requests[0]["body"])["messages"][0]["content"]
    assert content[0] == {"type": "text", "text": "Describe."}
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,")
