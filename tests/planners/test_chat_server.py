"""The chat planner and servers that understand less, fail, hang or lie; and how a planner is made."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from catp.planners.chat import ChatPlanner, _certificates
from tests.planners.scripted_model import (
    GOOD,
    KEY,
    UNKNOWN_TOOL,
    Handler,
    Server,
    failure,
    planner,
    request,
    says,
    status,
)

# Servers that understand less


def refusing(*words: str) -> Callable[[Handler], None]:
    """A server that refuses bodies with any of the words, and answers others."""

    def turn(handler: Handler) -> None:
        body = json.dumps(handler.seen[-1]["body"])
        bad = next((word for word in words if f'"{word}"' in body), None)
        if bad is None:
            handler.reply(200, json.dumps(says(GOOD)).encode())
        else:
            handler.reply(400, json.dumps({"error": {"message": f"unsupported: {bad}; see the manual"}}).encode())

    return turn


@pytest.mark.parametrize(
    ("words", "asked", "form"),
    [
        (("json_schema",), 2, {"type": "json_object"}),
        (("response_format",), 3, None),
        (("json_schema", "temperature"), 3, {"type": "json_object"}),
    ],
)
async def test_it_asks_more_simply_where_the_server_refuses_and_remembers(
    server: Server, words: tuple[str, ...], asked: int, form: object
) -> None:
    server.play(refusing(*words))
    made = planner(server)
    await made.plan(request())
    assert len(server.seen) == asked
    assert server.bodies()[-1].get("response_format") == form
    await made.plan(request())
    assert len(server.seen) == asked + 1, "the second request starts with what was understood"
    assert server.bodies()[-1].get("response_format") == form


async def test_newer_models_count_their_answer_differently(server: Server) -> None:
    def turn(handler: Handler) -> None:
        if "max_tokens" in handler.seen[-1]["body"]:
            handler.reply(400, b"Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        else:
            handler.reply(200, json.dumps(says(GOOD)).encode())

    server.play(turn)
    await planner(server).plan(request())
    assert server.bodies()[-1]["max_completion_tokens"] == 4096
    assert server.bodies()[-1]["response_format"]["type"] == "json_schema"


async def test_a_request_that_is_refused_in_any_form_quotes_the_server(server: Server) -> None:
    server.play(status(400, f"context length exceeded for {KEY}\x1b[31m"))
    made = planner(server)
    error = await failure(made)
    assert "HTTP 400" in str(error)
    assert "context length exceeded for ***" in str(error)
    assert "\x1b" not in str(error)
    assert made.endpoint.dialect.form == "json_schema", "nothing was learned"
    assert error.price == 0


# Faults


@pytest.mark.parametrize(
    ("turn", "told", "price"),
    [
        (status(401, f"Incorrect API key provided: {KEY}"), "CATP_CHAT_API_KEY holds no key that is valid", 0),
        (status(404, "model not found"), "check the model's name", 0),
        (status(302, location="https://elsewhere.example/"), "moved to 'https://elsewhere.example/'", 0),
        (status(500, "boom"), "the server failed", None),
        (b"<html>Welcome to nginx</html>", "no JSON but '<html>Welcome", None),
        (b"[1, 2]", "no chat completion but a list", None),
        (b"[" * 100_000, "no JSON", None),
        (b'{"choices": 1' + b"0" * 5000 + b"}", "no JSON", None),
        (b" " * (5 << 20), "exceeds 4,194,304 bytes", None),
        (lambda handler: handler.connection.close(), "look at the server's log", None),
        (lambda handler: handler.wfile.write(b"garbage\r\n\r\n"), "look at the server's log", None),
    ],
)
async def test_faults_name_the_model_the_address_and_the_fix(
    server: Server, turn: Any, told: str, price: int | None
) -> None:
    server.play(turn)
    error = await failure(planner(server, input_price="1", output_price="1"))
    assert told in str(error)
    assert "'tiny'" in str(error)
    assert f"{server.url}/chat/completions" in str(error)
    assert error.price == price


async def test_nobody_listens() -> None:
    error = await failure(ChatPlanner("tiny", base_url="http://127.0.0.1:9/v1"))
    assert "cannot connect" in str(error)
    assert "http://127.0.0.1:9/v1" in str(error)
    assert error.price == 0


async def test_without_a_key_none_is_sent_and_a_401_asks_for_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CATP_CHAT_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.play(status(401, "who are you"))
    error = await failure(planner(server))
    assert "set the environment variable CATP_CHAT_API_KEY to a key" in str(error)
    assert "Authorization" not in server.seen[0]["headers"], "OpenAI's key goes to OpenAI only"
    await failure(planner(server, api_key_env="OPENAI_API_KEY"))
    assert server.seen[-1]["headers"]["Authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-two lines\nof it", "sk-grün", "sk\x00zero"])
async def test_a_key_that_no_header_can_hold_is_not_shown(server: Server, key: str) -> None:
    error = await failure(planner(server, api_key=key))
    assert "api_key holds characters that no API key has" in str(error)
    assert key not in str(error)
    assert not server.seen


async def test_the_key_appears_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    made = planner(server, api_key=KEY, attempts=1)
    named = json.loads(json.dumps(GOOD).replace("reading", KEY))  # a server that echoes the key in the plan
    server.play(says(named))
    texts = [repr(made), str(made), str(await failure(made))]
    server.play(says(GOOD))
    texts += [repr(await made.plan(request())), caplog.text, "".join(capfd.readouterr())]
    assert not [text for text in texts if KEY in text]


async def test_a_busy_server_is_asked_again_when_it_says(server: Server) -> None:
    server.play(status(429, retry_after="0.2"), status(503), says(GOOD))
    assert (await planner(server).plan(request())).candidates
    first, second, _ = server.seen
    assert second["at"] - first["at"] >= 0.19
    date = format_datetime(datetime.now(UTC) - timedelta(seconds=5), usegmt=True)
    server.play(status(429, retry_after=date), status(429, retry_after="soon"), says(GOOD))
    assert (await planner(server).plan(request())).candidates


async def test_a_question_that_may_have_been_answered_in_vain_has_no_known_price(server: Server) -> None:
    made = planner(server, input_price="1", output_price="1")
    server.play(status(503), status(429), says(GOOD))
    assert (await made.plan(request())).price == 1_200_000
    server.play(status(504), says(GOOD))
    found = await made.plan(request())
    assert found.price is None
    assert any("an answer came without tokens, or not at all" in note for note in found.notes)


@pytest.mark.parametrize(("name", "value"), [("HTTP_PROXY", "nonsense://me:pass@x"), ("SSL_CERT_FILE", "/nowhere")])
async def test_an_environment_that_httpx_refuses(
    server: Server, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    _certificates.cache_clear()
    monkeypatch.setenv(name, value)
    error = await failure(planner(server))
    _certificates.cache_clear()
    assert "check the variables *_PROXY and SSL_CERT_FILE" in str(error)
    assert "pass" not in str(error)


async def test_a_wait_beyond_the_timeout_is_not_waited_for(server: Server) -> None:
    server.play(status(429, "slow down", retry_after="3600"))
    began = time.monotonic()
    error = await failure(planner(server, timeout_s=50))
    assert time.monotonic() - began < 40
    assert len(server.seen) == 1
    assert "asks to wait for 3600" in str(error)
    assert "slow down" in str(error)
    server.play(status(429, retry_after="0"))
    await failure(planner(server))
    assert len(server.seen) == 3, "it gives up"


def hang(handler: Handler) -> None:
    handler.leave.wait(20)


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    while not handler.leave.wait(0.05):
        handler.wfile.write(b" ")
        handler.wfile.flush()


@pytest.mark.parametrize("turn", [hang, drip])
async def test_a_hanging_server_is_left_in_time_and_its_charge_is_unknown(server: Server, turn: Any) -> None:
    server.play(says(UNKNOWN_TOOL), turn)
    began = time.monotonic()
    error = await failure(planner(server, timeout_s=1.5, input_price="1", output_price="1"))
    assert time.monotonic() - began < 20
    assert "no complete answer in time" in str(error)
    assert "raise timeout_s" in str(error)
    assert "its last answer could not be used" in str(error)
    assert "ocr_9" in str(error)
    assert error.price is None


async def test_a_cancelled_plan_stops_at_once_and_leaves_nothing_behind(server: Server) -> None:
    server.play(hang)
    before = asyncio.all_tasks()
    task = asyncio.create_task(planner(server, samples=2, temperature=1.0).plan(request()))
    await asyncio.to_thread(Handler.asked.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)
    assert asyncio.all_tasks() <= before | {task}


def test_one_planner_serves_one_event_loop_after_another(server: Server) -> None:
    made = planner(server)
    assert [len(asyncio.run(made.plan(request())).candidates) for _ in range(2)] == [1, 1]


# Making one


@pytest.mark.parametrize(
    ("spec", "model", "url", "key"),
    [
        ("openai:gpt-4o-mini", "gpt-4o-mini", "https://api.openai.com/v1/chat/completions", "OPENAI_API_KEY"),
        ("openai:llama3.1:8b@http://localhost:11434/v1/", "llama3.1:8b", "http://localhost:11434/v1/chat/completions",
         "CATP_CHAT_API_KEY"),
        ("openai:@cf/meta/llama@https://gateway.example/v1#key=GATE,in=0.1,out=0.2,timeout=5", "@cf/meta/llama",
         "https://gateway.example/v1/chat/completions", "GATE"),
    ],
)  # fmt: skip
def test_specs(spec: str, model: str, url: str, key: str) -> None:
    made = ChatPlanner.from_spec(spec)
    assert (made.name, made.endpoint.shown) == (f"openai:{model}", url)
    assert made.endpoint.key_env == key
    if "#" in spec:
        assert made.timeout_s == 5.0
        assert "$0.0001 per 1k tokens in + $0.0002 per 1k" in repr(made)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("openai:", "write openai:MODEL"),
        ("gpt-4o", "write openai:MODEL"),
        ("openai:x@http://", "base_url must be an address"),
        ("openai:x@http://h:99999/v1", "base_url must be an address"),
        ("openai:x#pric=1", "no option 'pric'"),
        ("openai:x#timeout=soon", "timeout=soon: give seconds"),
        ("openai:x#in=1", "give both"),
        ("openai:x#in=1,out=cheap", "output_price must be US dollars per million tokens such as '0.15', got 'cheap'"),
        (f"openai:x@https://me:{KEY}@h/v1", "must not hold a user or password"),
    ],
)
def test_specs_that_are_none(spec: str, told: str) -> None:
    with pytest.raises(ValueError, match="planner ") as caught:
        ChatPlanner.from_spec(spec)
    assert told in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": " "}, "no name"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"samples": 2}, "raise temperature"),
        ({"temperature": -1}, "temperature"),
        ({"base_url": "localhost:8000/v1"}, "base_url"),
        ({"input_price": "-1", "output_price": "1"}, "input_price"),
        ({"input_price": "inf", "output_price": "1"}, "input_price"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        ChatPlanner(**{"model": "m", **options})
